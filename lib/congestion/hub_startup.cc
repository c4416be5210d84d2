// The first round trips of `hub`: doubling, or a careful jump to what an earlier connection found.
#include <algorithm>

#include "congestion/hub.h"

namespace haul::congestion {

namespace {

// Startup ends by delay once a quarter of a round trip had no round trip shorter than this above the lowest one.
constexpr Duration least_delay_sign = std::chrono::milliseconds(1);
constexpr Duration most_delay_sign = std::chrono::milliseconds(8);
// Random loss must not end startup; a queue that overflows loses up to half.
constexpr double overflow_loss = 0.1;
constexpr double overflow_packets = 8;
// draft-ietf-ccwg-bbr, section 5.3.1.2: three rounds with less than a quarter more.
constexpr double growth_sign = 1.25;
constexpr uint32_t plateau_rounds = 3;

}  // namespace

void Hub::enter_startup() {
  phase_ = Phase::startup;
  window_ = static_cast<double>(initial_window(options_));
  full_rate_ = 0;
  full_rounds_ = 0;
  round_lost_ = round_delivered_ = 0;
  longest_rtt_ = Duration::zero();
  pipe_bytes_ = 0;
  const bool useful = memory_ && static_cast<double>(memory_->window_bytes) > 4 * window_ && plausible_rtt(memory_->min_rtt);
  resume_ = useful ? Resume::waiting : Resume::none;
}

void Hub::startup_ack(TimePoint now, const AckSample& sample, bool round_ended) {
  const auto acked = static_cast<double>(sample.acked_bytes);
  round_delivered_ += acked;
  longest_rtt_ = std::max(longest_rtt_, plausible_rtt(sample.rtt).value_or(Duration::zero()));
  // RFC 9002, section 7.8: only a window that is used grows.
  if (!sample.app_limited) window_ = std::min(window_ + acked, static_cast<double>(options_.max_window_bytes));
  resume_ack(now, sample);
  if (startup_is_full(sample, round_ended)) leave_startup(now, rate_of(quarters_.last()));
  if (round_ended) round_lost_ = round_delivered_ = 0;
}

bool Hub::startup_is_full(const AckSample& sample, bool round_ended) {
  const QuarterRounds::Quarter& last = quarters_.last();
  if (!quarters_.full() || !lowest_.known()) return false;
  const Duration sign = std::max(target_queue(), std::clamp<Duration>(lowest_rtt() / 16, least_delay_sign, most_delay_sign));
  if (last.lowest_rtt > lowest_rtt() + sign) return true;
  const double all = round_lost_ + round_delivered_;
  if (round_lost_ > overflow_loss * all && round_lost_ > overflow_packets * packet_ && round_delivered_ > window_ / 4)
    return true;
  // Where the remembered rate is reached, there is nothing to search for; steady finds out whether there is more by now.
  if (memory_ && resume_ == Resume::none && pipe_bytes_ > 0) {
    const double remembered = static_cast<double>(memory_->window_bytes) / to_seconds(memory_->min_rtt);
    if (rate_of(last) >= 0.95 * remembered) return true;
  }
  if (!round_ended || sample.app_limited) return false;
  const double rate = rate_of(last);
  if (rate >= full_rate_ * growth_sign) {
    full_rate_ = rate;
    full_rounds_ = 0;
    return false;
  }
  return ++full_rounds_ >= plateau_rounds;
}

void Hub::leave_startup(TimePoint now, double rate) {
  resume_ = Resume::none;
  memory_.reset();
  // The overshoot has shown how much the path's buffer holds. A queue target beyond half of it could not be told from loss.
  const Duration held = longest_rtt_ - lowest_rtt();
  if (round_lost_ > 0 && held > Duration::zero()) queue_limit_ = std::max<Duration>(held / 2, std::chrono::microseconds(50));
  enter_drain(now, rate);
}

/// After RFC 9959, sections 3.2 to 3.5: one jump, to half of what was saved, paced over a round trip.
void Hub::resume_ack(TimePoint now, const AckSample& sample) {
  const auto acked = static_cast<double>(sample.acked_bytes);
  switch (resume_) {
    case Resume::none: return;
    case Resume::waiting: {
      // Sections 3.2 and 4.2.1, reconnaissance: the path must look like the saved one. The RFC allows half to ten times its
      // round trip.
      const auto rtt = plausible_rtt(sample.rtt);
      if (!rtt) return;
      const Duration slack = memory_->min_rtt / 4 + std::chrono::milliseconds(1);
      if (*rtt > memory_->min_rtt + slack || *rtt < memory_->min_rtt - slack) {
        resume_ = Resume::none;
        memory_.reset();
        return;
      }
      // Section 3.3, unvalidated. PipeSize starts with what was acknowledged; the RFC's with what is in flight.
      pipe_bytes_ = acked;
      window_ =
          std::clamp(static_cast<double>(memory_->window_bytes) / 2, window_, static_cast<double>(options_.max_window_bytes));
      resume_ = Resume::unvalidated;
      rounds_.restart(sample.delivered_bytes);
      drain_until_ = now + *rtt;
      return;
    }
    case Resume::unvalidated:
      pipe_bytes_ += acked;
      // The window grows again once acknowledgements of the jump come in; these are still of what went before.
      window_ -= acked;
      if (now >= drain_until_ || reached(sample.delivered_at_send, sample.delivered_bytes - sample.acked_bytes)) {
        resume_ = Resume::validating;
        drain_until_ = now + lowest_rtt();
      }
      return;
    case Resume::validating:
      pipe_bytes_ += acked;
      // Section 3.5, safe retreat: half of what the path did carry. The RFC retreats at any loss or mark, we at more than 10 %
      // loss.
      if (round_lost_ > overflow_loss * (round_lost_ + round_delivered_) && round_lost_ > overflow_packets * packet_) {
        window_ = std::max(pipe_bytes_ / 2, static_cast<double>(initial_window(options_)));
        resume_ = Resume::none;
        memory_.reset();
        return;
      }
      if (now >= drain_until_) resume_ = Resume::none;
      return;
  }
}

}  // namespace haul::congestion
