// Frames as the kernel would hand them over, made by hand.
#pragma once

#include <arpa/inet.h>
#include <netinet/ip.h>
#include <netinet/tcp.h>
#include <netinet/udp.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <span>
#include <vector>

#include "wan/packet.h"
#include "wan/virtio.h"

namespace wan_test {

struct TcpFrame {
  uint32_t payload = 0;
  uint16_t segment = 0;  ///< 0: no segmentation
  uint32_t sequence = 1000;
  uint8_t flags = TH_ACK;
  uint8_t gso_type = wan::virtio_gso_tcp4;
};

constexpr size_t tcp_headers = sizeof(iphdr) + sizeof(tcphdr);

/// What fills packets, so that it shows where a piece of it came from.
inline std::byte payload_at(uint32_t i) { return static_cast<std::byte>(i * 7 + i / 251); }

inline iphdr ip_header(uint8_t protocol, size_t total_bytes) {
  iphdr ip{};
  ip.version = 4;
  ip.ihl = sizeof(iphdr) / 4;
  ip.protocol = protocol;
  ip.id = htons(77);
  ip.tot_len = htons(static_cast<uint16_t>(total_bytes));
  ip.saddr = htonl(0x0ac80001);
  ip.daddr = htonl(0x0ac80002);
  return ip;
}

/// `transport` behind the headers that the kernel puts before it, and payload. The segments are `asked`'s.
template <typename Frame, typename Header>
std::vector<std::byte> frame_with(const Frame& asked, const Header& transport, uint8_t protocol, size_t checksum_at,
                                  uint8_t gso_type) {
  constexpr size_t headers = sizeof(iphdr) + sizeof(Header);
  std::vector<std::byte> frame(sizeof(wan::VirtioHeader) + headers + asked.payload);
  wan::VirtioHeader header{};
  header.flags = wan::virtio_needs_csum;
  header.csum_start = sizeof(iphdr);
  header.csum_offset = static_cast<uint16_t>(checksum_at);
  if (asked.segment > 0) {
    header.gso_type = gso_type;
    header.gso_size = asked.segment;
    header.header_bytes = headers;
  }
  std::memcpy(frame.data(), &header, sizeof(header));
  const iphdr ip = ip_header(protocol, headers + asked.payload);
  std::memcpy(frame.data() + sizeof(header), &ip, sizeof(ip));
  std::memcpy(frame.data() + sizeof(header) + sizeof(ip), &transport, sizeof(transport));
  for (uint32_t i = 0; i < asked.payload; ++i) frame[sizeof(header) + headers + i] = payload_at(i);
  return frame;
}

inline std::vector<std::byte> frame_of(const TcpFrame& asked) {
  tcphdr tcp{};
  tcp.th_sport = htons(40000);
  tcp.th_dport = htons(7000);
  tcp.th_seq = htonl(asked.sequence);
  tcp.th_off = sizeof(tcphdr) / 4;
  tcp.th_flags = asked.flags;
  return frame_with(asked, tcp, IPPROTO_TCP, offsetof(tcphdr, th_sum), asked.gso_type);
}

struct UdpFrame {
  uint32_t payload = 0;
  uint16_t segment = 0;  ///< 0: no segmentation
};

constexpr size_t udp_headers = sizeof(iphdr) + sizeof(udphdr);

inline std::vector<std::byte> frame_of(const UdpFrame& asked) {
  udphdr udp{};
  udp.uh_sport = htons(40000);
  udp.uh_dport = htons(7000);
  udp.uh_ulen = htons(static_cast<uint16_t>(sizeof(udphdr) + asked.payload));
  return frame_with(asked, udp, IPPROTO_UDP, offsetof(udphdr, uh_sum), wan::virtio_gso_udp);
}

inline std::shared_ptr<const wan::Packet> packet_of(const TcpFrame& asked) { return wan::Packet::parse(frame_of(asked)); }

/// One plain packet of so many bytes on the wire.
inline std::shared_ptr<const wan::Packet> plain(uint32_t wire_bytes) {
  return packet_of({wire_bytes - static_cast<uint32_t>(tcp_headers)});
}

}  // namespace wan_test
