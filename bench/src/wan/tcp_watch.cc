// sock_diag(7): a dump of the established TCP sockets with their tcp_info.
#include "wan/tcp_watch.h"

#include <arpa/inet.h>
#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <linux/sock_diag.h>
#include <linux/tcp.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstring>
#include <utility>
#include <vector>

namespace wan {

namespace {

using haul::Status;
using haul::StatusCode;

constexpr uint32_t established = 1U << 1;  // TCP_ESTABLISHED
constexpr size_t answer_bytes = 32 << 10;

struct Question {
  nlmsghdr header{};
  inet_diag_req_v2 request{};
};

void add(const inet_diag_msg& message, size_t bytes, TcpState& state, uint64_t& widest) {
  auto* attribute = reinterpret_cast<const rtattr*>(&message + 1);
  auto left = static_cast<int>(bytes - sizeof(message));
  for (; RTA_OK(attribute, left); attribute = RTA_NEXT(attribute, left)) {
    if (attribute->rta_type != INET_DIAG_INFO) continue;
    tcp_info info{};
    std::memcpy(&info, RTA_DATA(attribute), std::min<size_t>(sizeof(info), RTA_PAYLOAD(attribute)));
    const uint64_t window = uint64_t{info.tcpi_snd_cwnd} * info.tcpi_snd_mss;
    ++state.connections;
    state.window_bytes += window;
    const uint64_t gone = uint64_t{info.tcpi_sacked} + info.tcpi_lost;
    const uint64_t sent = uint64_t{info.tcpi_unacked} + info.tcpi_retrans;
    state.in_flight_bytes += (sent > gone ? sent - gone : 0) * info.tcpi_snd_mss;
    if (info.tcpi_pacing_rate != ~uint64_t{0}) state.pacing_bytes_s += info.tcpi_pacing_rate;
    if (window > widest) {
      widest = window;
      state.rtt = std::chrono::microseconds(info.tcpi_rtt);
    }
  }
}

}  // namespace

haul::Result<TcpWatch> TcpWatch::make(const End& end, uint16_t rival_port) {
  haul::base::UniqueFd socket;
  const Status status = end.inside([&]() -> Status {
    socket.reset(::socket(AF_NETLINK, SOCK_DGRAM | SOCK_CLOEXEC, NETLINK_SOCK_DIAG));
    timeval limit{0, 200'000};
    if (!socket || ::setsockopt(socket.get(), SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit)) != 0) {
      return Status::from_errno(StatusCode::unsupported, errno, "cannot ask for TCP's state (NETLINK_SOCK_DIAG)");
    }
    return {};
  });
  if (!status.ok()) return status;
  return TcpWatch(std::move(socket), rival_port);
}

std::array<TcpState, 2> TcpWatch::ask() {
  std::array<TcpState, 2> states{};
  std::array<uint64_t, 2> widest{};
  Question question;
  question.header.nlmsg_len = sizeof(question);
  question.header.nlmsg_type = SOCK_DIAG_BY_FAMILY;
  question.header.nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP;
  question.request.sdiag_family = AF_INET;
  question.request.sdiag_protocol = IPPROTO_TCP;
  question.request.idiag_ext = 1 << (INET_DIAG_INFO - 1);
  question.request.idiag_states = established;
  if (::send(socket_.get(), &question, sizeof(question), 0) < 0) return states;
  std::vector<std::max_align_t> answer(answer_bytes / sizeof(std::max_align_t));
  for (;;) {
    const ssize_t got = ::recv(socket_.get(), answer.data(), answer_bytes, 0);
    if (got <= 0) return states;
    auto left = static_cast<uint32_t>(got);
    for (auto* header = reinterpret_cast<const nlmsghdr*>(answer.data()); NLMSG_OK(header, left);
         header = NLMSG_NEXT(header, left)) {
      if (header->nlmsg_type == NLMSG_DONE || header->nlmsg_type == NLMSG_ERROR) return states;
      const auto* message = static_cast<const inet_diag_msg*>(NLMSG_DATA(header));
      const size_t index = rival_port_ != 0 && ntohs(message->id.idiag_dport) == rival_port_ ? 1 : 0;
      add(*message, NLMSG_PAYLOAD(header, 0), states.at(index), widest.at(index));
    }
  }
}

}  // namespace wan
