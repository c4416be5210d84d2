// The headers of IPv4 (RFC 791), TCP (RFC 9293) and UDP (RFC 768) in a frame, and what segmentation changes in them.
#include "wan/packet.h"

#include <algorithm>
#include <cstring>

#include "base/check.h"
#include "wan/virtio.h"

namespace wan {

namespace {

constexpr size_t virtio_bytes = sizeof(VirtioHeader);
constexpr uint32_t udp_header_bytes = 8;
constexpr uint8_t protocol_tcp = 6;
constexpr uint8_t protocol_udp = 17;

// Offsets into the IPv4 header.
constexpr size_t ip_length_at = 2;
constexpr size_t ip_id_at = 4;
constexpr size_t ip_protocol_at = 9;
constexpr size_t ip_checksum_at = 10;
constexpr size_t ip_source_at = 12;
constexpr size_t ip_end = 20;
// Offsets into the TCP header.
constexpr size_t tcp_sequence_at = 4;
constexpr size_t tcp_offset_at = 12;
constexpr size_t tcp_flags_at = 13;
constexpr size_t tcp_checksum_at = 16;
constexpr size_t tcp_end = 20;
constexpr std::byte tcp_fin_and_push{0x09};
constexpr std::byte tcp_cwr{0x80};
// Offsets into the UDP header.
constexpr size_t udp_length_at = 4;
constexpr size_t udp_checksum_at = 6;

uint16_t load16(const std::byte* at) {
  return static_cast<uint16_t>(std::to_integer<unsigned>(at[0]) << 8 | std::to_integer<unsigned>(at[1]));
}
uint32_t load32(const std::byte* at) { return uint32_t{load16(at)} << 16 | load16(at + 2); }
void store16(std::byte* at, uint32_t value) {
  at[0] = static_cast<std::byte>(value >> 8 & 0xff);
  at[1] = static_cast<std::byte>(value & 0xff);
}
void store32(std::byte* at, uint32_t value) {
  store16(at, value >> 16);
  store16(at + 2, value);
}

/// The ones' complement sum of RFC 1071, not complemented.
uint32_t folded_sum(const std::byte* from, size_t bytes, uint32_t sum) {
  for (size_t i = 0; i + 1 < bytes; i += 2) sum += load16(from + i);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >> 16);
  return sum;
}

}  // namespace

std::shared_ptr<const Packet> Packet::parse(std::span<const std::byte> frame) {
  if (frame.size() <= virtio_bytes || frame.size() > max_frame_bytes) return nullptr;
  const std::shared_ptr<Packet> packet(new Packet());
  packet->frame_.assign(frame.begin(), frame.end());
  if (!packet->inspect()) {
    packet->segments_ = 1;
    packet->header_bytes_ = 0;
    packet->segment_bytes_ = static_cast<uint32_t>(frame.size() - virtio_bytes);
  }
  return packet;
}

/// False: nothing that could be cut.
bool Packet::inspect() {
  const std::byte* ip = frame_.data() + virtio_bytes;
  const size_t size = frame_.size() - virtio_bytes;
  if (size < ip_end || std::to_integer<unsigned>(ip[0]) >> 4 != 4) return false;
  ip_header_bytes_ = (std::to_integer<uint32_t>(ip[0]) & 0x0f) * 4;
  if (ip_header_bytes_ < ip_end || size < ip_header_bytes_ + tcp_end) return false;
  const std::byte* transport = ip + ip_header_bytes_;
  protocol_ = std::to_integer<uint8_t>(ip[ip_protocol_at]);
  if (protocol_ == protocol_tcp) {
    header_bytes_ = ip_header_bytes_ + (std::to_integer<uint32_t>(transport[tcp_offset_at]) >> 4) * 4;
  } else if (protocol_ == protocol_udp) {
    header_bytes_ = ip_header_bytes_ + udp_header_bytes;
  } else {
    return false;
  }
  if (header_bytes_ > size) return false;
  destination_port_ = load16(transport + 2);

  VirtioHeader header{};
  std::memcpy(&header, frame_.data(), virtio_bytes);
  const auto payload = static_cast<uint32_t>(size - header_bytes_);
  const bool tcp = (header.gso_type & ~virtio_gso_ecn) == virtio_gso_tcp4 && protocol_ == protocol_tcp;
  const bool cuts = tcp || (header.gso_type == virtio_gso_udp && protocol_ == protocol_udp);
  segment_bytes_ = cuts && header.gso_size > 0 ? header.gso_size : payload;
  segments_ = segment_bytes_ > 0 ? std::max((payload + segment_bytes_ - 1) / segment_bytes_, 1U) : 1;
  return true;
}

