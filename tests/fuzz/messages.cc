// Messages of engines and of the file protocol, and remote buffers: what is decoded is what was encoded.
#include "object/messages.h"

#include "base/random.h"
#include "engine/codec.h"
#include "fuzz/targets.h"
#include "haul/buffer.h"
#include "object/names.h"

namespace haul::fuzz {

void engine_message_run(std::span<const std::byte> input) {
  const auto decoded = engine::decode(input);
  if (!decoded.ok()) {
    require(decoded.status().code() == StatusCode::protocol, "a malformed message is no breach of the protocol");
    return;
  }
  const Bytes encoded = engine::encode(*decoded);
  const auto again = engine::decode(encoded);
  require(again.ok() && again->index() == decoded->index(), "a message is not decoded from its own encoding");
  require(same(engine::encode(*again), encoded), "a message changes when it is encoded again");
  const auto* hello = std::get_if<engine::Hello>(&*decoded);
  const bool other_version = hello != nullptr && hello->version_max != engine::protocol_version_max;
  require(other_version || encoded.size() <= input.size(), "a message is larger than what it was decoded from");
}

void engine_message_seeds(const SeedSink& sink) {
  using namespace engine;
  const Bytes blob = to_bytes("0123456789abcdefgh");
  GrantRegion region{2, {}};
  std::copy(blob.begin(), blob.end(), region.region.data.begin());
  region.region.size = static_cast<uint8_t>(blob.size());
  const Control messages[] = {
      Hello{.incarnation = 7,
            .max_message_bytes = 8192,
            .max_lanes = 64,
            .name = "node",
            .library_version = "0.1.0",
            .payload_over = "rdma"},
      LaneOpen{1, "tcp", blob},
      LaneAccept{1, blob},
      LaneRefuse{1, "all lanes that this engine allows are open"},
      LaneClosed{1},
      GrantMade{3, 4096, Rights::read_write, {region, region}, true},
      GrantExtended{3, region},
      GrantRevoked{3},
      UserMessage{blob},
      Notify{1, 4, blob},
      Abandon{1},
      Verify{1, 3, 0, 4096},
      Verified{1, true, 0x12345678},
      Ping{9},
      Pong{9},
      Goodbye{StatusCode::refused, "why"},
      ControlMove{2},
      ControlMoved{2},
      Notified{1},
      LanesWanted{3},
  };
  for (const Control& message : messages) {
    const Bytes bytes = encode(message);
    sink("type-" + std::to_string(message.index() + 1), bytes);
  }
  sink("empty", {});
}

void remote_buffer_run(std::span<const std::byte> input) {
  const auto decoded = RemoteBuffer::deserialize(input);
  if (!decoded.ok()) return;
  const auto again = RemoteBuffer::deserialize(decoded->serialize());
  require(again.ok() && *again == *decoded, "a remote buffer is not decoded from its own encoding");
}

void remote_buffer_seeds(const SeedSink& sink) {
  sink("small", RemoteBuffer(7, 3, 4096, Rights::read_write).serialize());
  sink("large", RemoteBuffer(~uint64_t{0}, ~uint64_t{0}, ~uint64_t{0}, Rights::write).serialize());
  auto damaged = RemoteBuffer(7, 3, 4096, Rights::read).serialize();
  damaged.back() ^= std::byte{1};
  sink("damaged", damaged);
}

void file_message_run(std::span<const std::byte> input) {
  if (input.size() > object::max_file_message_bytes) return;  // the engine delivers no longer ones
  const auto decoded = object::decode(input);
  if (!decoded.ok()) {
    require(decoded.status().code() == StatusCode::protocol, "a malformed message is no breach of the protocol");
    return;
  }
  if (const auto* entry = std::get_if<object::Entry>(&*decoded)) {
    require(object::name_fault(entry->path).empty(), "an entry has a name that is refused");
  }
  const Bytes encoded = object::encode(*decoded);
  const auto again = object::decode(encoded);
  require(again.ok() && again->index() == decoded->index(), "a message is not decoded from its own encoding");
  require(same(object::encode(*again), encoded), "a message changes when it is encoded again");
}

void file_message_seeds(const SeedSink& sink) {
  using namespace object;
  const RemoteBuffer staging(7, 3, 4096, Rights::write);
  const FileMessage messages[] = {
      Welcome{.software = "haul 0.1.0"},
      PushRequest{.overwrite = true, .into = true, .destination = "models", .name = "a", .totals = {2, 4096, 1}},
      PullRequest{.path = "models/llama"},
      Offer{{2, 4096, 1}},
      Ready{.slot_bytes = 1024, .slots = 4, .entry_window = 8, .staging = staging},
      Entry{.index = 1, .kind = EntryKind::file, .mode = 0644, .size = 4096, .path = "a/b"},
      Data{.index = 1, .slot = 2, .offset = 1024, .length = 1024},
      EntryEnd{1},
      EntriesDone{2},
      SlotFree{2},
      End{2},
      Done{2, 4096},
      Failed{FailureKind::no_space, "free some space"},
      Working{},
      Ping{5},
      Pong{5},
      Measure{},
  };
  for (const FileMessage& message : messages) {
    const Bytes bytes = encode(message);
    sink("type-" + std::to_string(message.index() + 1), bytes);
  }
  sink("type-3-at-a-rate", encode(PullRequest{.path = "models/llama", .rate_bytes_s = 1'000'000}));
}

}  // namespace haul::fuzz
