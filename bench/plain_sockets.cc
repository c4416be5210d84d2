// haul-bench-sockets: plain TCP between two processes on loopback, as the baseline that haul-bench is compared with.
#include <arpa/inet.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <nlohmann/json.hpp>
#include <optional>
#include <stdexcept>
#include <string>
#include <system_error>
#include <vector>

#include "base/random.h"
#include "base/unique_fd.h"
#include "measure/histogram.h"
#include "measure/usage.h"

namespace {

using haul::base::UniqueFd;
using std::chrono::steady_clock;

struct Settings {
  bool pingpong = false;
  bool spin = false;
  uint64_t block_bytes = 0;
  uint64_t working_set_bytes = uint64_t{64} << 20;
  double duration_s = 5;
  std::string congestion;
  std::vector<int> pin;
  bool json = false;
};

struct Outcome {
  uint64_t bytes = 0;
  double elapsed_s = 0;
  uint64_t cpu_ns = 0;
  uint64_t retransmits = 0;
  bench::Histogram round_trips;
};

[[noreturn]] void fail(const char* what) { throw std::system_error(errno, std::generic_category(), what); }

/// A working set, and the place in it where the next block goes.
class Cycle {
 public:
  Cycle(const Settings& settings, uint64_t seed) : memory_(settings.working_set_bytes), block_bytes_(settings.block_bytes) {
    haul::base::Random(seed).fill(memory_);
  }
  std::span<std::byte> next() {
    const auto block = std::span(memory_).subspan(offset_, block_bytes_);
    offset_ = offset_ + 2 * block_bytes_ > memory_.size() ? 0 : offset_ + block_bytes_;
    return block;
  }

 private:
  std::vector<std::byte> memory_;
  uint64_t block_bytes_;
  uint64_t offset_ = 0;
};

UniqueFd listen_on_loopback(sockaddr_in& address) {
  UniqueFd fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  address = {};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof(address);
  auto* generic = reinterpret_cast<sockaddr*>(&address);
  if (!fd || ::bind(fd.get(), generic, size) != 0 || ::listen(fd.get(), 1) != 0 ||
      ::getsockname(fd.get(), generic, &size) != 0) {
    fail("cannot listen on 127.0.0.1");
  }
  return fd;
}

/// Both ends get the same options: congestion control where one is named, no Nagle, a limit on every wait.
void prepare(int fd, const Settings& settings) {
  const int one = 1;
  const timeval limit{10, 0};
  if (::setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one)) != 0) fail("TCP_NODELAY");
  if (::setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit)) != 0) fail("SO_RCVTIMEO");
  if (::setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit)) != 0) fail("SO_SNDTIMEO");
  const auto& name = settings.congestion;
  if (!name.empty() && ::setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, name.data(), static_cast<socklen_t>(name.size())) != 0) {
    fail(("congestion control " + name).c_str());
  }
  if (settings.pingpong && settings.spin && ::fcntl(fd, F_SETFL, O_NONBLOCK) != 0) fail("O_NONBLOCK");
}

std::string congestion_in_force(int fd) {
  std::array<char, 16> name{};
  socklen_t size = name.size();
  if (::getsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, name.data(), &size) != 0) return "unknown";
  return {name.data(), ::strnlen(name.data(), size)};
}

uint64_t retransmits_of(int fd) {
  tcp_info info{};
  socklen_t size = sizeof(info);
  if (::getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &size) != 0) fail("TCP_INFO");
  return info.tcpi_total_retrans;
}

/// Spinning sockets answer "not now" at once: bounded by the same 10 s that a blocking wait has.
bool try_again(steady_clock::time_point& waiting_since) {
  if (errno == EINTR) return true;
  if (errno != EAGAIN) return false;
  const auto now = steady_clock::now();
  if (waiting_since == steady_clock::time_point()) waiting_since = now;
  return now - waiting_since < std::chrono::seconds(10);
}

void send_all(int fd, std::span<const std::byte> bytes, bool spin) {
  steady_clock::time_point waiting_since;
  while (!bytes.empty()) {
    const ssize_t sent = ::send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (sent < 0 && spin && try_again(waiting_since)) continue;
    if (sent < 0) fail("send");
    bytes = bytes.subspan(static_cast<size_t>(sent));
  }
}

