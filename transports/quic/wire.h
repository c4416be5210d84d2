// What haul says within a QUIC connection; docs/wire-format.md, "QUIC", is the specification.
//
// Records follow each other on the connection's one stream. Payload comes in pieces, each the whole content of a DATAGRAM frame
// (RFC 9221), in any order and perhaps twice.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

#include "haul/status.h"

namespace haul::quic::wire {

inline constexpr uint16_t version = 1;

/// Names a lane that one side expects; random, so that only who was told can join.
using Token = std::array<std::byte, 16>;
/// Names a grant on the connection that it was made for. Random, and never used twice within what may still be under way: the
/// peer is authenticated, so this need not be a secret that nobody guesses.
using Key = uint32_t;

/// What the engines exchange so that one side can connect a further lane: where, and with which token.
struct LaneEndpoint {
  static constexpr size_t bytes = 18;
  Token token{};
  uint16_t port = 0;
};

void encode(const LaneEndpoint& endpoint, std::span<std::byte, LaneEndpoint::bytes> out) noexcept;
/// Errors: invalid.
Result<LaneEndpoint> decode_lane_endpoint(std::span<const std::byte> in);

enum class RecordType : uint8_t { hello = 1, write = 2, read = 3, read_data = 4, answers = 5, message = 6, cancel = 7 };
enum class HelloKind : uint8_t { bootstrap = 1, lane = 2 };

/// One layout for all: what a type does not use is left out. Every record begins with type, flags, code and length.
struct Record {
  static constexpr size_t head_bytes = 8;
  static constexpr size_t max_bytes = 44;  ///< without payload

  RecordType type = RecordType::message;
  bool has_crc = false;      ///< write, read_data: `crc` is there; read: it is asked for
  bool has_payload = false;  ///< write, read_data: `length` bytes follow here, and do not come in pieces
  uint16_t code = 0;         ///< answers: a StatusCode; hello: a HelloKind; cancel: 1 of a read, else 0
  uint32_t length = 0;       ///< of the payload or of what is to be read; answers: how many operations
  Key key = 0;               ///< write, read
  uint64_t offset = 0;       ///< write, read: from the start of the granted range
  uint64_t tag = 0;          ///< write
  uint64_t sequence = 0;     ///< write, read, read_data, cancel: the operation's; answers: of the first
  uint32_t crc = 0;          ///< write, read_data

  // hello
  uint16_t version = wire::version;
  Token token{};                   ///< of the lane; zero for a bootstrap
  uint32_t max_payload_bytes = 0;  ///< of one operation that the sender of the hello accepts
  uint32_t max_message_bytes = 0;
  uint32_t credits = 0;  ///< unanswered operations that it accepts

  /// Bytes that follow the record's own fields.
  uint32_t payload_bytes() const noexcept { return has_payload || type == RecordType::message ? length : 0; }
};

/// Bytes of the record without its payload.
size_t record_bytes(RecordType type) noexcept;
/// `out` has record_bytes(record.type).
void encode(const Record& record, std::span<std::byte> out) noexcept;
/// How many bytes the record has whose first head_bytes these are, payload excluded. Errors: protocol (no such type).
Result<size_t> record_bytes(std::span<const std::byte, Record::head_bytes> head);
/// `in` has as many. Errors: protocol.
Result<Record> decode_record(std::span<const std::byte> in);

/// Payload of an operation of its sender's (a write) or of its receiver's (what a read asked for).
struct Piece {
  static constexpr size_t write_bytes = 14;
  static constexpr size_t read_bytes = 8;
  static constexpr uint64_t max_offset = uint64_t{1} << 48;
  static constexpr uint64_t sequence_mask = (1U << 24) - 1;

  bool write = true;
  uint32_t sequence = 0;  ///< of the operation, the lowest 24 bits
  Key key = 0;            ///< write
  uint64_t offset = 0;    ///< write: from the start of the granted range; read: of what was read
  std::span<const std::byte> payload;

  static constexpr size_t header_bytes(bool write) noexcept { return write ? write_bytes : read_bytes; }
};

/// The header only; `out` has header_bytes(piece.write).
void encode(const Piece& piece, std::span<std::byte> out) noexcept;
/// Views into `in`. Errors: protocol.
Result<Piece> decode_piece(std::span<const std::byte> in);
/// The number that is nearest to `near` of those that end so.
uint64_t whole_sequence(uint32_t low_bits, uint64_t near) noexcept;

}  // namespace haul::quic::wire
