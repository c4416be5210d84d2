// Starts this program again as a server, and reads its address from its standard output.
#include "haul_bench/server_process.h"

#include <fcntl.h>
#include <poll.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <string_view>
#include <thread>
#include <vector>

#include "base/unique_fd.h"

extern char** environ;  // NOLINT(readability-redundant-declaration): POSIX leaves it to the program

namespace bench {

namespace {

using haul::Status;
using haul::StatusCode;
using std::chrono::steady_clock;

constexpr auto start_limit = std::chrono::seconds(10);
constexpr auto end_limit = std::chrono::seconds(2);
constexpr std::string_view announcement = "listening on ";

haul::Result<pid_t> spawn(const Settings& settings, int output) {
  std::vector<std::string> arguments = server_arguments(settings);
  arguments.insert(arguments.begin(), "haul-bench");
  std::vector<char*> argv;
  argv.reserve(arguments.size() + 1);
  for (std::string& argument : arguments) argv.push_back(argument.data());
  argv.push_back(nullptr);

  posix_spawn_file_actions_t actions;
  ::posix_spawn_file_actions_init(&actions);
  ::posix_spawn_file_actions_adddup2(&actions, output, STDOUT_FILENO);
  pid_t pid = -1;
  const int failed = ::posix_spawn(&pid, "/proc/self/exe", &actions, nullptr, argv.data(), environ);
  ::posix_spawn_file_actions_destroy(&actions);
  if (failed != 0) return Status::from_errno(StatusCode::unavailable, failed, "cannot start a receiver process");
  return pid;
}

/// The address in the first line of the server's output.
haul::Result<std::string> read_address(int input) {
  std::string text;
  const auto limit = steady_clock::now() + start_limit;
  while (text.find('\n') == std::string::npos) {
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(limit - steady_clock::now()).count();
    pollfd ready{input, POLLIN, 0};
    if (left <= 0 || ::poll(&ready, 1, static_cast<int>(left)) == 0) {
      return Status(StatusCode::unavailable, "the receiver process did not say its address within 10 s");
    }
    std::array<char, 256> chunk{};
    const ssize_t got = ::read(input, chunk.data(), chunk.size());
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return Status(StatusCode::unavailable, "the receiver process ended before it listened; its message is above");
    text.append(chunk.data(), static_cast<size_t>(got));
  }
  const size_t begin = text.find(announcement);
  if (begin == std::string::npos) return Status(StatusCode::unavailable, "the receiver process said no address: " + text);
  const size_t from = begin + announcement.size();
  return text.substr(from, text.find('\n', from) - from);
}

bool ended_within(pid_t pid, std::chrono::milliseconds limit) {
  const auto end = steady_clock::now() + limit;
  while (::waitpid(pid, nullptr, WNOHANG) == 0) {
    if (steady_clock::now() >= end) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  return true;
}

}  // namespace

haul::Result<ServerProcess> ServerProcess::start(const Settings& settings) {
  std::array<int, 2> ends{};
  if (::pipe2(ends.data(), O_CLOEXEC) != 0) return Status::from_errno(StatusCode::exhausted, errno, "cannot make a pipe");
  const haul::base::UniqueFd input(ends[0]);
  haul::base::UniqueFd output(ends[1]);
  const auto pid = spawn(settings, output.get());
  output.reset();
  if (!pid) return pid.status();
  ServerProcess process(*pid);
  auto address = read_address(input.get());
  if (!address) return address.status();
  process.address_ = std::move(address).value();
  return process;
}

ServerProcess::~ServerProcess() {
  if (pid_ < 0 || ended_within(pid_, end_limit)) return;
  ::kill(pid_, SIGTERM);
  if (ended_within(pid_, end_limit)) return;
  ::kill(pid_, SIGKILL);
  ::waitpid(pid_, nullptr, 0);
}

}  // namespace bench
