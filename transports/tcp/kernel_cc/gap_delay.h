// What receivers add to round trips while something is missing.
#pragma once

#include <algorithm>

#include "congestion/lowest_rtt.h"
#include "haul/time.h"

namespace haul::tcp {

/// While a packet is missing, Linux acknowledges what comes after it together, up to a millisecond or a twentieth of the round
/// trip late (net.ipv4.tcp_comp_sack_delay_ns). A controller that wants two milliseconds in the queue would take most of that
/// for its own. The lowest round trips with and without a gap differ by it: that much is taken off, and at worst the queue is
/// longer by that much than it is taken to be.
class GapDelay {
 public:
  /// `gap`: something is missing at the receiver.
  Duration without(TimePoint now, Duration rtt, bool gap) noexcept {
    (gap ? with_gap_ : without_gap_).on_sample(now, rtt);
    // Where there is always a gap, what was known before holds.
    if (gap && without_gap_.known()) {
      const Duration most = std::min<Duration>(longest, without_gap_.value() / longest_part);
      delay_ = std::clamp(with_gap_.value() - without_gap_.value(), Duration::zero(), most);
    }
    return gap ? rtt - std::min(delay_, rtt) : rtt;
  }

 private:
  static constexpr Duration longest = std::chrono::milliseconds(1);
  static constexpr int longest_part = 20;

  congestion::LowestRtt with_gap_;
  congestion::LowestRtt without_gap_;
  Duration delay_ = Duration::zero();
};

}  // namespace haul::tcp
