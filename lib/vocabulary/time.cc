// The monotonic clock of the system.
#include "haul/time.h"

#include <time.h>

namespace haul {

Clock::~Clock() = default;

namespace {

class SystemClock final : public Clock {
 public:
  TimePoint now() const noexcept override {
    timespec now{};
    clock_gettime(CLOCK_MONOTONIC, &now);
    return TimePoint(std::chrono::seconds(now.tv_sec) + std::chrono::nanoseconds(now.tv_nsec));
  }
};

}  // namespace

const Clock& system_clock() noexcept {
  static const SystemClock clock;
  return clock;
}

}  // namespace haul
