// Durations as the numbers that reports print.
#pragma once

#include "haul/time.h"

namespace bench {

constexpr double seconds(haul::Duration duration) noexcept { return static_cast<double>(duration.count()) * 1e-9; }
constexpr double milliseconds(haul::Duration duration) noexcept { return static_cast<double>(duration.count()) * 1e-6; }

}  // namespace bench
