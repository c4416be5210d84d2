// The lowest round trip of late.
#pragma once

#include <algorithm>

#include "haul/time.h"

namespace haul::congestion {

/// The lowest round trip of the last one or two times `half`.
class LowestRtt {
 public:
  static constexpr Duration usual_half = std::chrono::seconds(10);

  void on_sample(TimePoint now, Duration rtt, Duration half = usual_half) noexcept {
    if (now - half_began_ >= half) {
      earlier_ = now - half_began_ >= 2 * half ? unknown : recent_;
      recent_ = unknown;
      half_began_ = now;
    }
    recent_ = std::min(recent_, rtt);
  }
  /// What is known now is kept for another `half` at least, however old it is.
  void keep(TimePoint now) noexcept {
    earlier_ = value();
    recent_ = unknown;
    half_began_ = now;
  }
  bool known() const noexcept { return value() != unknown; }
  Duration value() const noexcept { return std::min(recent_, earlier_); }
  void reset() noexcept { *this = LowestRtt(); }

 private:
  static constexpr Duration unknown = Duration::max();
  Duration recent_ = unknown;
  Duration earlier_ = unknown;
  TimePoint half_began_;
};

}  // namespace haul::congestion
