// From the kernel's sums to what congestion controllers are told. Pure arithmetic.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>

#include "haul/lane_steering.h"
#include "haul/time.h"
#include "tcp/kernel_cc/gap_delay.h"
#include "tcp/kernel_cc/values.h"

namespace haul::tcp {

/// One a socket. What the kernel does not tell is estimated:
/// - `in_flight_at_send` is what was delivered or lost between the sending of a packet and its acknowledgement, which is what
///   was in flight then;
/// - `lost_since_send` is found in a history of earlier looks, and too large by what was lost in a sixteenth of a round trip;
/// - how much later a receiver acknowledges while something is missing (gap_delay.h) is not part of the round trip;
/// - a loss is taken to have been sent a round trip ago, beside the newest packet that was acknowledged.
class SampleReader {
 public:
  /// Looks begin after `from`.
  explicit SampleReader(const KernelSamples& from = {}) noexcept : last_(from) { remember(from); }

  /// `samples` of now. Absent: nothing happened since the last call.
  std::optional<LaneReport> read(const KernelSamples& samples) noexcept;

 private:
  struct Mark {
    uint64_t delivered = 0;
    uint64_t lost = 0;
  };

  void remember(const KernelSamples& samples) noexcept;
  uint64_t lost_since(uint64_t delivered_at_send, uint64_t lost) const noexcept;
  LossSample loss_of(const KernelSamples& samples, bool timed_out) const noexcept;
  AckSample ack_of(const KernelSamples& samples) noexcept;

  KernelSamples last_;
  // Two round trips and more, a sixteenth apart; the oldest is overwritten.
  std::array<Mark, 48> marks_{};
  size_t next_mark_ = 0;
  size_t mark_count_ = 0;
  uint64_t marked_at_ns_ = 0;
  bool silent_ = false;
  std::optional<TimePoint> silence_ended_at_;
  GapDelay gap_delay_;
};

}  // namespace haul::tcp
