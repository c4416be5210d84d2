// Packets as a TUN device with a virtio header hands them over: up to 64 KiB that stand for many packets on the wire.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

namespace wan {

/// The largest frame that a TUN device gives or takes: an IP packet of 64 KiB behind a VirtioHeader.
constexpr size_t max_frame_bytes = 65536 + 16;

/// One frame with its VirtioHeader. With TSO the kernel gives several segments of TCP in one frame, with USO several datagrams
/// of UDP; on a real link each is a packet, and each is queued, lost and delayed by itself. So a frame knows its segments, and
/// any run of neighbours can be cut out as a frame of its own, with the headers that a network card would have given them.
/// Immutable, so it may be shared by the segments that are under way.
class Packet {
 public:
  /// Copies the frame. Null: too short to be a frame. What is no IPv4 is one segment of which only the size is known.
  static std::shared_ptr<const Packet> parse(std::span<const std::byte> frame);

  uint32_t segments() const noexcept { return segments_; }
  /// The size of one segment as a packet on the wire, from its IP header on (there is no other header on a TUN device).
  uint32_t wire_bytes(uint32_t segment) const noexcept { return header_bytes_ + payload_bytes(segment); }
  /// Without the headers of IP and of TCP or UDP.
  uint32_t payload_bytes(uint32_t segment) const noexcept;
  uint8_t protocol() const noexcept { return protocol_; }                   ///< of IP; 0: unknown
  uint16_t destination_port() const noexcept { return destination_port_; }  ///< 0: neither TCP nor UDP

  /// Writes a frame with segments first … first + count - 1 to `out`, which has room for max_frame_bytes. Returns its size.
  size_t cut(uint32_t first, uint32_t count, std::span<std::byte> out) const;

 private:
  Packet() = default;
  bool inspect();
  void number_tcp(std::byte* tcp, uint32_t first, uint32_t count) const;

  std::vector<std::byte> frame_;
  uint32_t segments_ = 1;
  uint32_t segment_bytes_ = 0;  // payload of all segments but the last
  uint32_t ip_header_bytes_ = 0;
  uint32_t header_bytes_ = 0;  // of IP and of TCP or UDP
  uint16_t destination_port_ = 0;
  uint8_t protocol_ = 0;
};

}  // namespace wan
