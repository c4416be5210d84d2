// What haul itself says of its path while payload moves: window, bytes in flight, round trip.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "haul/engine.h"
#include "haul/time.h"

namespace bench {

/// All lanes of the transport that carries payload together.
struct Moment {
  haul::Duration at{};  ///< since the beginning
  uint64_t window_bytes = 0;
  uint64_t in_flight_bytes = 0;
  uint64_t delivered_bytes = 0;
  haul::Duration rtt{};  ///< smoothed, of the lane with the largest window; zero: not known
};

class PathWatch {
 public:
  PathWatch(haul::Peer peer, std::string transport, haul::Duration every)
      : peer_(peer), transport_(std::move(transport)), every_(every) {}

  haul::Duration every() const noexcept { return every_; }
  /// Forgets what was seen.
  void begin(haul::TimePoint now);
  /// Takes a moment, if the last one is long enough ago.
  void look(haul::TimePoint now);

  haul::TimePoint began() const noexcept { return began_; }
  const std::vector<Moment>& moments() const noexcept { return moments_; }

 private:
  haul::Peer peer_;
  std::string transport_;
  haul::Duration every_;
  haul::TimePoint began_;
  haul::TimePoint next_;
  std::vector<Moment> moments_;
};

}  // namespace bench
