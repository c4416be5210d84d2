// fork, setns, exec: between fork and exec only what is safe in a program with threads.
#include "wan/child.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <sstream>
#include <thread>
#include <utility>

namespace wan {

namespace {

using haul::Status;
using haul::StatusCode;
using std::chrono::milliseconds;

constexpr std::array<int, 3> caught{SIGINT, SIGTERM, SIGHUP};
constexpr auto end_limit = std::chrono::seconds(2);
constexpr int exec_failed = 127;

std::atomic<int> came = 0;  // a signal handler can reach nothing else

extern "C" void note_signal(int number) { came.store(number); }

std::string content(int fd) {
  std::string text;
  std::array<char, 4096> chunk{};
  for (;;) {
    const ssize_t got = ::pread(fd, chunk.data(), chunk.size(), static_cast<off_t>(text.size()));
    if (got <= 0) return text;
    text.append(chunk.data(), static_cast<size_t>(got));
  }
}

/// The end of what was said, in one line.
std::string ending(const std::string& text) {
  constexpr size_t most = 400;
  std::string line;
  for (const char character : text) {
    if (character != '\n') {
      line += character;
    } else if (!line.empty() && !line.ends_with("; ")) {
      line += "; ";
    }
  }
  while (line.ends_with(' ') || line.ends_with(';')) line.pop_back();
  return line.size() <= most ? line : "…" + line.substr(line.size() - most);
}

[[noreturn]] void become(char* const* argv, int name_space, int output, int errors, pid_t parent) {
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (::getppid() != parent) ::_exit(exec_failed);  // it was gone before the line above
  const int nothing = ::open("/dev/null", O_RDONLY | O_CLOEXEC);
  if (::setns(name_space, CLONE_NEWNET) == 0 && ::dup2(nothing, STDIN_FILENO) >= 0 && ::dup2(output, STDOUT_FILENO) >= 0 &&
      ::dup2(errors, STDERR_FILENO) >= 0) {
    ::execv(argv[0], argv);
  }
  ::_exit(exec_failed);
}

}  // namespace

Interruption::Interruption() {
  came.store(0);
  for (const int number : caught) std::signal(number, note_signal);
}
Interruption::~Interruption() {
  for (const int number : caught) std::signal(number, SIG_DFL);
}
int Interruption::signal() noexcept { return came.load(); }
Status Interruption::status() {
  const int number = came.load();
  if (number == 0) return {};
  return {StatusCode::cancelled,
          fmt::format("interrupted by SIG{}; everything that was started is gone", sigabbrev_np(number))};
}

haul::Result<Child> Child::start(const std::vector<std::string>& command, const End& end) {
  Child child;
  child.name_ = command.front();
  child.output_.reset(::memfd_create("output", MFD_CLOEXEC));
  child.errors_.reset(::memfd_create("errors", MFD_CLOEXEC));
  if (!child.output_ || !child.errors_) return Status::from_errno(StatusCode::exhausted, errno, "cannot make a file in memory");
  std::vector<std::string> arguments = command;
  std::vector<char*> argv;
  argv.reserve(arguments.size() + 1);
  for (std::string& argument : arguments) argv.push_back(argument.data());
  argv.push_back(nullptr);
  const pid_t self = ::getpid();
  child.pid_ = ::fork();
  if (child.pid_ < 0) return Status::from_errno(StatusCode::exhausted, errno, "cannot start " + child.name_);
  if (child.pid_ == 0) become(argv.data(), end.name_space(), child.output_.get(), child.errors_.get(), self);
  return child;
}

Child::Child(Child&& other) noexcept
    : name_(std::move(other.name_)),
      pid_(std::exchange(other.pid_, -1)),
      ended_(other.ended_),
      exit_code_(other.exit_code_),
      output_(std::move(other.output_)),
      errors_(std::move(other.errors_)) {}

Child::~Child() {
  for (const int number : {SIGTERM, SIGKILL}) {
    if (pid_ < 0 || ended()) return;
    ::kill(pid_, number);
    wait_briefly();
  }
}

void Child::wait_briefly() {
  const haul::Clock& clock = haul::system_clock();
  const haul::TimePoint end = clock.now() + end_limit;
  while (!ended() && clock.now() < end) std::this_thread::sleep_for(milliseconds(2));
}

bool Child::ended() {
  if (ended_) return true;
  int how = 0;
  if (::waitpid(pid_, &how, WNOHANG) == 0) return false;
  ended_ = true;
  exit_code_ = WIFSIGNALED(how) ? 128 + WTERMSIG(how) : WEXITSTATUS(how);
  return true;
}

std::string Child::output() const { return content(output_.get()); }
std::string Child::errors() const { return content(errors_.get()); }
std::string Child::complaint() const {
  if (exit_code_ == exec_failed && errors().empty()) return name_ + " could not be started";
  const std::string said = ending(errors());
  return said.empty() ? ending(output()) : said;
}

Status wait_until(const std::function<bool()>& done, haul::Duration limit, const std::string& waiting_for) {
  const haul::Clock& clock = haul::system_clock();
  const haul::TimePoint end = clock.now() + limit;
  for (;;) {
    const bool is_done = done();
    // Also when it is done: a terminal interrupts the programs, too, and then they ended for that.
    if (Status status = Interruption::status(); !status.ok()) return status;
    if (is_done) return {};
    if (clock.now() >= end) {
      return {StatusCode::timed_out,
              fmt::format("{} did not come within {:.1f} s", waiting_for, std::chrono::duration<double>(limit).count())};
    }
    std::this_thread::sleep_for(milliseconds(5));
  }
}

std::string program_path(const std::string& name) {
  const char* path = std::getenv("PATH");
  std::istringstream folders(path == nullptr ? "/usr/bin" : path);
  std::string folder;
  while (std::getline(folders, folder, ':')) {
    std::string candidate = fmt::format("{}/{}", folder, name);
    if (::access(candidate.c_str(), X_OK) == 0) return candidate;
  }
  return {};
}

bool listens(const End& end, uint16_t port) {
  const std::string wanted = fmt::format(":{:04X}", port);
  bool found = false;
  // Not through the process of the server: it is still at home for a moment after it was started, and so would we look there.
  const Status status = end.inside([&]() -> Status {
    for (const char* table : {"tcp", "tcp6"}) {
      std::ifstream file(fmt::format("/proc/thread-self/net/{}", table));
      std::string number;
      std::string local;
      std::string remote;
      std::string state;
      std::string rest;
      while (file >> number >> local >> remote >> state && std::getline(file, rest)) {
        found |= local.ends_with(wanted) && state == "0A";
      }
    }
    return {};
  });
  return status.ok() && found;
}

}  // namespace wan
