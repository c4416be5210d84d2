// How late the emulator was, and when that spoils a measurement.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <string>

#include "haul/time.h"
#include "measure/histogram.h"

namespace wan {

/// Durations with their mean and maximum beside the percentiles.
class Lateness {
 public:
  /// `packets` of them were so late.
  void record(std::chrono::nanoseconds late, uint32_t packets) noexcept {
    late = std::max(late, std::chrono::nanoseconds::zero());
    for (uint32_t i = 0; i < packets; ++i) histogram_.record(late);
    sum_ns_ += static_cast<double>(late.count()) * packets;
    max_ = std::max(max_, late);
  }
  uint64_t packets() const noexcept { return histogram_.count(); }
  double mean_us() const noexcept { return packets() == 0 ? 0 : sum_ns_ / static_cast<double>(packets()) * 1e-3; }
  double max_us() const noexcept { return static_cast<double>(max_.count()) * 1e-3; }
  double quantile_us(double fraction) const noexcept { return histogram_.quantile_us(fraction).value_or(0); }

 private:
  bench::Histogram histogram_;
  double sum_ns_ = 0;
  std::chrono::nanoseconds max_{0};
};

/// When a packet came to a device that was read later.
struct Coming {
  haul::TimePoint at;  ///< is taken for the time
  haul::Duration off;  ///< it may have been so much earlier or later, at most
};

/// Of a packet that was read at `read_at`; nothing was there at `seen_empty`. `slept`: without watching the device, so that it
/// came half way in the mean. Else it came just now, unless this thread was kept from reading it.
Coming coming(haul::TimePoint read_at, haul::TimePoint seen_empty, bool slept);

/// Bounds on the mean of what is late by itself: a link that is slower than it says measures the emulator.
constexpr double most_mean_lateness_us = 500;
/// … and on its 99th percentile: rare hiccups of the machine are jitter, as networks have it; regular ones are not.
constexpr double most_p99_lateness_us = 2000;

/// Empty: the run counts. Else why it does not, and what to do. `lost_packets`: by the emulator itself.
std::string rejection(const Lateness& sending, const Lateness& reading, uint64_t lost_packets);

}  // namespace wan
