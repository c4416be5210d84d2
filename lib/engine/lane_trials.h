// What a peer's trials of more and of fewer lanes remember.
#pragma once

#include <cstdint>
#include <optional>
#include <unordered_map>

#include "congestion/lane_count.h"
#include "haul/time.h"

namespace haul::engine {

/// From here on a path is a wide-area one, as transports/tcp has it for the kernel's algorithms.
constexpr Duration rack_rtt = std::chrono::milliseconds(2);

struct LaneTrials {
  /// A lane's counters at the last look.
  struct Seen {
    uint64_t delivered = 0;
    uint64_t received = 0;
    Duration limited{};  // PathSample::limited_by_buffers
    bool had_work = false;
    bool quiet = false;                // nothing came in since the look before, and nothing goes out
    std::optional<TimePoint> surplus;  // when it was taken away
  };
  /// What all of them did since the look before.
  struct Window {
    uint64_t delivered = 0;
    uint32_t lanes = 0;        // that carry
    uint32_t had_work = 0;     // of those: at its beginning and at its end
    uint32_t held = 0;         // of those: by buffers, for most of the time
    Duration lowest_rtt = {};  // zero: unknown
    std::optional<Duration> rtt;
  };

  explicit LaneTrials(uint32_t over, uint32_t usual) : transport_index(over), count(usual) {}

  uint32_t transport_index;
  congestion::LaneCount count;
  std::unordered_map<uint32_t, Seen> lanes;  // by number
  TimePoint looked_at;
  bool may_add = false;
  bool steered = false;  // one flow of a controller of ours, as of the last look
  bool look_pending = false;
};

}  // namespace haul::engine
