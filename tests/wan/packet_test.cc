// Super-packets and what is cut out of them: sizes, sequence numbers, flags, checksums, and that no payload is lost.
#include "wan/packet.h"

#include <catch2/catch.hpp>

#include "wan/frames.h"

using wan::Packet;
using namespace wan_test;

namespace {

struct Cut {
  wan::VirtioHeader header{};
  iphdr ip{};
  tcphdr tcp{};
  std::vector<std::byte> payload;
};

Cut cut(const Packet& packet, uint32_t first, uint32_t count) {
  std::vector<std::byte> out(wan::max_frame_bytes);
  out.resize(packet.cut(first, count, out));
  Cut result;
  std::memcpy(&result.header, out.data(), sizeof(wan::VirtioHeader));
  std::memcpy(&result.ip, out.data() + sizeof(wan::VirtioHeader), sizeof(iphdr));
  std::memcpy(&result.tcp, out.data() + sizeof(wan::VirtioHeader) + sizeof(iphdr), sizeof(tcphdr));
  result.payload.assign(out.begin() + sizeof(wan::VirtioHeader) + tcp_headers, out.end());
  return result;
}

/// Sum of 16-bit words in ones' complement: 0xffff over a header with a right checksum.
uint32_t ones_sum(const void* from, size_t bytes, uint32_t sum = 0) {
  const auto* at = static_cast<const unsigned char*>(from);
  for (size_t i = 0; i < bytes; i += 2) sum += static_cast<uint32_t>(at[i] << 8 | at[i + 1]);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >> 16);
  return sum;
}

}  // namespace

TEST_CASE("a plain packet is one segment and leaves as it came") {
  const auto frame = frame_of(TcpFrame{100});
  const auto packet = Packet::parse(frame);
  REQUIRE(packet);
  CHECK(packet->segments() == 1);
  CHECK(packet->wire_bytes(0) == tcp_headers + 100);
  CHECK(packet->payload_bytes(0) == 100);
  CHECK(packet->destination_port() == 7000);
  std::vector<std::byte> out(wan::max_frame_bytes);
  out.resize(packet->cut(0, 1, out));
  CHECK(out == frame);
}

TEST_CASE("a super-packet is as many packets as the wire would carry") {
  const auto packet = packet_of({10 * 1448 + 5, 1448});
  CHECK(packet->segments() == 11);
  CHECK(packet->wire_bytes(0) == tcp_headers + 1448);
  CHECK(packet->wire_bytes(9) == tcp_headers + 1448);
  CHECK(packet->wire_bytes(10) == tcp_headers + 5);
  CHECK(packet_of({10 * 1448, 1448})->segments() == 10);
  CHECK(packet_of({1448, 1448})->segments() == 1);
  CHECK(packet_of({0})->segments() == 1);
}

TEST_CASE("segments that are cut out carry all of the payload, each with its own headers") {
  constexpr uint32_t size = 5 * 1448 + 300;
  const auto packet = packet_of({size, 1448, 0xfffffff0, TH_ACK | TH_PUSH | TH_FIN | 0x80});
  const auto original = frame_of(TcpFrame{size});
  std::vector<std::byte> collected;
  for (const auto& [first, count] : std::vector<std::pair<uint32_t, uint32_t>>{{0, 1}, {1, 3}, {4, 2}}) {
    const Cut piece = cut(*packet, first, count);
    CAPTURE(first, count);
    CHECK(ntohl(piece.tcp.th_seq) == 0xfffffff0U + first * 1448);
    CHECK(ntohs(piece.ip.tot_len) == tcp_headers + piece.payload.size());
    CHECK(ntohs(piece.ip.id) == 77 + first);
    CHECK(ones_sum(&piece.ip, sizeof(iphdr)) == 0xffff);
    // The kernel adds the payload's sum to that of the pseudo header, which it finds in the checksum's place.
    const uint32_t pseudo = ones_sum(&piece.ip.saddr, 8, static_cast<uint32_t>(6 + sizeof(tcphdr) + piece.payload.size()));
    CHECK(ntohs(piece.tcp.th_sum) == pseudo);
    CHECK(bool(piece.tcp.th_flags & TH_FIN) == (first == 4));
    CHECK(bool(piece.tcp.th_flags & TH_PUSH) == (first == 4));
    CHECK(bool(piece.tcp.th_flags & 0x80) == (first == 0));
    CHECK(piece.header.flags == wan::virtio_needs_csum);
    CHECK(piece.header.csum_start == sizeof(iphdr));
    CHECK(piece.header.gso_size == (count > 1 ? 1448 : 0));
    CHECK(piece.header.gso_type == (count > 1 ? wan::virtio_gso_tcp4 : wan::virtio_gso_none));
    collected.insert(collected.end(), piece.payload.begin(), piece.payload.end());
  }
  CHECK(std::equal(collected.begin(), collected.end(), original.begin() + sizeof(wan::VirtioHeader) + tcp_headers,
                   original.end()));
}

