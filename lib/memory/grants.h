// Grants of one peer: those made to it on our memory, and those it made to us on its own.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <unordered_map>
#include <vector>

#include "haul/time.h"
#include "haul/transport.h"
#include "memory/registration.h"

namespace haul::memory {

using LaneNumber = uint32_t;

/// Access that we gave to a peer. Holds the memory until no byte can land or leave through it.
struct MadeGrant {
  uint64_t id = 0;
  std::shared_ptr<detail::Registration> registration;
  Range range;
  Rights rights = Rights::none;
  std::optional<TimePoint> expires;

  struct OnLane {
    LaneNumber lane = 0;
    uint64_t transport_grant = 0;
    bool revoked = false;  // proven by the transport, or by the lane's end
  };
  std::vector<OnLane> lanes;

  bool revoking = false;
  TimePoint revoke_deadline;  // lanes that have not proven the revocation by then are closed
  std::vector<std::function<void()>> on_revoked;

  std::span<std::byte> memory() const {
    return registration->memory.subspan(static_cast<size_t>(range.offset), static_cast<size_t>(range.length));
  }
  bool quiet() const {
    for (const OnLane& entry : lanes) {
      if (!entry.revoked) return false;
    }
    return true;
  }
};

/// Access that a peer gave to us.
struct HeldGrant {
  uint64_t id = 0;
  uint64_t length = 0;
  Rights rights = Rights::none;
  bool on_device = false;  // its owner's processor can't read it: nothing there has a checksum
  bool revoked = false;

  struct OnLane {
    LaneNumber lane = 0;
    RemoteRegion region;
  };
  std::vector<OnLane> lanes;

  /// Null while the owner has not announced it for that lane.
  const RemoteRegion* on_lane(LaneNumber lane) const {
    for (const OnLane& entry : lanes) {
      if (entry.lane == lane) return &entry.region;
    }
    return nullptr;
  }
};

/// All grants between us and one peer.
struct GrantBook {
  std::unordered_map<uint64_t, MadeGrant> made;
  std::unordered_map<uint64_t, std::shared_ptr<HeldGrant>> held;
  uint64_t highest_held = 0;  // ids rise: one above this is not announced yet, one below and absent is revoked
};

}  // namespace haul::memory
