// Whether packets larger than those that every path carries arrive: a path may begin to swallow them without a word.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>

#include "haul/time.h"

namespace haul::quic {

/// Every path carries so much UDP payload (RFC 9000 section 14).
inline constexpr size_t safe_packet_bytes = 1200;

/// The library looks for the largest packet when a path is new, and does not notice when the path becomes narrower. Shrinking
/// without need costs little: a single larger packet is tried every second.
class LargePackets {
 public:
  /// Packets may be larger than safe_packet_bytes.
  bool allowed(TimePoint now) noexcept {
    if (!shrunk_until_) return true;
    if (now < *shrunk_until_) return false;
    *this = {};
    return true;
  }
  /// Although they are not, one may be, to see what becomes of it. Where it is not acknowledged, that is all. A smaller one has
  /// to arrive between two of them: where little may leave, all would be tries, and nothing would ever arrive.
  bool try_one(TimePoint now) noexcept {
    if (now < next_try_ || !smaller_arrived_) return false;
    next_try_ = now + try_every;
    smaller_arrived_ = false;
    return true;
  }

  // What became of a packet whose fate is known.
  void acknowledged(size_t packet_bytes) noexcept {
    if (packet_bytes > safe_packet_bytes) {
      *this = {};
    } else {
      smaller_arrived_ = true;
    }
  }
  void lost(TimePoint now, size_t packet_bytes) noexcept {
    if (packet_bytes > safe_packet_bytes && ++lost_in_a_row_ >= most_in_a_row) shrink(now);
  }
  /// So many timeouts of the library's since anything was acknowledged.
  void timeouts(TimePoint now, uint64_t in_a_row) noexcept {
    if (in_a_row >= most_timeouts) shrink(now);
  }

 private:
  static constexpr uint32_t most_in_a_row = 10;
  static constexpr uint64_t most_timeouts = 2;
  static constexpr Duration try_every = std::chrono::seconds(1);
  // What travels on the stream has no known fate, so that after this time all may be large again.
  static constexpr Duration shrunk_for = std::chrono::minutes(1);

  void shrink(TimePoint now) noexcept {
    if (shrunk_until_) return;
    shrunk_until_ = now + shrunk_for;
    next_try_ = now + try_every;
    smaller_arrived_ = false;
  }

  uint32_t lost_in_a_row_ = 0;
  std::optional<TimePoint> shrunk_until_;
  TimePoint next_try_{};
  bool smaller_arrived_ = false;  // since the last try
};

}  // namespace haul::quic