TEST_CASE("datagrams that the kernel hands over together are packets of their own") {
  constexpr uint32_t size = 5 * 1452 + 300;
  const auto frame = frame_of(UdpFrame{size, 1452});
  const auto packet = Packet::parse(frame);
  REQUIRE(packet);
  CHECK(packet->segments() == 6);
  CHECK(packet->wire_bytes(0) == udp_headers + 1452);
  CHECK(packet->wire_bytes(5) == udp_headers + 300);
  CHECK(packet->destination_port() == 7000);
  std::vector<std::byte> collected;
  for (const auto& [first, count] : std::vector<std::pair<uint32_t, uint32_t>>{{0, 1}, {1, 3}, {4, 2}}) {
    CAPTURE(first, count);
    std::vector<std::byte> out(wan::max_frame_bytes);
    out.resize(packet->cut(first, count, out));
    wan::VirtioHeader header{};
    iphdr ip{};
    udphdr udp{};
    const size_t content_at = sizeof(header) + udp_headers;
    REQUIRE(out.size() > content_at);
    std::memcpy(&header, out.data(), sizeof(header));
    std::memcpy(&ip, out.data() + sizeof(header), sizeof(ip));
    std::memcpy(&udp, out.data() + sizeof(header) + sizeof(ip), sizeof(udp));
    CHECK(ntohs(ip.tot_len) == out.size() - sizeof(header));
    CHECK(ntohs(ip.id) == 77 + first);
    CHECK(ones_sum(&ip, sizeof(ip)) == 0xffff);
    CHECK(ntohs(udp.uh_ulen) == out.size() - sizeof(header) - sizeof(ip));
    CHECK(ntohs(udp.uh_sum) == ones_sum(&ip.saddr, 8, uint32_t{IPPROTO_UDP} + ntohs(udp.uh_ulen)));
    CHECK(header.flags == wan::virtio_needs_csum);
    CHECK(header.csum_start == sizeof(iphdr));
    CHECK(header.csum_offset == offsetof(udphdr, uh_sum));
    CHECK(header.gso_size == (count > 1 ? 1452 : 0));
    CHECK(header.gso_type == (count > 1 ? wan::virtio_gso_udp : wan::virtio_gso_none));
    collected.insert(collected.end(), out.begin() + static_cast<ptrdiff_t>(content_at), out.end());
  }
  CHECK(std::equal(collected.begin(), collected.end(), frame.begin() + sizeof(wan::VirtioHeader) + udp_headers, frame.end()));
  // The whole leaves as it came.
  std::vector<std::byte> out(wan::max_frame_bytes);
  out.resize(packet->cut(0, 6, out));
  CHECK(out == frame);
}

TEST_CASE("what is neither TCP nor UDP over IPv4 passes whole") {
  CHECK(Packet::parse({}) == nullptr);
  CHECK(Packet::parse(std::vector<std::byte>(sizeof(wan::VirtioHeader))) == nullptr);
  CHECK(Packet::parse(std::vector<std::byte>(wan::max_frame_bytes + 1)) == nullptr);

  auto frame = frame_of(TcpFrame{3000, 1000});
  frame[sizeof(wan::VirtioHeader)] = std::byte{0x65};  // the version
  const auto ipv6 = Packet::parse(frame);
  REQUIRE(ipv6);
  CHECK(ipv6->segments() == 1);
  CHECK(ipv6->wire_bytes(0) == frame.size() - sizeof(wan::VirtioHeader));
  CHECK(ipv6->destination_port() == 0);

  frame = frame_of(TcpFrame{3000});
  frame[sizeof(wan::VirtioHeader) + offsetof(iphdr, protocol)] = std::byte{IPPROTO_UDP};
  const auto udp = Packet::parse(frame);
  CHECK(udp->segments() == 1);
  CHECK(udp->payload_bytes(0) == 3000 + sizeof(tcphdr) - sizeof(udphdr));
  CHECK(udp->destination_port() == 7000);
}

TEST_CASE("a header that claims more than there is makes one opaque packet") {
  auto frame = frame_of(TcpFrame{20, 10});
  frame[sizeof(wan::VirtioHeader) + sizeof(iphdr) + 12] = std::byte{0xf0};  // 60 bytes of TCP header, 40 are there
  const auto packet = Packet::parse(frame);
  REQUIRE(packet);
  CHECK(packet->segments() == 1);
  CHECK(packet->wire_bytes(0) == frame.size() - sizeof(wan::VirtioHeader));
}
