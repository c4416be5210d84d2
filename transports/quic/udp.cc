// UDP sockets with segmentation offload both ways (UDP_SEGMENT, UDP_GRO).
#include "quic/udp.h"

#include <fmt/format.h>
#include <linux/udp.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <ctime>
#include <vector>

namespace haul::quic {

namespace {

constexpr size_t receive_bytes = 65536;
constexpr size_t control_bytes = 128;
constexpr int most_empty = 64;

template <typename T>
bool set_option(int fd, int level, int name, const T& value) noexcept {
  return setsockopt(fd, level, name, &value, sizeof(value)) == 0;
}

template <typename T>
void put_control(msghdr& message, int level, int type, T value) noexcept {
  auto* at = reinterpret_cast<cmsghdr*>(static_cast<std::byte*>(message.msg_control) + message.msg_controllen);
  at->cmsg_level = level;
  at->cmsg_type = type;
  at->cmsg_len = CMSG_LEN(sizeof(T));
  std::memcpy(CMSG_DATA(at), &value, sizeof(T));
  message.msg_controllen += CMSG_SPACE(sizeof(T));
}

class UdpSocket final : public DatagramSocket {
 public:
  UdpSocket(base::UniqueFd fd, const net::Endpoint& local) : fd_(std::move(fd)), local_(local), buffer_(receive_bytes) {}

  Burst receive() override {
    alignas(cmsghdr) std::array<std::byte, control_bytes> control{};
    Burst burst;
    iovec range{buffer_.data(), buffer_.size()};
    msghdr message{};
    message.msg_name = &burst.remote.storage;
    message.msg_iov = &range;
    message.msg_iovlen = 1;
    message.msg_control = control.data();
    // Empty datagrams say nothing, and do not mean that nothing else is there.
    ssize_t received = 0;
    for (int i = 0; i < most_empty && received == 0; ++i) {
      message.msg_namelen = sizeof(burst.remote.storage);
      message.msg_controllen = control.size();
      received = recvmsg(fd_.get(), &message, MSG_DONTWAIT);
    }
    if (received <= 0) {
      seen_empty_ = system_clock().now();
      return {};
    }
    burst.remote.bytes = message.msg_namelen;
    burst.bytes = std::span<const std::byte>(buffer_).first(static_cast<size_t>(received));
    burst.datagram_bytes = static_cast<size_t>(received);
    for (cmsghdr* at = CMSG_FIRSTHDR(&message); at != nullptr; at = CMSG_NXTHDR(&message, at)) {
      if (at->cmsg_level == SOL_SOCKET && at->cmsg_type == SCM_TIMESTAMPNS) burst.came = came(*at);
      int value = 0;
      std::memcpy(&value, CMSG_DATA(at), at->cmsg_len == CMSG_LEN(1) ? 1 : sizeof(value));
      if (at->cmsg_level == IPPROTO_UDP && at->cmsg_type == UDP_GRO && value > 0)
        burst.datagram_bytes = static_cast<size_t>(value);
      const bool v4 = at->cmsg_level == IPPROTO_IP && at->cmsg_type == IP_TOS;
      const bool v6 = at->cmsg_level == IPPROTO_IPV6 && at->cmsg_type == IPV6_TCLASS;
      constexpr int ecn_bits = 3;
      if (v4 || v6) burst.ecn = static_cast<uint8_t>(value & ecn_bits);
    }
    return burst;
  }

  bool send(const Burst& burst) override {
    if (done_ == 0 && segments_ && burst.datagram_bytes < burst.bytes.size()) {
      const Outcome outcome = put(burst, burst.bytes);
      if (outcome != Outcome::impossible) return outcome == Outcome::over;
    }
    while (done_ < burst.bytes.size()) {
      const auto one = burst.bytes.subspan(done_, std::min(burst.datagram_bytes, burst.bytes.size() - done_));
      if (put(burst, one) == Outcome::full) return false;
      done_ += one.size();
    }
    done_ = 0;
    return true;
  }

  TimePoint time(TimePoint now) const noexcept override { return std::max(now, system_clock().now()); }
  const net::Endpoint& local() const noexcept override { return local_; }
  int fd() const noexcept override { return fd_.get(); }

 private:
  enum class Outcome : uint8_t { over, full, impossible };

  /// The kernel notes it by a clock that may be set at any time: such a jump counts for no more than what passed since nothing
  /// was there.
  TimePoint came(const cmsghdr& control) const noexcept {
    timespec stamp{};
    std::memcpy(&stamp, CMSG_DATA(&control), sizeof(stamp));
    timespec real{};
    clock_gettime(CLOCK_REALTIME, &real);
    // In this order, so that an interruption in between does not take it for earlier than it was.
    const TimePoint now = system_clock().now();
    const Duration waited = std::chrono::seconds(real.tv_sec - stamp.tv_sec) + Duration(real.tv_nsec - stamp.tv_nsec);
    return std::clamp(now - waited, std::min(seen_empty_, now), now);
  }

