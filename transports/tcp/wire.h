// The framing that haul's TCP connections speak; docs/wire-format.md, "TCP framing", is the specification.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

#include "haul/status.h"

namespace haul::tcp::wire {

inline constexpr uint16_t version = 1;
inline constexpr size_t preface_bytes = 64;
inline constexpr size_t header_bytes = 64;
inline constexpr uint32_t max_bundle_bytes = 64U << 10;

/// Names a lane that one side expects; random, so that only who was told can join.
using Token = std::array<std::byte, 16>;
/// Names a grant on the connection that it was made for: a slot, its generation, and random bits.
using Key = std::array<std::byte, 16>;

enum class PrefaceKind : uint8_t {
  bootstrap = 1,
  lane = 2,
  needs_credentials = 3,  ///< the answer, in plain text, to a plain preface where TLS is wanted
};

/// The first bytes of each direction.
struct Preface {
  uint16_t version = wire::version;
  PrefaceKind kind = PrefaceKind::bootstrap;
  Token token{};                   ///< of the lane; zero for a bootstrap
  uint32_t max_payload_bytes = 0;  ///< of one write that the sender of the preface accepts
  uint32_t max_message_bytes = 0;
  uint32_t credits = 0;  ///< unanswered operations that it accepts
};

void encode(const Preface& preface, std::span<std::byte, preface_bytes> out) noexcept;
/// Errors: protocol (speaks something else; another version, with both numbers).
Result<Preface> decode_preface(std::span<const std::byte, preface_bytes> in);
/// The first four bytes are those of a preface.
bool begins_preface(std::span<const std::byte> in) noexcept;
/// It is haul's framing, but of another version.
bool is_other_version(std::span<const std::byte, preface_bytes> in) noexcept;

/// What the engines exchange so that one side can connect a further lane: where, and with which token.
struct LaneEndpoint {
  static constexpr size_t bytes = 18;
  Token token{};
  uint16_t port = 0;
};

void encode(const LaneEndpoint& endpoint, std::span<std::byte, LaneEndpoint::bytes> out) noexcept;
/// Errors: invalid.
Result<LaneEndpoint> decode_lane_endpoint(std::span<const std::byte> in);

enum class FrameType : uint8_t { bundle = 1, write = 2, read_data = 3, close = 4 };

/// One layout for every type; what a type does not use is zero.
struct FrameHeader {
  FrameType type = FrameType::bundle;
  bool has_crc = false;
  uint32_t body_bytes = 0;
  Key key{};              ///< write
  uint64_t offset = 0;    ///< write: from the start of the granted range
  uint64_t tag = 0;       ///< write
  uint64_t sequence = 0;  ///< write: its own; read_data: the read's; bundle: of the first operation in it
  uint32_t crc = 0;       ///< of the payload, where has_crc
};

void encode(const FrameHeader& header, std::span<std::byte, header_bytes> out) noexcept;
/// Errors: protocol.
Result<FrameHeader> decode_header(std::span<const std::byte, header_bytes> in);

enum class RecordType : uint8_t { write = 1, read = 2, read_data = 3, answers = 4, message = 5 };

/// What a bundle carries. The first eight bytes are alike: type, flags, 16 bits, 32 bits.
struct Record {
  static constexpr size_t write_bytes = 44;
  static constexpr size_t read_bytes = 32;
  static constexpr size_t read_data_bytes = 20;
  static constexpr size_t answers_bytes = 16;
  static constexpr size_t message_bytes = 8;

  RecordType type = RecordType::message;
  bool has_crc = false;   ///< write, read_data: `crc` is there; read: it is asked for
  uint16_t code = 0;      ///< answers: a StatusCode
  uint32_t length = 0;    ///< of the payload or of what is to be read; answers: how many operations
  Key key{};              ///< write, read
  uint64_t offset = 0;    ///< write, read
  uint64_t tag = 0;       ///< write
  uint64_t sequence = 0;  ///< read_data; answers: of the first
  uint32_t crc = 0;       ///< write, read_data
};

/// Bytes of the record without its payload.
size_t record_bytes(RecordType type) noexcept;
/// `out` has record_bytes(record.type).
void encode(const Record& record, std::span<std::byte> out) noexcept;

/// Walks the records of a bundle's body.
class RecordReader {
 public:
  explicit RecordReader(std::span<const std::byte> body) noexcept : body_(body) {}
  bool finished() const noexcept { return used_ == body_.size(); }
  /// The next record; `payload` views into the body. Errors: protocol.
  Status next(Record& record, std::span<const std::byte>& payload);

 private:
  std::span<const std::byte> body_;
  size_t used_ = 0;
};

}  // namespace haul::tcp::wire