/// False at the end of the stream; a block that is cut short is an error.
bool receive_all(int fd, std::span<std::byte> bytes, bool spin) {
  const size_t wanted = bytes.size();
  steady_clock::time_point waiting_since;
  while (!bytes.empty()) {
    const ssize_t got = ::recv(fd, bytes.data(), bytes.size(), 0);
    if (got < 0 && spin && try_again(waiting_since)) continue;
    if (got < 0) fail("recv");
    if (got == 0 && bytes.size() == wanted) return false;
    if (got == 0) throw std::runtime_error("the other process closed the connection in the middle of a block");
    bytes = bytes.subspan(static_cast<size_t>(got));
  }
  return true;
}

/// The receiving process: takes blocks (and sends them back) until the sender is done, then says what it used.
void receive(UniqueFd listener, const Settings& settings, int report) {
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (settings.pin.size() > 1 && !bench::pin_to_processor(settings.pin[1])) fail("pin");
  Cycle cycle(settings, 2);
  pollfd pending{listener.get(), POLLIN, 0};
  if (::poll(&pending, 1, 10'000) != 1) throw std::runtime_error("the sender did not connect");
  const UniqueFd fd(::accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC));
  if (!fd) fail("accept");
  prepare(fd.get(), settings);
  const uint64_t before_ns = bench::cpu_time_ns();
  for (auto block = cycle.next(); receive_all(fd.get(), block, settings.spin); block = cycle.next()) {
    if (settings.pingpong) send_all(fd.get(), block, settings.spin);
  }
  const uint64_t used_ns = bench::cpu_time_ns() - before_ns;
  if (::write(report, &used_ns, sizeof(used_ns)) != sizeof(used_ns)) fail("report");
}

/// Sends blocks for the time that is set. In stream mode the run ends when the receiver has taken the last byte.
Outcome send(const Settings& settings, int fd, int report, uint64_t& receiver_cpu_ns) {
  Cycle cycle(settings, 1);
  Outcome outcome;
  const uint64_t before_ns = bench::cpu_time_ns();
  const auto begin = steady_clock::now();
  const auto end =
      begin + std::chrono::duration_cast<steady_clock::duration>(std::chrono::duration<double>(settings.duration_s));
  for (auto now = begin; now < end;) {
    const auto block = cycle.next();
    send_all(fd, block, settings.spin);
    if (settings.pingpong && !receive_all(fd, block, settings.spin)) throw std::runtime_error("the receiver left");
    const auto after = steady_clock::now();
    if (settings.pingpong) outcome.round_trips.record(after - now);
    outcome.bytes += block.size();
    now = after;
  }
  outcome.retransmits = retransmits_of(fd);
  if (::shutdown(fd, SHUT_WR) != 0) fail("shutdown");
  pollfd told{report, POLLIN, 0};
  if (::poll(&told, 1, 10'000) != 1 || ::read(report, &receiver_cpu_ns, sizeof(receiver_cpu_ns)) != sizeof(receiver_cpu_ns)) {
    throw std::runtime_error("the receiving process failed; its message is above");
  }
  outcome.elapsed_s = std::chrono::duration<double>(steady_clock::now() - begin).count();
  outcome.cpu_ns = bench::cpu_time_ns() - before_ns;
  return outcome;
}

void print(const Settings& settings, const Outcome& outcome, uint64_t receiver_cpu_ns, const std::string& congestion) {
  const double gigabytes = static_cast<double>(outcome.bytes) / 1e9;
  nlohmann::ordered_json json;
  json["mode"] = settings.pingpong ? "pingpong" : "stream";
  json["transport"] = "plain sockets";
  json["poll"] = settings.pingpong && settings.spin ? "spin" : "block";
  json["block_bytes"] = settings.block_bytes;
  json["goodput_gbytes_s"] = gigabytes / outcome.elapsed_s;
  json["cpu_s_per_gb_sender"] = static_cast<double>(outcome.cpu_ns) / 1e9 / gigabytes;
  json["cpu_s_per_gb_receiver"] = static_cast<double>(receiver_cpu_ns) / 1e9 / gigabytes;
  const auto median_us = outcome.round_trips.quantile_us(0.5);
  json["half_rtt_us"] = median_us ? nlohmann::ordered_json(*median_us / 2) : nlohmann::ordered_json(nullptr);
  for (const auto& [key, fraction] : {std::pair("p50_us", 0.5), std::pair("p99_us", 0.99), std::pair("p999_us", 0.999)}) {
    const auto value = outcome.round_trips.quantile_us(fraction);
    json[key] = value ? nlohmann::ordered_json(*value) : nlohmann::ordered_json(nullptr);
  }
  const uint64_t whole_blocks = outcome.bytes / settings.block_bytes;
  json["ops_per_s"] = static_cast<double>(whole_blocks) / outcome.elapsed_s;
  json["retransmits"] = outcome.retransmits;
  json["working_set_bytes"] = settings.working_set_bytes;
  json["congestion"] = congestion;
  if (settings.json) return fmt::print("{}\n", json.dump(2));
  for (const auto& [key, value] : json.items()) fmt::print("{:<24}{}\n", key, value.is_null() ? "-" : value.dump());
}

int run(const Settings& settings) {
  sockaddr_in address{};
  UniqueFd listener = listen_on_loopback(address);
  std::array<int, 2> ends{};
  if (::pipe2(ends.data(), O_CLOEXEC) != 0) fail("pipe");
  const UniqueFd report(ends[0]);
  UniqueFd report_out(ends[1]);
  const pid_t child = ::fork();
  if (child < 0) fail("fork");
  if (child == 0) {
    receive(std::move(listener), settings, report_out.get());
    return 0;
  }
  report_out.reset();
  listener.reset();
  if (!settings.pin.empty() && !bench::pin_to_processor(settings.pin[0])) fail("pin");
  const UniqueFd fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!fd || ::connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0) fail("connect");
  prepare(fd.get(), settings);
  uint64_t receiver_cpu_ns = 0;
  const Outcome outcome = send(settings, fd.get(), report.get(), receiver_cpu_ns);
  ::waitpid(child, nullptr, 0);
  print(settings, outcome, receiver_cpu_ns, congestion_in_force(fd.get()));
  return 0;
}

void add_options(CLI::App& command, Settings& settings, const char* block_name) {
  const CLI::AsSizeValue size(false);
  command.add_option(block_name, settings.block_bytes, "Bytes of a send (K, M, G)")
      ->transform(size)
      ->check(CLI::PositiveNumber);
  command.add_option("--working-set", settings.working_set_bytes, "Memory that each side walks through (default 64M)")
      ->transform(size)
      ->check(CLI::PositiveNumber);
  command.add_option("--duration", settings.duration_s, "Seconds")->check(CLI::Range(0.01, 3600.0))->capture_default_str();
  command.add_option("--congestion", settings.congestion, "Congestion control (default: the kernel's)");
  command.add_option("--pin", settings.pin, "Processors of the two processes: A,B")->delimiter(',');
  command.add_flag("--json", settings.json, "Print JSON");
}

}  // namespace

int main(int argc, char** argv) {
  Settings settings;
  CLI::App app{"Plain TCP between two processes on loopback"};
  app.require_subcommand(1);
  CLI::App* stream = app.add_subcommand("stream", "Blocking sends, one direction");
  add_options(*stream, settings, "--block");
  CLI::App* pingpong = app.add_subcommand("pingpong", "A block, answered by a block");
  add_options(*pingpong, settings, "--size");
  pingpong->add_flag("--spin", settings.spin, "Nonblocking sockets, busy polling (default: blocking)");
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : 2;
  }
  settings.pingpong = pingpong->parsed();
  if (settings.block_bytes == 0) settings.block_bytes = settings.pingpong ? 4U << 10 : 1U << 20;
  if (settings.block_bytes > settings.working_set_bytes) {
    fmt::print(stderr, "haul-bench-sockets: a block does not fit into --working-set: give more\n");
    return 2;
  }
  try {
    return run(settings);
  } catch (const std::exception& error) {
    fmt::print(stderr, "haul-bench-sockets: {}\n", error.what());
    return 1;
  }
}
