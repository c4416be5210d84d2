// The engine's own messages, as they travel in Transport::send. docs/wire-format.md, "Engine messages".
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "haul/transport.h"

namespace haul::engine {

constexpr uint16_t protocol_version_min = 1;
constexpr uint16_t protocol_version_max = 1;
constexpr uint32_t hello_magic = 0x4c554148;  // "HAUL"
constexpr size_t max_name_bytes = 64;
constexpr size_t max_text_bytes = 512;
constexpr size_t max_endpoint_bytes = 512;

/// Features a side offers; the connection uses what both have.
constexpr uint64_t feature_device_memory = 1;  ///< it knows GrantMade::on_device
constexpr uint64_t feature_lanes_wanted = 2;   ///< who connected opens as many lanes as LanesWanted asks for
constexpr uint64_t features_offered = feature_device_memory | feature_lanes_wanted;

/// Both sides introduce themselves with this; the acceptor answers with its own, or with Goodbye.
struct Hello {
  uint16_t version_min = protocol_version_min;
  uint16_t version_max = protocol_version_max;
  uint64_t features = features_offered;
  uint64_t incarnation = 0;
  uint32_t max_message_bytes = 0;
  uint32_t max_lanes = 0;
  bool integrity = true;
  bool control_only = false;  ///< no payload is to go over the first lane
  std::string name;
  std::string library_version;
  std::string payload_over = {};  ///< for people: the transports that policy leaves, where it leaves not all
};

struct LaneOpen {
  uint32_t lane = 0;
  std::string transport;
  std::vector<std::byte> endpoint;
};
struct LaneAccept {
  uint32_t lane = 0;
  std::vector<std::byte> endpoint;
};
struct LaneRefuse {
  uint32_t lane = 0;
  std::string reason;
};
/// The sender's end of the lane is gone: nothing that was posted on it can land at the sender any more.
struct LaneClosed {
  uint32_t lane = 0;
  uint64_t immediates = 0;  ///< so many of the receiver's writes with an immediate were heard of on it
};

struct GrantRegion {
  uint32_t lane = 0;
  RemoteRegion region;
};
struct GrantMade {
  uint64_t id = 0;
  uint64_t length = 0;
  Rights rights = Rights::none;
  std::vector<GrantRegion> regions;
  bool on_device = false;  ///< its owner's processor can't read it: operations on it carry no checksum
};
/// A grant made earlier is usable on one more lane.
struct GrantExtended {
  uint64_t id = 0;
  GrantRegion region;
};
struct GrantRevoked {
  uint64_t id = 0;
};

/// A view into the received bytes.
struct UserMessage {
  std::span<const std::byte> payload;
};
struct Notify {
  uint64_t serial = 0;
  uint32_t count = 0;
  std::span<const std::byte> payload;
};
struct Abandon {
  uint64_t serial = 0;
};
/// A Notify came over another lane than the first: it need not be sent again when that lane dies.
struct Notified {
  uint64_t serial = 0;
};

/// Asks the owner of granted memory for the checksum of a range: for transports that carry none.
struct Verify {
  uint64_t check = 0;
  uint64_t grant = 0;
  uint64_t offset = 0;
  uint32_t length = 0;
};
struct Verified {
  uint64_t check = 0;
  bool ok = false;
  uint32_t crc32c = 0;
};

struct Ping {
  uint64_t number = 0;
};
struct Pong {
  uint64_t number = 0;
};
/// The sender's next control messages come on this lane, once the receiver moved too.
struct ControlMove {
  uint32_t lane = 0;
};
/// The answer, the last on the old lane; and the first message on the new one. The old lane's number: not moved.
struct ControlMoved {
  uint32_t lane = 0;
};
/// So many lanes are worth having for what the sender sends, who may open none.
struct LanesWanted {
  uint32_t count = 1;
};
struct Goodbye {
  StatusCode code = StatusCode::ok;
  std::string reason;
};

using Control =
    std::variant<Hello, LaneOpen, LaneAccept, LaneRefuse, LaneClosed, GrantMade, GrantExtended, GrantRevoked, UserMessage,
                 Notify, Abandon, Verify, Verified, Ping, Pong, Goodbye, ControlMove, ControlMoved, Notified, LanesWanted>;

/// The message's bytes. Texts longer than their limits are cut; everything else is the caller's to keep within limits.
std::vector<std::byte> encode(const Control& message);

/// Errors: protocol, naming the message and what is wrong with it. Never reads outside `bytes`.
Result<Control> decode(std::span<const std::byte> bytes);

}  // namespace haul::engine
