// Three rounds of probes: spaced (delay), too fast (rate), fast enough not to queue (loss).
#include "wan/calibration.h"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <netinet/udp.h>
#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <cmath>
#include <cstring>
#include <ctime>
#include <optional>
#include <thread>
#include <utility>

#include "base/unique_fd.h"
#include "measure/durations.h"
#include "wan/child.h"
#include "wan/emulator.h"
#include "wan/end.h"

namespace wan {

namespace {

using bench::from_seconds;
using bench::seconds;
using haul::Status;
using haul::StatusCode;
using haul::base::UniqueFd;
using std::chrono::milliseconds;

constexpr uint16_t probe_port = 9;
constexpr uint32_t headers = 28;  // IPv4 and UDP
constexpr uint32_t full_packet = 1500;
constexpr uint32_t small_packet = 100;
constexpr int delay_probes = 40;
constexpr double offered = 1.1;  // of the rate, so that the link is busy all the time
constexpr auto delay_spacing = milliseconds(3);

enum class Round : uint32_t { delay, rate, loss };

struct Probe {
  int64_t sent_ns = 0;
  Round round = Round::delay;
};

struct Arrival {
  Duration at;
  Probe probe;
};

haul::Result<UniqueFd> probe_socket(const End& here, const End& there) {
  UniqueFd socket;
  const Status status = here.inside([&]() -> Status {
    socket.reset(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    sockaddr_in own{};
    own.sin_family = AF_INET;
    own.sin_port = htons(probe_port);
    ::inet_pton(AF_INET, here.address().c_str(), &own.sin_addr);
    sockaddr_in other = own;
    ::inet_pton(AF_INET, there.address().c_str(), &other.sin_addr);
    constexpr int buffer = 64 << 20;
    // Without the right to force it the usual buffer may be too small, which shows as a loss.
    ::setsockopt(socket.get(), SOL_SOCKET, SO_RCVBUFFORCE, &buffer, sizeof(buffer));
    ::setsockopt(socket.get(), SOL_SOCKET, SO_SNDBUFFORCE, &buffer, sizeof(buffer));
    // The time of arrival, not that at which a reader was woken.
    constexpr int on = 1;
    ::setsockopt(socket.get(), SOL_SOCKET, SO_TIMESTAMPNS, &on, sizeof(on));
    if (::bind(socket.get(), reinterpret_cast<const sockaddr*>(&own), sizeof(own)) != 0 ||
        ::connect(socket.get(), reinterpret_cast<const sockaddr*>(&other), sizeof(other)) != 0) {
      return Status::from_errno(StatusCode::unavailable, errno, "cannot open a socket for probes");
    }
    return {};
  });
  if (!status.ok()) return status;
  return socket;
}

/// The kernel stamps arrivals with this clock. Should it be set meanwhile, a calibration fails, and the next one does not.
Duration realtime_now() {
  timespec now{};
  ::clock_gettime(CLOCK_REALTIME, &now);
  return std::chrono::seconds(now.tv_sec) + Duration(now.tv_nsec);
}

Duration arrival_time(msghdr& message) {
  for (cmsghdr* control = CMSG_FIRSTHDR(&message); control != nullptr; control = CMSG_NXTHDR(&message, control)) {
    if (control->cmsg_level == SOL_SOCKET && control->cmsg_type == SCM_TIMESTAMPNS) {
      timespec stamp{};
      std::memcpy(&stamp, CMSG_DATA(control), sizeof(stamp));
      return std::chrono::seconds(stamp.tv_sec) + Duration(stamp.tv_nsec);
    }
  }
  return realtime_now();
}

/// Takes probes on a thread of its own until it is told to stop.
class Receiver {
 public:
  explicit Receiver(int socket) : thread_([this, socket] { run(socket); }) {}
  std::vector<Arrival> stop() {
    stop_.store(true);
    thread_.join();
    return std::move(arrivals_);
  }

 private:
  static constexpr size_t at_once = 32;

  void run(int socket) {
    std::array<Probe, at_once> probes{};
    std::array<std::array<char, CMSG_SPACE(sizeof(timespec))>, at_once> controls{};
    std::array<iovec, at_once> pieces{};
    std::array<mmsghdr, at_once> messages{};
    while (!stop_.load()) {
      for (size_t i = 0; i < at_once; ++i) {
        pieces[i] = {&probes[i], sizeof(Probe)};  // the rest of a packet is cut off
        messages[i].msg_hdr = {nullptr, 0, &pieces[i], 1, controls[i].data(), controls[i].size(), 0};
      }
      pollfd ready{socket, POLLIN, 0};
      if (::poll(&ready, 1, 20) <= 0) continue;
      const int got = ::recvmmsg(socket, messages.data(), at_once, MSG_DONTWAIT, nullptr);
      for (size_t i = 0; got > 0 && i < static_cast<size_t>(got); ++i)
        arrivals_.push_back({arrival_time(messages[i].msg_hdr), probes[i]});
    }
  }

  std::vector<Arrival> arrivals_;
  std::atomic<bool> stop_ = false;
  std::thread thread_;
};

/// Packets that are sent with one call; the kernel cuts them.
constexpr uint64_t most_together = 16;

void send_probes(int socket, Round round, uint32_t wire_bytes, uint64_t count) {
  std::array<char, most_together * full_packet> data{};
  const uint32_t bytes = wire_bytes - headers;
  const Probe probe{realtime_now().count(), round};
  for (uint64_t i = 0; i < count; ++i) std::memcpy(data.data() + i * bytes, &probe, sizeof(probe));
  const int segment = static_cast<int>(bytes);
  ::setsockopt(socket, SOL_UDP, UDP_SEGMENT, &segment, sizeof(segment));
  ::send(socket, data.data(), count * bytes, 0);
}

/// Sends `count` packets evenly at this rate, a few at a time.
uint64_t send_evenly(int socket, Round round, double rate_bytes_s, uint64_t count, Duration longest_pause) {
  const haul::Clock& clock = haul::system_clock();
  const TimePoint start = clock.now();
  uint64_t sent = 0;
  while (sent < count && Interruption::signal() == 0) {
    const auto due = static_cast<uint64_t>(seconds(clock.now() - start) * rate_bytes_s / full_packet) + 1;
    while (sent < std::min(due, count)) {
      const uint64_t together = std::min({due - sent, count - sent, most_together});
      send_probes(socket, round, full_packet, together);
      sent += together;
    }
    const Duration next = from_seconds(static_cast<double>(sent) * full_packet / rate_bytes_s) - (clock.now() - start);
    std::this_thread::sleep_for(std::clamp(next, Duration::zero(), longest_pause));
  }
  return sent;
}

/// The median delay of the probes of the first round.
std::optional<Duration> median_delay(const std::vector<Arrival>& arrivals, double rate_bytes_s) {
  std::vector<Duration> delays;
  for (const Arrival& arrival : arrivals) {
    if (arrival.probe.round == Round::delay) delays.push_back(arrival.at - Duration(arrival.probe.sent_ns));
  }
  if (delays.empty()) return std::nullopt;
  const auto middle = delays.begin() + static_cast<std::ptrdiff_t>(delays.size() / 2);
  std::nth_element(delays.begin(), middle, delays.end());
  return *middle - from_seconds(small_packet / rate_bytes_s);
}

/// From the first to the last arrival of the second round.
std::optional<double> arrival_rate(const std::vector<Arrival>& arrivals) {
  std::optional<Duration> first;
  Duration last = Duration::zero();
  uint64_t count = 0;
  for (const Arrival& arrival : arrivals) {
    if (arrival.probe.round != Round::rate) continue;
    if (!first) first = arrival.at;
    last = arrival.at;
    ++count;
  }
  if (count < 3 || last <= *first) return std::nullopt;
  return static_cast<double>(count - 1) * full_packet / seconds(last - *first);
}

/// The path between two ends of its own, and sockets at both.
struct Bed {
  End near;
  End far;
  UniqueFd near_socket;
  UniqueFd far_socket;
};

haul::Result<Bed> make_bed(const flowsim::Link& link) {
  auto near = End::make("10.200.0.1", link.buffer_bytes);
  if (!near) return near.status();
  auto far = End::make("10.200.0.2", link.buffer_bytes);
  if (!far) return far.status();
  auto near_socket = probe_socket(*near, *far);
  if (!near_socket) return near_socket.status();
  auto far_socket = probe_socket(*far, *near);
  if (!far_socket) return far_socket.status();
  return Bed{std::move(*near), std::move(*far), std::move(*near_socket), std::move(*far_socket)};
}

flowsim::Link what_is_calibrated(const flowsim::Link& link) {
  flowsim::Link plain = link;
  plain.outages.clear();
  plain.steps.clear();
  plain.jitter = plain.reorder_delay = plain.codel_target = Duration::zero();
  plain.reorder = 0;
  return plain;
}

/// Sends all rounds; the loss of the link is switched on before the last one.
uint64_t send_rounds(const Bed& bed, const flowsim::Link& link, Emulator& emulator) {
  const double rate = static_cast<double>(link.rate_bytes_s);
  const Duration queue = from_seconds(static_cast<double>(link.buffer_bytes) / rate);
  const Duration pause = std::clamp<Duration>(queue / 4, Emulator::turn, milliseconds(1));
  const Duration spacing = std::max<Duration>(delay_spacing, from_seconds(2 * small_packet / rate));
  for (int i = 0; i < delay_probes && Interruption::signal() == 0; ++i) {
    send_probes(bed.near_socket.get(), Round::delay, small_packet, 1);
    send_probes(bed.far_socket.get(), Round::delay, small_packet, 1);
    std::this_thread::sleep_for(spacing);
  }
  const double rate_s = std::clamp(50 * full_packet / rate, 0.3, 3.0);
  send_evenly(bed.near_socket.get(), Round::rate, offered * rate,
              static_cast<uint64_t>(offered * rate * rate_s / full_packet) + 2, pause);
  std::this_thread::sleep_for(std::min<Duration>(queue, std::chrono::seconds(3)) + milliseconds(20));
  emulator.begin();
  std::this_thread::sleep_for(milliseconds(20));
  // Enough that four standard deviations are half of the loss, as far as two seconds go.
  const double loss = mean_loss(link);
  const double wanted = loss > 0 ? 64 / loss : 0;
  const double packets_s = 0.8 * rate / full_packet;
  const double packets = std::max(100.0, packets_s * std::clamp(wanted / packets_s, 0.3, 2.0));
  return send_evenly(bed.near_socket.get(), Round::loss, 0.8 * rate, static_cast<uint64_t>(packets), pause);
}

}  // namespace

double mean_loss(const flowsim::Link& link) {
  double burst = 0;
  if (link.burst_loss && link.burst_loss->enter > 0) {
    burst = link.burst_loss->loss * link.burst_loss->enter / (link.burst_loss->enter + link.burst_loss->leave);
  }
  return 1 - (1 - link.loss) * (1 - burst);
}

double loss_tolerance(const flowsim::Link& link, uint64_t packets) {
  const double mean = mean_loss(link);
  const double n = static_cast<double>(packets);
  double variance = mean * (1 - mean) / n;
  if (link.burst_loss && link.burst_loss->enter > 0) {
    // The state is a Markov chain with this share of bad packets, whose correlation falls by `kept` with each packet.
    const flowsim::BurstLoss& burst = *link.burst_loss;
    const double bad = burst.enter / (burst.enter + burst.leave);
    const double kept = std::max(1 - burst.enter - burst.leave, 0.0);
    variance += 2 * burst.loss * burst.loss * bad * (1 - bad) * kept / std::max(1 - kept, 1e-9) / n;
  }
  return 4 * std::sqrt(variance);
}

haul::Result<Calibration> calibrate(const flowsim::Link& asked, uint64_t seed) {
  const flowsim::Link link = what_is_calibrated(asked);
  auto bed = make_bed(link);
  if (!bed) return bed.status();
  EmulatorOptions options;
  options.link = link;
  options.seed = seed;
  options.begin_after_bytes = UINT64_MAX;
  Emulator emulator(bed->near, bed->far, std::move(options));
  Receiver at_far(bed->far_socket.get());
  Receiver at_near(bed->near_socket.get());
  emulator.start();
  const uint64_t sent = send_rounds(*bed, link, emulator);
  std::this_thread::sleep_for(link.rtt / 2 + milliseconds(50));
  const auto forward = at_far.stop();
  const auto back = at_near.stop();
  emulator.stop();
  if (Status status = Interruption::status(); !status.ok()) return status;

  Calibration result;
  result.delay_wanted = link.rtt / 2;
  result.rate_wanted_bytes_s = static_cast<double>(link.rate_bytes_s);
  const flowsim::Link back_link = backward(link);
  const auto delay_forward = median_delay(forward, result.rate_wanted_bytes_s);
  const auto delay_back = median_delay(back, static_cast<double>(back_link.rate_bytes_s));
  const auto rate = arrival_rate(forward);
  if (!delay_forward || !delay_back || !rate || sent == 0) {
    return Status(StatusCode::unavailable,
                  "the probes of the calibration did not arrive: is a firewall at work in new namespaces?");
  }
  result.delay_forward = *delay_forward;
  result.delay_back = *delay_back;
  result.rate_bytes_s = *rate;
  const auto arrived = static_cast<uint64_t>(
      std::count_if(forward.begin(), forward.end(), [](const Arrival& arrival) { return arrival.probe.round == Round::loss; }));
  const Record& record = emulator.record();
  result.loss_packets = sent - std::min(record.dropped_packets, sent);
  result.loss = 1 - static_cast<double>(arrived) / static_cast<double>(std::max<uint64_t>(result.loss_packets, 1));
  result.loss_wanted = mean_loss(link);
  result.loss_tolerance = loss_tolerance(link, result.loss_packets);
  const auto dropped = bed->near.dropped_packets();
  if (!dropped) return dropped.status();
  result.late = rejection(record.sending, record.reading, record.failed_writes + *dropped);
  result.real_time = record.real_time;
  return result;
}

std::vector<std::string> faults(const Calibration& calibration) {
  std::vector<std::string> found;
  const auto delay = [&](const char* way, Duration measured) {
    if (std::chrono::abs(measured - calibration.delay_wanted) <= delay_tolerance) return;
    found.push_back(fmt::format("delay {}: {:.3f} ms instead of {:.3f} ± {:.3f}", way, seconds(measured) * 1e3,
                                seconds(calibration.delay_wanted) * 1e3, seconds(delay_tolerance) * 1e3));
  };
  delay("forward", calibration.delay_forward);
  delay("back", calibration.delay_back);
  if (std::abs(calibration.rate_bytes_s / calibration.rate_wanted_bytes_s - 1) > rate_tolerance) {
    found.push_back(fmt::format("rate: {:.4g} Mbit/s instead of {:.4g}", calibration.rate_bytes_s * 8e-6,
                                calibration.rate_wanted_bytes_s * 8e-6));
  }
  if (std::abs(calibration.loss - calibration.loss_wanted) > calibration.loss_tolerance) {
    found.push_back(fmt::format("loss: {:.5f} instead of {:.5f} ± {:.5f} over {} packets", calibration.loss,
                                calibration.loss_wanted, calibration.loss_tolerance, calibration.loss_packets));
  }
  return found;
}

}  // namespace wan
