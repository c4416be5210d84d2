// How long a wait polls before it blocks.
#pragma once

#include <algorithm>
#include <cstdint>

#include "haul/time.h"

namespace haul::engine {

/// A blocking wake-up costs tens of microseconds more than polling until the answer is there; polling in vain costs processor
/// time. So a wait spins as long as that pays: each time in vain, twice as many waits block at once before the next try.
class AdaptiveSpin {
 public:
  /// `longest` zero: never; max: every wait polls until it ends.
  explicit AdaptiveSpin(Duration longest) noexcept : longest_(longest) {}

  /// A wait begins for which nothing is there yet: how long to poll.
  Duration begin() noexcept {
    if (skip_ == 0) return longest_;
    --skip_;
    return Duration::zero();
  }
  /// Something came while polling.
  void caught() noexcept { penalty_ = 0; }
  /// Nothing came.
  void missed() noexcept {
    penalty_ = std::min(2 * penalty_ + 1, most_skips);
    skip_ = penalty_;
  }

 private:
  static constexpr uint32_t most_skips = 63;

  Duration longest_;
  uint32_t penalty_ = 0;
  uint32_t skip_ = 0;
};

}  // namespace haul::engine
