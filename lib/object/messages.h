// The messages of the file protocol (docs/wire-format.md, "File protocol"), encoded and decoded. Pure functions.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <variant>
#include <vector>

#include "haul/buffer.h"
#include "haul/status.h"
#include "object/failure.h"

namespace haul::object {

constexpr uint16_t file_protocol_version = 1;
constexpr size_t max_file_message_bytes = 8192;  ///< what EngineOptions::max_message_bytes must allow at least

/// What a sender is about to send, counted beforehand. Good for progress and for checking room, not for correctness.
struct Totals {
  uint64_t files = 0;
  uint64_t bytes = 0;
  uint64_t skipped = 0;  ///< symbolic links and special files
};

/// The server's first message.
struct Welcome {
  uint16_t version = file_protocol_version;
  std::string software{};  ///< "haul 0.1.0"
};

/// The client wants to send to `destination`. `name`: what a single file is called if `destination` turns out to be a folder.
struct PushRequest {
  uint16_t version = file_protocol_version;
  bool overwrite = false;
  bool into = false;  ///< destination is a folder that entries go into; else it is the name of the one top entry
  std::string destination{};
  std::string name{};
  Totals totals{};
};

/// The client wants to have `path`.
struct PullRequest {
  uint16_t version = file_protocol_version;
  std::string path{};
  std::optional<uint64_t> rate_bytes_s{};  ///< the most that the server may send it at; never 0
};

/// The server's answer to a pull: what is coming.
struct Offer {
  Totals totals{};
};

/// The receiver's staging memory, cut into slots, all of them free.
struct Ready {
  uint32_t slot_bytes = 0;
  uint32_t slots = 0;
  uint32_t entry_window = 0;  ///< entries that may be announced and not done
  RemoteBuffer staging{};
};

enum class EntryKind : uint8_t { file = 0, folder = 1 };

/// Announces a file or folder. Indexes count from 0; folders come before what is in them.
struct Entry {
  uint32_t index = 0;
  EntryKind kind = EntryKind::file;
  uint16_t mode = 0;  ///< permission bits
  uint64_t size = 0;
  std::string path{};
};

/// The notification of a put: `length` bytes of an entry are in a slot.
struct Data {
  uint32_t index = 0;
  uint32_t slot = 0;
  uint64_t offset = 0;
  uint32_t length = 0;
};

/// The sender read all of a file and it had not changed.
struct EntryEnd {
  uint32_t index = 0;
};

/// So many entries are under their real names.
struct EntriesDone {
  uint32_t count = 0;
};

struct SlotFree {
  uint32_t slot = 0;
};

/// Everything was announced.
struct End {
  uint32_t entries = 0;
};

/// Everything is on stable storage under its real name.
struct Done {
  uint32_t entries = 0;
  uint64_t bytes = 0;
};

/// The job is over. The receiver says so after its temporary files are gone.
struct Failed {
  FailureKind kind = FailureKind::none;
  std::string text{};
};

/// Nothing to say yet, but at work.
struct Working {};

struct Ping {
  uint64_t token = 0;
};
struct Pong {
  uint64_t token = 0;
};

/// The client wants slots to measure with; answered by Ready.
struct Measure {};

using FileMessage = std::variant<Welcome, PushRequest, PullRequest, Offer, Ready, Entry, Data, EntryEnd, EntriesDone, SlotFree,
                                 End, Done, Failed, Working, Ping, Pong, Measure>;

/// Texts that are too long are cut (Failed) or make it a defect (paths, which are checked before).
std::vector<std::byte> encode(const FileMessage& message);

/// Errors: protocol, with what is wrong. Names inside are checked by name_fault().
Result<FileMessage> decode(std::span<const std::byte> bytes);

}  // namespace haul::object