uint32_t Packet::payload_bytes(uint32_t segment) const noexcept {
  if (segment + 1 < segments_) return segment_bytes_;
  return static_cast<uint32_t>(frame_.size() - virtio_bytes) - header_bytes_ - segment * segment_bytes_;
}

void Packet::number_tcp(std::byte* tcp, uint32_t first, uint32_t count) const {
  store32(tcp + tcp_sequence_at, load32(tcp + tcp_sequence_at) + first * segment_bytes_);
  // What belongs to the end of the data goes with the last segment, the answer to a congestion mark with the first.
  if (first + count < segments_) tcp[tcp_flags_at] &= ~tcp_fin_and_push;
  if (first > 0) tcp[tcp_flags_at] &= ~tcp_cwr;
}

size_t Packet::cut(uint32_t first, uint32_t count, std::span<std::byte> out) const {
  haul::base::check(count > 0 && first + count <= segments_ && out.size() >= frame_.size(), "a run within the packet");
  if (count == segments_) {
    std::memcpy(out.data(), frame_.data(), frame_.size());
    return frame_.size();
  }
  const uint32_t payload = (count - 1) * segment_bytes_ + payload_bytes(first + count - 1);
  std::byte* ip = out.data() + virtio_bytes;
  std::byte* transport = ip + ip_header_bytes_;
  const std::byte* source = frame_.data() + virtio_bytes;
  std::memcpy(ip, source, header_bytes_);
  std::memcpy(ip + header_bytes_, source + header_bytes_ + size_t{first} * segment_bytes_, payload);

  store16(ip + ip_length_at, header_bytes_ + payload);
  store16(ip + ip_id_at, load16(source + ip_id_at) + first);
  store16(ip + ip_checksum_at, 0);
  store16(ip + ip_checksum_at, ~folded_sum(ip, ip_header_bytes_, 0));
  const bool is_tcp = protocol_ == protocol_tcp;
  const uint32_t transport_bytes = header_bytes_ - ip_header_bytes_ + payload;
  if (is_tcp) {
    number_tcp(transport, first, count);
  } else {
    store16(transport + udp_length_at, transport_bytes);
  }
  // The checksum over payload is left to the kernel, as it was in the frame; it wants the pseudo header's sum there.
  const size_t checksum_at = is_tcp ? tcp_checksum_at : udp_checksum_at;
  store16(transport + checksum_at, folded_sum(ip + ip_source_at, 8, protocol_ + transport_bytes));

  VirtioHeader header{};
  std::memcpy(&header, frame_.data(), virtio_bytes);
  header.flags = virtio_needs_csum;
  header.header_bytes = static_cast<uint16_t>(header_bytes_);
  header.csum_start = static_cast<uint16_t>(ip_header_bytes_);
  header.csum_offset = static_cast<uint16_t>(checksum_at);
  if (count == 1) {
    header.gso_type = virtio_gso_none;
    header.gso_size = 0;
  } else if (first > 0) {
    header.gso_type &= static_cast<uint8_t>(~virtio_gso_ecn);
  }
  std::memcpy(out.data(), &header, virtio_bytes);
  return virtio_bytes + header_bytes_ + payload;
}

}  // namespace wan
