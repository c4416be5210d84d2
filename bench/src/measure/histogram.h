// A histogram of durations with a fixed size and a relative error under 0.4 %.
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <chrono>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <optional>

namespace bench {

/// Buckets double in width with each power of two, 256 of them a power: recording costs no memory, however long a run is.
class Histogram {
 public:
  void record(std::chrono::nanoseconds duration) noexcept {
    const auto value_ns = static_cast<uint64_t>(duration.count() > 0 ? duration.count() : 0);
    ++buckets_[index_of(value_ns)];
    ++count_;
  }

  uint64_t count() const noexcept { return count_; }

  /// The smallest recorded duration that at least `fraction` of all do not exceed, in microseconds. Absent: none was recorded.
  std::optional<double> quantile_us(double fraction) const noexcept {
    if (count_ == 0) return std::nullopt;
    const auto wanted = std::max<uint64_t>(1, static_cast<uint64_t>(std::ceil(fraction * static_cast<double>(count_))));
    uint64_t seen = 0;
    size_t index = 0;
    for (; index + 1 < buckets_.size(); ++index) {
      seen += buckets_[index];
      if (seen >= wanted) break;
    }
    return middle_of(index) / 1000.0;
  }

 private:
  static constexpr unsigned bits = 8;
  static constexpr uint64_t per_power = uint64_t{1} << bits;
  static constexpr size_t powers = 64 - bits;

  /// Values below 2 * per_power have a bucket each; above, the top bits after the leading one choose it.
  static size_t index_of(uint64_t value) noexcept {
    if (value < 2 * per_power) return static_cast<size_t>(value);
    const auto shift = static_cast<unsigned>(std::bit_width(value)) - 1 - bits;
    return static_cast<size_t>(shift * per_power + (value >> shift));
  }
  static double middle_of(size_t index) noexcept {
    if (index < 2 * per_power) return static_cast<double>(index);
    const uint64_t shift = index / per_power - 1;
    const uint64_t low = (index - shift * per_power) << shift;
    return static_cast<double>(low) + static_cast<double>((uint64_t{1} << shift) - 1) / 2;
  }

  std::array<uint64_t, (powers + 1) * per_power> buckets_{};
  uint64_t count_ = 0;
};

}  // namespace bench
