// Durations as the numbers that reports print.
#pragma once

#include <chrono>

#include "haul/time.h"

namespace bench {

constexpr double seconds(haul::Duration duration) noexcept { return static_cast<double>(duration.count()) * 1e-9; }
constexpr double milliseconds(haul::Duration duration) noexcept { return static_cast<double>(duration.count()) * 1e-6; }

/// Of what a command line or a report says in seconds.
constexpr haul::Duration from_seconds(double seconds) noexcept {
  return std::chrono::duration_cast<haul::Duration>(std::chrono::duration<double>(seconds));
}

}  // namespace bench
