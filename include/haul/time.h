// Time as haul uses it: a monotonic clock that is passed in, so that tests and the simulator own it.
#pragma once

#include <chrono>

#include "haul/export.h"

namespace haul {

using Duration = std::chrono::nanoseconds;

/// Tag of haul's monotonic time line. It has no now(): ask the Clock you were given.
struct MonotonicTime {
  using rep = Duration::rep;
  using period = Duration::period;
  using duration = Duration;
  using time_point = std::chrono::time_point<MonotonicTime, Duration>;
  static constexpr bool is_steady = true;
};

using TimePoint = MonotonicTime::time_point;

/// A source of monotonic time. Implementations must be callable from the engine's thread at any moment and never go back.
class HAUL_API Clock {
 public:
  virtual ~Clock();
  virtual TimePoint now() const noexcept = 0;
};

/// CLOCK_MONOTONIC. Lives for the whole program; safe from every thread.
HAUL_API const Clock& system_clock() noexcept;

}  // namespace haul