  Outcome put(const Burst& burst, std::span<const std::byte> content) {
    alignas(cmsghdr) std::array<std::byte, control_bytes> control{};
    auto* bytes = const_cast<std::byte*>(content.data());  // NOLINT(cppcoreguidelines-pro-type-const-cast): only read
    iovec range{bytes, content.size()};
    msghdr message{};
    message.msg_name = const_cast<sockaddr_storage*>(&burst.remote.storage);  // NOLINT: only read
    message.msg_namelen = burst.remote.bytes;
    message.msg_iov = &range;
    message.msg_iovlen = 1;
    message.msg_control = control.data();
    const bool v6 = burst.remote.family() == AF_INET6;
    if (v6) {
      put_control(message, IPPROTO_IPV6, IPV6_TCLASS, static_cast<int>(burst.ecn));
    } else {
      put_control(message, IPPROTO_IP, IP_TOS, static_cast<int>(burst.ecn));
    }
    const bool several = burst.datagram_bytes < content.size();
    if (several) {
      put_control(message, IPPROTO_UDP, UDP_SEGMENT, static_cast<uint16_t>(burst.datagram_bytes));
    }
    for (;;) {
      if (sendmsg(fd_.get(), &message, MSG_DONTWAIT | MSG_NOSIGNAL) >= 0) return Outcome::over;
      // Not ENOBUFS: then a queue behind the socket is full, and the socket stays writable.
      if (errno == EAGAIN || errno == EWOULDBLOCK) return Outcome::full;
      // An error that an earlier datagram met (ICMP) is told by the next call, once.
      const bool of_another = errno == EINTR || errno == ECONNREFUSED;
      if (!of_another) break;
    }
    // Nobody computes check sums for segments (EIO, which lasts), or they are longer than the path carries.
    if (errno == EIO) segments_ = false;
    const bool unsegmentable = errno == EIO || errno == EMSGSIZE || errno == EINVAL;
    return several && unsegmentable ? Outcome::impossible : Outcome::over;
  }

  base::UniqueFd fd_;
  net::Endpoint local_;
  std::vector<std::byte> buffer_;
  TimePoint seen_empty_ = system_clock().now();
  bool segments_ = true;  // by the kernel
  size_t done_ = 0;       // of a burst whose datagrams go one by one, and that did not fit
};

void size_buffer(int fd, int name, int forced_name, uint32_t bytes) noexcept {
  const int wanted = static_cast<int>(bytes);
  if (!set_option(fd, SOL_SOCKET, forced_name, wanted)) set_option(fd, SOL_SOCKET, name, wanted);
}

}  // namespace

Result<std::unique_ptr<DatagramSocket>> open_udp(const net::Endpoint& local, bool both_families, uint32_t buffer_bytes) {
  const auto failed = [&](int error) {
    const StatusCode code = net::code_of(error);
    return Status::from_errno(code, error, fmt::format("cannot use UDP at {}{}", local.to_string(), net::remedy(error)));
  };
  base::UniqueFd fd(socket(local.family(), SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!fd) return failed(errno);
  if (local.family() == AF_INET6) {
    set_option(fd.get(), IPPROTO_IPV6, IPV6_V6ONLY, both_families ? 0 : 1);
    set_option(fd.get(), IPPROTO_IPV6, IPV6_RECVTCLASS, 1);
    set_option(fd.get(), IPPROTO_IPV6, IPV6_MTU_DISCOVER, IPV6_PMTUDISC_PROBE);
  }
  if (local.family() == AF_INET || both_families) {
    set_option(fd.get(), IPPROTO_IP, IP_RECVTOS, 1);
    set_option(fd.get(), IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_PROBE);
  }
  set_option(fd.get(), IPPROTO_UDP, UDP_GRO, 1);
  set_option(fd.get(), SOL_SOCKET, SO_TIMESTAMPNS, 1);
  size_buffer(fd.get(), SO_RCVBUF, SO_RCVBUFFORCE, buffer_bytes);
  size_buffer(fd.get(), SO_SNDBUF, SO_SNDBUFFORCE, buffer_bytes);
  if (bind(fd.get(), reinterpret_cast<const sockaddr*>(&local.storage), local.bytes) != 0) return failed(errno);
  const net::Endpoint bound = net::local_endpoint(fd.get());
  return std::unique_ptr<DatagramSocket>(std::make_unique<UdpSocket>(std::move(fd), bound));
}

}  // namespace haul::quic
