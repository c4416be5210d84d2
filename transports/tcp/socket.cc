// Socket options and path samples.
#include "tcp/socket.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/tcp.h>
#include <poll.h>
#include <sys/ioctl.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <fstream>

namespace haul::tcp {

namespace {

constexpr int tcp_protocol = IPPROTO_TCP;
constexpr uint32_t rack_rtt_us = 2000;

template <typename T>
bool set_option(int fd, int level, int name, const T& value) noexcept {
  return setsockopt(fd, level, name, &value, sizeof(value)) == 0;
}

tcp_info info_of(int fd) noexcept {
  tcp_info info{};
  socklen_t bytes = sizeof(info);
  if (getsockopt(fd, tcp_protocol, TCP_INFO, &info, &bytes) != 0) info = {};
  return info;
}

void keep_alive(int fd, Duration dead_after) noexcept {
  const auto milliseconds = std::chrono::duration_cast<std::chrono::milliseconds>(dead_after).count();
  const auto seconds = std::clamp<int64_t>(milliseconds / 1000, 1, 32767);
  constexpr int probes = 3;
  const int idle_s = static_cast<int>(std::max<int64_t>(1, seconds / 2));
  const int interval_s = static_cast<int>(std::max<int64_t>(1, seconds / (2 * probes)));
  set_option(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
  set_option(fd, tcp_protocol, TCP_KEEPIDLE, idle_s);
  set_option(fd, tcp_protocol, TCP_KEEPINTVL, interval_s);
  set_option(fd, tcp_protocol, TCP_KEEPCNT, probes);
  set_option(fd, tcp_protocol, TCP_USER_TIMEOUT, static_cast<unsigned>(std::max<int64_t>(1, milliseconds)));
}

bool set_congestion(int fd, std::string_view name) noexcept {
  return setsockopt(fd, tcp_protocol, TCP_CONGESTION, name.data(), static_cast<socklen_t>(name.size())) == 0;
}

// The first that the kernel has and permits. False: none of those that were asked for.
bool choose_congestion(int fd, const std::vector<std::string>& preferred) noexcept {
  const auto set = [fd](const std::string& name) { return set_congestion(fd, name); };
  return preferred.empty() || std::any_of(preferred.begin(), preferred.end(), set);
}

bool choose_ours(int fd, const Options& options, bool rack) noexcept {
  const bool wanted = options.kernel_controller == KernelController::require ||
                      (options.kernel_controller == KernelController::automatic && !rack);
  return wanted && set_congestion(fd, kernel_congestion::name);
}

constexpr const char* send_buffer_file = "/proc/sys/net/ipv4/tcp_wmem";

// Up to this size the kernel makes send buffers by itself; unknown: of any size.
uint64_t most_send_buffer() {
  static const uint64_t most = [] {
    uint64_t least = 0;
    uint64_t usual = 0;
    uint64_t largest = UINT64_MAX;
    std::ifstream(send_buffer_file) >> least >> usual >> largest;
    return largest != 0 ? largest : UINT64_MAX;
  }();
  return most;
}

// What is on the way, as much again behind it, and the kernel's own bookkeeping for both.
uint64_t buffer_for(uint64_t path_bytes) {
  constexpr uint64_t most_path = uint64_t{256} << 20;
  return 4 * std::min(path_bytes, most_path);
}

// What waits in the socket of a paced lane. The send buffer is made for what is on the way (hold_path): without a bound of its
// own as much again, up to seconds of the rate, would wait behind it unsent, where a message can't overtake it, cancelling
// comes too late, and a lane that got more of the rate can't have it. The kernel asks for more when half of this is gone: an
// engine that is woken has 10 ms to bring it, before the path counts as idle for want of data.
uint32_t unsent_for(uint64_t rate_bytes_s) {
  constexpr uint64_t parts_of_a_second = 50;
  constexpr uint64_t least = 128U << 10;
  constexpr uint64_t most = 1U << 30;
  return static_cast<uint32_t>(std::clamp(rate_bytes_s / parts_of_a_second, least, most));
}

std::string congestion_in_force(int fd) {
  constexpr size_t name_bytes = 16;  // TCP_CA_NAME_MAX
  std::array<char, name_bytes> name{};
  socklen_t bytes = name.size() - 1;
  if (getsockopt(fd, tcp_protocol, TCP_CONGESTION, name.data(), &bytes) != 0) return "unknown";
  return name.data();
}

// Of what was sent and not acknowledged, where nothing waits unsent.
bool is_full(int fd) noexcept {
  pollfd asked{.fd = fd, .events = POLLOUT, .revents = 0};
  return poll(&asked, 1, 0) == 0;
}

}  // namespace

Result<base::UniqueFd> make_socket(int family, const Options& options) {
  base::UniqueFd fd(socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!fd) {
    if (errno == EAFNOSUPPORT) return Status::from_errno(StatusCode::unavailable, errno, "a socket of this address family");
    return Status::from_errno(StatusCode::exhausted, errno, "no socket could be made (`ulimit -n`)");
  }
  // Asked for before the connection, since the window scale is fixed by the first packet.
  if (options.send_buffer_bytes > 0) set_option(fd.get(), SOL_SOCKET, SO_SNDBUF, options.send_buffer_bytes);
  if (options.receive_buffer_bytes > 0) set_option(fd.get(), SOL_SOCKET, SO_RCVBUF, options.receive_buffer_bytes);
  return fd;
}

Distance distance_of(int fd) noexcept {
  if (remote_endpoint(fd).is_loopback()) return Distance::loopback;
  return info_of(fd).tcpi_rtt < rack_rtt_us ? Distance::rack : Distance::wan;
}

const char* why_copied(ZeroCopy wanted, bool available, Distance distance) noexcept {
  if (wanted == ZeroCopy::off) return "off";
  if (!available) return "not available";
  if (wanted == ZeroCopy::always) return nullptr;
  switch (distance) {
    case Distance::loopback: return "off on loopback";
    case Distance::wan: return "off beyond the rack";
    case Distance::rack: return nullptr;
  }
  return nullptr;
}

// The kernel makes room for what a reader says it waits for, as far as the buffer may grow by itself.
void open_window(int fd) noexcept {
  constexpr int most = 1 << 30;
  set_option(fd, SOL_SOCKET, SO_RCVLOWAT, most);
  set_option(fd, SOL_SOCKET, SO_RCVLOWAT, 1);
}

Congestion tune_socket(int fd, Distance distance, const Options& options, bool steerable) {
  set_option(fd, tcp_protocol, TCP_NODELAY, 1);
  keep_alive(fd, options.dead_after);
  Congestion congestion;
  congestion.rack = distance != Distance::wan;
  congestion.as_asked = (steerable && choose_ours(fd, options, congestion.rack)) ||
                        choose_congestion(fd, congestion.rack ? options.congestion_rack : options.congestion_wan);
  congestion.name = congestion_in_force(fd);
  return congestion;
}

std::string congestion_warning(const Congestion& congestion, const Options& options) {
  constexpr const char* available_file = "/proc/sys/net/ipv4/tcp_available_congestion_control";
  std::string available;
  if (!std::getline(std::ifstream(available_file), available)) available = "unknown";
  return fmt::format(
      "{} ({}) names no congestion control that the kernel has and permits: {} is used instead. Available: {} ({}); "
      "net.ipv4.tcp_allowed_congestion_control permits them to ordinary users",
      congestion.rack ? "congestion_rack" : "congestion_wan",
      fmt::join(congestion.rack ? options.congestion_rack : options.congestion_wan, ", "), congestion.name, available,
      available_file);
}

bool send_now(int fd, std::span<const std::byte> bytes) noexcept {
  if (bytes.empty()) return true;
  const ssize_t sent = send(fd, bytes.data(), bytes.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
  return sent == static_cast<ssize_t>(bytes.size());
}

void set_nonblocking(int fd, bool on) noexcept {
  int value = on ? 1 : 0;
  ioctl(fd, FIONBIO, &value);
}

void reset_socket(int fd) noexcept {
  set_option(fd, SOL_SOCKET, SO_LINGER, linger{1, 0});
  shutdown(fd, SHUT_RDWR);
  // Disconnecting drops the queue of what was not acknowledged; close() would too, but only after the operations are over.
  // Where it fails, close() does it.
  sockaddr none{};
  none.sa_family = AF_UNSPEC;
  static_cast<void>(connect(fd, &none, sizeof(none)));
}

void sample_socket(int fd, uint64_t queued_bytes, PathSample& sample) noexcept {
  const tcp_info info = info_of(fd);
  if (info.tcpi_rtt > 0) sample.rtt_smoothed = std::chrono::microseconds(info.tcpi_rtt);
  if (info.tcpi_min_rtt > 0 && info.tcpi_min_rtt != ~0U) sample.rtt_min = std::chrono::microseconds(info.tcpi_min_rtt);
  if (info.tcpi_delivery_rate > 0) sample.delivery_rate_bytes_s = info.tcpi_delivery_rate;
  sample.congestion_window_bytes = uint64_t{info.tcpi_snd_cwnd} * info.tcpi_snd_mss;
  sample.bytes_sent = info.tcpi_bytes_sent;
  sample.bytes_received = info.tcpi_bytes_received;
  sample.retransmits = info.tcpi_total_retrans;
  // Whole segments, but for what is acknowledged in order. The difference is that of the last one.
  const uint64_t segment = info.tcpi_snd_mss;
  const uint64_t gone = uint64_t{info.tcpi_sacked} + info.tcpi_lost;
  const uint64_t there = uint64_t{info.tcpi_unacked} + info.tcpi_retrans;
  sample.bytes_delivered = info.tcpi_bytes_acked + info.tcpi_sacked * segment;
  sample.bytes_lost = info.tcpi_bytes_retrans;
  sample.bytes_marked = info.tcpi_delivered_ce * segment;
  sample.bytes_in_flight = there > gone ? (there - gone) * segment : 0;
  sample.bytes_unsent = info.tcpi_notsent_bytes + info.tcpi_unacked * segment;
  // Where window or pace holds back, something always waits; where the send buffer does, it waits before the socket. With room
  // in the buffer, it is we who are late.
  sample.app_limited = info.tcpi_notsent_bytes == 0 && !(queued_bytes > 0 && is_full(fd));
  sample.limited_by_buffers = std::chrono::microseconds(info.tcpi_sndbuf_limited + info.tcpi_rwnd_limited);
  sample.progress_bytes = info.tcpi_bytes_acked + info.tcpi_bytes_received;
}

bool hold_path(int fd, uint64_t bytes) noexcept {
  const uint64_t wanted = buffer_for(bytes);
  if (wanted <= most_send_buffer()) return true;
  // The kernel doubles what it is told.
  return set_option(fd, SOL_SOCKET, SO_SNDBUFFORCE, static_cast<int>(wanted / 2));
}

std::string send_buffer_limit(uint64_t bytes) {
  return fmt::format("send buffer held to {} bytes by {}, the path wants {}: raise it, or give the process CAP_NET_ADMIN",
                     most_send_buffer(), send_buffer_file, buffer_for(bytes));
}

uint64_t endurable_rate(int fd, uint64_t rate_bytes_s) noexcept {
  constexpr uint64_t bursts_a_second = 20;
  constexpr uint64_t segments_a_burst = 2;
  return std::max(rate_bytes_s, bursts_a_second * segments_a_burst * std::max(info_of(fd).tcpi_snd_mss, 536U));
}

void pace(int fd, std::optional<uint64_t> rate_bytes_s) noexcept {
  const uint64_t rate = rate_bytes_s ? endurable_rate(fd, *rate_bytes_s) : ~uint64_t{0};
  set_option(fd, SOL_SOCKET, SO_MAX_PACING_RATE, rate);
  bound_unsent(fd, rate_bytes_s);
}

void bound_unsent(int fd, std::optional<uint64_t> rate_bytes_s) noexcept {
  set_option(fd, tcp_protocol, TCP_NOTSENT_LOWAT, rate_bytes_s ? unsent_for(*rate_bytes_s) : 0U);
}

Result<base::UniqueFd> listen_on(const Endpoint& endpoint, bool both_families, const Options& options) {
  const auto failed = [&endpoint](int error) {
    const StatusCode code = error == EACCES ? StatusCode::refused : StatusCode::unavailable;
    return Status::from_errno(code, error, fmt::format("cannot listen on {}{}", endpoint.to_string(), remedy(error)));
  };
  auto made = make_socket(endpoint.family(), options);
  if (!made.ok()) return made;
  const int fd = made->get();
  set_option(fd, SOL_SOCKET, SO_REUSEADDR, 1);
  if (endpoint.family() == AF_INET6) set_option(fd, IPPROTO_IPV6, IPV6_V6ONLY, both_families ? 0 : 1);
  if (bind(fd, reinterpret_cast<const sockaddr*>(&endpoint.storage), endpoint.bytes) != 0) return failed(errno);
  if (listen(fd, SOMAXCONN) != 0) return failed(errno);
  return made;
}

}  // namespace haul::tcp
