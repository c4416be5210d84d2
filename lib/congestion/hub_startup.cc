// The first round trips of `hub`: doubling, or a careful jump to what an earlier connection found.
#include <algorithm>
#include <utility>

#include "congestion/hub.h"

namespace haul::congestion {

namespace {

// Startup ends by delay once a quarter of a round trip had no round trip shorter than twice the lowest one, and by this much. A
// smaller queue may be others', who would keep a newcomer small.
constexpr Duration least_delay_sign = std::chrono::milliseconds(1);
// Of a round trip: so much queue in the middle of a doubling leaves room for what is still under way in a buffer of one
// bandwidth-delay product.
constexpr int64_t part_that_brakes = 24;
// Random loss must not end startup; a queue that overflows loses up to half.
constexpr double overflow_loss = 0.1;
constexpr double overflow_packets = 8;
// Doubling gives 1.41.
constexpr double growth_in_half_a_round = 1.15;
// Of fewer in a round trip, the rate says too little; and what so few overshoot by is little.
constexpr double telling_packets = 100;

}  // namespace

void Hub::enter_startup() {
  phase_ = Phase::startup;
  window_ = static_cast<double>(initial_window(options_));
  plateau_.reset();
  looks_ = {};
  round_lost_ = round_delivered_ = 0;
  longest_rtt_ = Duration::zero();
  tries_ = beside_known_rival_ = false;
  startup_limit_ = pipe_bytes_ = initial_sent_ = initial_acked_ = initial_lost_ = 0;
  first_rtt_ = Duration::max();
  // RFC 9959, section 3.1: less than four initial windows is not worth a jump.
  const bool useful = memory_ && static_cast<double>(memory_->window_bytes) > 4 * window_ && plausible_rtt(memory_->min_rtt);
  resume_ = useful ? Resume::waiting : Resume::none;
}

void Hub::startup_ack(TimePoint now, const AckSample& sample, Ends ends) {
  const auto acked = static_cast<double>(sample.acked_bytes);
  round_delivered_ += acked;
  longest_rtt_ = std::max(longest_rtt_, plausible_rtt(sample.rtt).value_or(Duration::zero()));
  // RFC 9002, section 7.8: only a window that is used grows.
  // Nor does one that was jumped to, before acknowledgements of the jump come in, nor one in retreat.
  const bool used = !sample.app_limited || 3 * static_cast<double>(sample.in_flight_at_send) >= window_;
  const bool grows = used && resume_ != Resume::unvalidated && resume_ != Resume::retreating && !queue_begins(sample.rtt);
  if (grows) window_ = std::min(window_ + acked, static_cast<double>(options_.max_window_bytes));
  resume_ack(now, sample);
  const auto in_flight = static_cast<double>(sample.in_flight_bytes);
  if (startup_limit_ > 0 && window_ >= startup_limit_) {
    leave_startup(now, startup_limit_ / to_seconds(lowest_rtt()), in_flight);
  } else if (resume_ != Resume::retreating && startup_is_full(sample, ends)) {
    leave_startup(now, std::max(rate_of(quarters_.last()), rate_of(quarters_.sum())), in_flight);
  }
  if (ends.round) round_lost_ = round_delivered_ = 0;
}

bool Hub::round_overflowed() const {
  return round_lost_ > overflow_loss * (round_lost_ + round_delivered_) && round_lost_ > overflow_packets * packet_;
}

bool Hub::startup_is_full(const AckSample& sample, Ends ends) {
  const QuarterRounds::Quarter& last = quarters_.last();
  if (!quarters_.full() || !lowest_.known()) return false;
  const Duration sign = std::max(target_queue(rate_of(last)), std::max(lowest_rtt(), least_delay_sign));
  if (last.lowest_rtt > lowest_rtt() + sign) return true;
  if (ends.quarter && queue_grows_only(sample.app_limited)) return true;
  if (round_overflowed() && round_delivered_ > window_ / 4) return true;
  // Where the remembered rate is reached, there is nothing to search for; steady finds out whether there is more by now.
  if (memory_ && resume_ == Resume::none && pipe_bytes_ > 0) {
    const double remembered = static_cast<double>(memory_->window_bytes) / to_seconds(memory_->min_rtt);
    if (rate_of(last) >= 0.95 * remembered) return true;
  }
  return ends.round && bounded(sample) && plateau_.on_round(rate_of(quarters_.sum()), sample.held_back);
}

/// A window that doubles fills the path a round trip before that shows, and a buffer as large in the next half. So what waited
/// for longer than anything did in the round trip before brings no growth, until it is clear whose queue it is.
bool Hub::queue_begins(Duration rtt) const {
  const QuarterRounds::Quarter round = quarters_.sum();
  if (!quarters_.full() || round.delivered < telling_packets * packet_) return false;
  return rtt > round.lowest_rtt + std::max(lowest_rtt() / part_that_brakes, least_delay_sign);
}

/// What was sent more since half a round trip ago lies in the queue. What others have in it does not look so: it does not grow
/// as fast, and a newcomer's rate grows with its share. Where too little was sent there is nothing to compare.
bool Hub::queue_grows_only(bool limited) {
  if (limited) {
    looks_ = {};
    return false;
  }
  const QuarterRounds::Quarter round = quarters_.sum();
  const Look now{rate_of(round), quarters_.last().lowest_rtt};
  const Look before = std::exchange(looks_[0], std::exchange(looks_[1], now));
  if (before.rate <= 0 || round.delivered < telling_packets * packet_) return false;
  const Duration grown = std::max(lowest_rtt() / 8, least_delay_sign);
  return now.lowest_rtt > before.lowest_rtt + grown && now.rate < before.rate * growth_in_half_a_round;
}

void Hub::leave_startup(TimePoint now, double rate, double in_flight) {
  resume_ = Resume::none;
  memory_.reset();
  // The overshoot has shown how much the path's buffer holds. A queue target beyond half of it could not be told from loss.
  const Duration held = longest_rtt_ - lowest_rtt();
  if (round_lost_ > 0 && held > Duration::zero()) queue_limit_ = std::max<Duration>(held / 2, std::chrono::microseconds(50));
  startup_bytes_ = in_flight;
  enter_drain(now, rate);
}

// --- A remembered path -----------------------------------------------------------------------------------------------------

/// After RFC 9959, sections 3.2 to 3.5: one jump, to half of what was saved, paced over a round trip. Random loss is what `hub`
/// is for, so that only more than it makes up for counts as congestion after a jump; the RFC retreats at any.
void Hub::resume_ack(TimePoint now, const AckSample& sample) {
  const auto acked = static_cast<double>(sample.acked_bytes);
  if (resume_ == Resume::waiting) return await_initial_data(now, sample);
  if (resume_ == Resume::none) return;
  pipe_bytes_ += acked;
  const bool through = reached(sample.delivered_at_send, jump_delivered_);
  if (resume_ == Resume::retreating) {
    if (through) end_retreat(now);
  } else if (sample.marked_bytes > 0 || round_overflowed()) {
    retreat(sample);
  } else if (resume_ == Resume::validating) {
    if (through) resume_ = Resume::none;
  } else if (through || now >= jump_until_ || static_cast<double>(sample.in_flight_bytes) + packet_ > window_) {
    end_jump(sample);
  }
}

/// Section 3.2, reconnaissance: all the initial data arrives without congestion, and over a path like the saved one. The RFC
/// allows half to ten times its round trip (4.2.1).
void Hub::await_initial_data(TimePoint now, const AckSample& sample) {
  if (sample.marked_bytes > 0) return abandon_resume();
  initial_acked_ += static_cast<double>(sample.acked_bytes);
  first_rtt_ = std::min(first_rtt_, plausible_rtt(sample.rtt).value_or(Duration::max()));
  if (initial_acked_ + initial_lost_ < initial_sent_ || first_rtt_ == Duration::max()) return;
  const Duration slack = memory_->min_rtt / 4 + std::chrono::milliseconds(1);
  if (first_rtt_ > memory_->min_rtt + slack || first_rtt_ < memory_->min_rtt - slack) return abandon_resume();
  // Section 3.3, unvalidated.
  resume_ = Resume::unvalidated;
  pipe_bytes_ = static_cast<double>(sample.in_flight_bytes);
  window_ = std::clamp(static_cast<double>(memory_->window_bytes) / 2, window_, static_cast<double>(options_.max_window_bytes));
  rounds_.restart(sample.delivered_bytes);
  jump_until_ = now + first_rtt_;
  jump_delivered_ = sample.delivered_bytes;
}

/// By section 3.2 any loss calls the jump off. Where one packet in 64 is lost by chance, every seventh start would be a cold
/// one: a tenth of the initial data may be lost.
void Hub::lose_initial_data(double lost) {
  initial_lost_ += lost;
  if (initial_lost_ > overflow_loss * initial_sent_) abandon_resume();
}

/// The end of section 3.3: only what was sent can be validated.
void Hub::end_jump(const AckSample& sample) {
  const auto in_flight = static_cast<double>(sample.in_flight_bytes);
  const auto initial = static_cast<double>(initial_window(options_));
  const bool used = in_flight >= initial && in_flight > pipe_bytes_;
  resume_ = used ? Resume::validating : Resume::none;
  window_ = std::min(used ? in_flight : std::max(pipe_bytes_, initial), static_cast<double>(options_.max_window_bytes));
  jump_delivered_ = sample.delivered_bytes;
}

/// Section 3.5, safe retreat: half of what the path did carry, until what was sent before is through.
void Hub::retreat(const AckSample& sample) {
  if (resume_ == Resume::unvalidated) jump_delivered_ = sample.delivered_bytes;
  resume_ = Resume::retreating;
  window_ = std::max(std::min(pipe_bytes_ / 2, window_), 2 * packet_);
  memory_.reset();
  memory_failed_ = true;
}

/// Then doubling goes on, up to half of what had arrived by now. What was measured while resuming is void.
void Hub::end_retreat(TimePoint now) {
  resume_ = Resume::none;
  startup_limit_ = std::max(pipe_bytes_ / 2, window_);
  looks_ = {};
  plateau_.reset();
  quarters_.restart(now);
}

void Hub::abandon_resume() {
  resume_ = Resume::none;
  memory_.reset();
}

}  // namespace haul::congestion
