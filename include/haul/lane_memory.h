// What a backend may offer besides Transport: lanes whose own congestion controllers begin with what earlier ones learned of
// the path, and tell what they learned. For authors of backends.
#pragma once

#include <optional>

#include "haul/congestion.h"
#include "haul/transport.h"

namespace haul {

/// What a controller has to say of its path: CongestionController::memory() and memory_failed().
struct PathLesson {
  std::optional<PathMemory> memory;
  bool failed = false;
};

/// Found by Transport::lane_memory(). Used by the engine's thread, as the transport.
class LaneMemory {
 public:
  /// Offers the connection's controller what was learned of this path (ControllerOptions::memory): after `connected` or
  /// `accepted`. Ignored for unknown connections, and for those that have sent payload already.
  virtual void recall(ConnectionId connection, const PathMemory& memory) = 0;
  /// What this connection's controller has learned so far; after `closed` was polled until the next poll(). Nothing for unknown
  /// connections.
  virtual PathLesson lesson(ConnectionId connection) const = 0;

 protected:
  ~LaneMemory() = default;
};

}  // namespace haul
