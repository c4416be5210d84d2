// Spreads packets in time: a rate, in bursts of a quantum that suits segmentation offload.
#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>

#include "congestion/numbers.h"
#include "haul/time.h"

namespace haul::congestion {

/// Bytes may leave when their time has come; a quantum's worth at once. Time that passes unused is not saved up beyond one
/// quantum (or forgive_late()), so that a pause is followed by no more than that (RFC 9002, section 7.7, advises the initial
/// window at most).
class Pacer {
 public:
  struct Options {
    uint64_t min_quantum_bytes = 2 * 1448;
    uint64_t max_quantum_bytes = 64U << 10;  // what one segmentation offload takes
    Duration quantum_time = std::chrono::microseconds(250);
  };

  explicit Pacer(const Options& options) noexcept : options_(options) {}

  /// Absent: unpaced. Takes effect for the next packet.
  void set_rate(std::optional<uint64_t> bytes_s) noexcept {
    rate_ = bytes_s && *bytes_s == 0 ? std::optional<uint64_t>(1) : bytes_s;
  }
  std::optional<uint64_t> rate() const noexcept { return rate_; }
  /// Who comes late by up to this may make up for all of it. A sender that sleeps between packets is woken late, and what it
  /// could never send again would make it slower than its rate, without end where the rate follows what arrives.
  void forgive_late(Duration late) noexcept { forgiven_ = late; }
  /// How much later than that the last bytes left: of so much time the rate was not used.
  Duration missed() const noexcept { return missed_; }

  /// Bytes that should leave together (draft-ietf-ccwg-bbr, section 5.6.3, with a quarter of its millisecond).
  uint64_t quantum_bytes() const noexcept {
    if (!rate_) return options_.max_quantum_bytes;
    const double wanted = static_cast<double>(*rate_) * to_seconds(options_.quantum_time);
    return to_bytes(wanted, options_.min_quantum_bytes, options_.max_quantum_bytes);
  }

  bool may_send(TimePoint now) const noexcept { return now >= next(); }
  /// When the next packet may leave; in the past: at once.
  TimePoint next() const noexcept {
    if (!rate_ || debt_bytes_ <= 0) return since_;
    return since_ + from_seconds(debt_bytes_ / static_cast<double>(*rate_));
  }

  void on_sent(TimePoint now, uint64_t bytes) noexcept {
    const TimePoint at = std::max(now, since_);
    if (rate_) {
      const double paid = static_cast<double>(*rate_) * to_seconds(at - since_);
      const double saved = std::max(static_cast<double>(quantum_bytes()), static_cast<double>(*rate_) * to_seconds(forgiven_));
      missed_ = from_seconds((paid - debt_bytes_ - saved) / static_cast<double>(*rate_));
      debt_bytes_ = std::max(debt_bytes_ - paid, -saved) + static_cast<double>(bytes);
    }
    since_ = at;
  }

 private:
  Options options_;
  std::optional<uint64_t> rate_;
  Duration forgiven_ = Duration::zero();
  Duration missed_ = Duration::zero();
  // Debt in bytes, not in time: a rate that rises shortens what a lower one had set.
  TimePoint since_;
  double debt_bytes_ = 0;
};

}  // namespace haul::congestion
