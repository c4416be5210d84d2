// Arithmetic that controllers share: bounded, safe against wrapped counters and clocks that jump.
#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>

#include "haul/congestion.h"
#include "haul/time.h"

namespace haul::congestion {

/// 80 Tbit/s: above every link, and far from where products of rate and time overflow.
constexpr double max_rate_bytes_s = 1e13;
/// No path has a longer round trip; a longer sample is a clock that jumped.
constexpr Duration max_rtt = std::chrono::minutes(2);

constexpr double to_seconds(Duration duration) noexcept { return static_cast<double>(duration.count()) * 1e-9; }

/// Saturates at 100 years, below at 0.
constexpr Duration from_seconds(double seconds) noexcept {
  constexpr double longest = 3.1e9;
  const double bounded = seconds > longest ? longest : seconds;
  return Duration(bounded > 0 ? static_cast<int64_t>(bounded * 1e9) : 0);
}

/// Whether counter `a` has reached `b`; right also after a wrap.
constexpr bool reached(uint64_t a, uint64_t b) noexcept { return static_cast<int64_t>(a - b) >= 0; }

/// A pacing rate as the interface wants it: never 0, never absurd.
constexpr uint64_t to_rate(double bytes_s) noexcept {
  // The order of comparison turns a NaN into 1.
  return bytes_s > 1.0 ? static_cast<uint64_t>(bytes_s < max_rate_bytes_s ? bytes_s : max_rate_bytes_s) : 1;
}

constexpr uint64_t to_bytes(double bytes, uint64_t low, uint64_t high) noexcept {
  if (!(bytes > static_cast<double>(low))) return low;
  return bytes < static_cast<double>(high) ? static_cast<uint64_t>(bytes) : high;
}

/// The round-trip time of a sample if it can be true.
constexpr std::optional<Duration> plausible_rtt(Duration rtt) noexcept {
  if (rtt <= Duration::zero() || rtt > max_rtt) return std::nullopt;
  return rtt;
}

/// Time that never goes back.
class Monotonic {
 public:
  TimePoint advance(TimePoint now) noexcept { return last_ = std::max(last_, now); }
  TimePoint last() const noexcept { return last_; }

 private:
  TimePoint last_;
};

/// Counts round trips by bytes (draft-ietf-ccwg-bbr, section 5.5.1): a round ends when something is acknowledged that was sent
/// after its start.
class RoundCounter {
 public:
  /// True when a round ends with this acknowledgement.
  bool on_ack(const AckSample& sample) noexcept {
    if (started_ && !reached(sample.delivered_at_send, end_delivered_)) return false;
    restart(sample.delivered_bytes);
    ++rounds_;
    return true;
  }
  /// A round starts now, whatever was under way.
  void restart(uint64_t delivered_bytes) noexcept {
    end_delivered_ = delivered_bytes;
    started_ = true;
  }
  uint64_t rounds() const noexcept { return rounds_; }

 private:
  uint64_t end_delivered_ = 0;
  uint64_t rounds_ = 0;
  bool started_ = false;
};

/// Finds that a start no longer finds more: rounds in a row whose rate is not a quarter above the best before them
/// (draft-ietf-ccwg-bbr, section 5.3.1.2). For the draft a round is app-limited where the application has too little to send;
/// what else bounds a sender, the peer's window say, ends its start as a full pipe does. We are more patient with that: what is
/// beneath may have a start of its own, and pauses in it.
class Plateau {
 public:
  void reset() noexcept { *this = Plateau(); }
  void start_at(double rate) noexcept { best_ = rate; }
  /// Once a round that was not limited by the application. True: it is one.
  bool on_round(double rate, bool held_back) noexcept {
    constexpr double growth = 1.25;
    if (rate >= best_ * growth) {
      reset();
      best_ = rate;
      return false;
    }
    return held_back ? ++held_rounds_ >= 16 : ++rounds_ >= 3;
  }

 private:
  double best_ = 0;
  uint32_t rounds_ = 0;
  uint32_t held_rounds_ = 0;
};

/// Whether a sample says something of a rate, if only that it stays below something.
constexpr bool bounded(const AckSample& sample) noexcept { return !sample.app_limited || sample.held_back; }

constexpr uint64_t initial_window(const ControllerOptions& options) noexcept {
  const uint64_t packet = options.packet_bytes;
  // RFC 6928, section 2: ten segments of up to 1460 bytes, two of more than 7300.
  const uint64_t usual = std::min(10 * packet, std::max<uint64_t>(2 * packet, 14600));
  const uint64_t wanted = options.initial_window_bytes != 0 ? options.initial_window_bytes : usual;
  return std::clamp(wanted, packet, std::max(options.max_window_bytes, packet));
}

}  // namespace haul::congestion
