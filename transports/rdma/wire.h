// What crosses the fabric besides payload: endpoints, keys, and bundles of records. docs/wire-format.md, "RDMA framing".
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <variant>
#include <vector>

#include "haul/status.h"
#include "haul/transport.h"
#include "rdma/verbs.h"

namespace haul::rdma::wire {

constexpr uint32_t max_operations = 256;  ///< that a side may have unanswered on a connection
constexpr uint32_t max_operation_bytes = 1U << 20;
constexpr uint32_t max_revokes = 1024;      ///< that a side may have waiting for the other's Released
constexpr uint32_t slot_bytes = 16U << 10;  ///< of one bundle
constexpr uint32_t slots = 32;              ///< posted receives, which are the peer's credits
constexpr size_t header_bytes = 4;
constexpr size_t max_message_bytes = 12U << 10;
constexpr size_t max_pieces = 8;  ///< separately registered, of one region
constexpr size_t max_reason_bytes = 200;

/// What a side tells the other before they are connected.
struct Endpoint {
  LinkLayer link = LinkLayer::ethernet;
  GidType gid_type = GidType::roce_v2;
  uint16_t lid = 0;
  Gid gid;
  uint32_t mtu_bytes = 0;
  uint32_t queue_pair = 0;
  uint32_t packet_number = 0;
  uint8_t max_reads = 1;
  uint64_t secret = 0;  ///< what the peer must say in its Hello
};
std::vector<std::byte> encode(const Endpoint& endpoint);
/// Errors: invalid.
Result<Endpoint> decode_endpoint(std::span<const std::byte> bytes);

/// Memory is registered in pieces that end at addresses which are multiples of 2^shift.
constexpr uint64_t piece_end(uint64_t address, uint8_t shift) { return ((address >> shift) + 1) << shift; }
constexpr uint64_t pieces_of(uint64_t address, uint64_t length, uint8_t shift) {
  return length == 0 ? 0 : ((address + length - 1) >> shift) - (address >> shift) + 1;
}

/// A granted range of the owner's memory: what RemoteRegion carries.
struct RemoteKey {
  uint32_t queue_pair = 0;  ///< the owner's: the key works there only
  uint32_t number = 0;      ///< of the grant on that connection, from 1
  Rights rights = Rights::none;
  uint64_t address = 0;
  uint64_t length = 0;
  uint8_t shift = 63;
  std::array<uint32_t, max_pieces> keys{};  ///< one for each piece

  uint32_t key_at(uint64_t at) const { return keys[static_cast<size_t>((at >> shift) - (address >> shift))]; }
};
RemoteRegion encode(const RemoteKey& key);
/// Errors: invalid. The result's ranges are sound: no address overflows, every piece has its key.
Result<RemoteKey> decode_key(const RemoteRegion& region);

// --- Records. A bundle is a header (how many bundles its sender has received, u32) and records to its end. -------------------

/// First of the active side, then of the passive one: the path works in this direction.
struct Hello {
  uint64_t secret = 0;
};
/// A write was placed: the bundle came behind it.
struct Landing {
  uint32_t operation = 0;
  uint32_t grant = 0;
  uint64_t offset = 0;
  uint32_t length = 0;
  uint64_t tag = 0;
  std::optional<uint32_t> crc32c;
};
/// How a landing, or an asked-for checksum, was judged.
struct Answer {
  uint32_t operation = 0;
  StatusCode code = StatusCode::ok;
  uint32_t crc32c = 0;
};
/// Asks for the checksum of what a read fetches.
struct Question {
  uint32_t operation = 0;
  uint32_t grant = 0;
  uint64_t offset = 0;
  uint32_t length = 0;
};
struct Message {
  std::span<const std::byte> payload;
};
/// Grants up to this number are bound: their keys work.
struct GrantsBound {
  uint32_t number = 0;
};
/// Stop using a grant, and say so when nothing uses it any more.
struct Revoke {
  uint32_t grant = 0;
};
struct Released {
  uint32_t grant = 0;
};
/// Behind the taking of a released grant's key, by a device that doesn't stop messages: answered, so that what was under way
/// has ended.
struct Fence {
  uint32_t grant = 0;
};
struct Fenced {
  uint32_t grant = 0;
};
/// Nothing more will be posted; the end that hears it finishes too and says the same.
struct Bye {};

using Record = std::variant<Hello, Landing, Answer, Question, Message, GrantsBound, Revoke, Released, Bye, Fence, Fenced>;

/// How many bytes a record takes in a bundle.
size_t encoded_bytes(const Record& record);

/// Fills one bundle.
class BundleWriter {
 public:
  explicit BundleWriter(std::span<std::byte> slot) : slot_(slot) {}
  bool fits(const Record& record) const { return encoded_bytes(record) <= slot_.size() - used_; }
  void add(const Record& record);
  bool empty() const { return used_ == header_bytes; }
  /// Writes the header and returns the bundle.
  std::span<const std::byte> finish(uint32_t received);

 private:
  std::span<std::byte> slot_;
  size_t used_ = header_bytes;
};

/// Takes a bundle apart. Never reads outside of it.
class BundleReader {
 public:
  explicit BundleReader(std::span<const std::byte> bundle);
  uint32_t received() const { return received_; }
  /// Absent at the end, or where it is malformed.
  std::optional<Record> next();
  bool sound() const { return sound_; }

 private:
  std::span<const std::byte> rest_;
  uint32_t received_ = 0;
  bool sound_ = true;
};

}  // namespace haul::rdma::wire
