// What travels over simulated links: packets, each with at most one frame of the connection's protocol.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "haul/status.h"
#include "haul/time.h"
#include "haul/transport.h"

namespace haul::sim {

using NodeIndex = uint32_t;

/// A connection's secret, and a grant's key. Opaque.
using Token = std::array<std::byte, 16>;

enum class PacketKind : uint8_t {
  open,        ///< asks for a connection: to a listening port, or to an opened end that proves itself by token
  open_reply,  ///< the connection is there
  reset,       ///< there is no such connection (any more)
  data,        ///< one frame, acknowledged and sent again until it is
  ack,
};

enum class FrameKind : uint8_t {
  nothing,       ///< takes a sequence number only: its content became obsolete, or it asks for a sign of life
  message,       ///< a piece of message `number`
  write,         ///< a piece of write `number`
  read_request,  ///< asks for the granted bytes
  read_data,     ///< a piece of what read `number` asked for
  result,        ///< the end of operation `number`, as its receiver tells it
  cancel,        ///< asks the receiver to drop operation `number`
  finish,        ///< nothing follows; the connection closes cleanly
};

/// A unit that arrives exactly once, in any order. Bytes are looked up when it is sent, so that it never owns memory.
struct Frame {
  FrameKind kind = FrameKind::nothing;
  uint64_t number = 0;         ///< of the operation or message, counted by its sender
  uint32_t offset = 0;         ///< of this piece
  uint32_t length = 0;         ///< of this piece
  uint32_t total = 0;          ///< of the operation or message
  Token key{};                 ///< of the grant that a write or read uses
  uint64_t remote_offset = 0;  ///< of the operation in the granted range
  uint64_t tag = 0;
  std::optional<uint32_t> crc32c;  ///< read_request: any value asks for one
  bool read = false;               ///< cancel: of a read, else of a write
  StatusCode code = StatusCode::ok;
  std::string text;
};

/// What has arrived: all below `all_below`, and the ranges [first, second).
struct Ack {
  uint64_t all_below = 0;
  std::vector<std::pair<uint64_t, uint64_t>> ranges;
  uint64_t newest_transmission = 0;  ///< the newest packet seen: older ones still missing are taken for lost
  TimePoint newest_sent_at{};
};

struct Packet {
  static constexpr uint32_t header_bytes = 64;

  PacketKind kind = PacketKind::data;
  NodeIndex from = 0;
  NodeIndex to = 0;
  ConnectionId source = 0;
  ConnectionId destination = 0;  ///< 0: whoever listens on `port`
  uint16_t port = 0;
  Token token{};
  uint64_t sequence = 0;      ///< of the frame; stays when it is sent again
  uint64_t transmission = 0;  ///< of the packet; never the same
  TimePoint sent_at{};
  Frame frame;
  Ack ack;
  std::vector<std::byte> payload;

  uint32_t wire_bytes() const noexcept {
    return header_bytes + static_cast<uint32_t>(payload.size() + frame.text.size() + 16 * ack.ranges.size());
  }
};

}  // namespace haul::sim
