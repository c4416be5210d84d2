// `hub` after its start: steering the queue, draining it, living beside rivals, outages.
#include "congestion/hub.h"

#include <algorithm>
#include <cmath>

namespace haul::congestion {

namespace {

// The queue that a flow of 500 Mbit/s aims at. Faster flows aim at less, slower ones at more, by the square root: flows that
// share a queue then settle where their targets are equal, which is where their rates are.
constexpr double reference_rate = 62.5e6;
constexpr double reference_queue_s = 0.002;
constexpr double least_queue_s = 0.0002;
constexpr double most_queue_s = 0.015;
constexpr double queue_packets = 3;
// Where a short buffer lost: the part of its queue that is aimed at from then on. More takes too much from others beside it.
constexpr int64_t part_of_lossy_queue = 4;
// Bursts of the sender's kernel and the timers of both ends look like a queue of about this length.
constexpr Duration least_queue_limit = std::chrono::microseconds(250);
// Of the error in queue per round trip. The loop's delay is a round trip and a half: up to 1/e of its inverse it does not
// swing.
constexpr double steering = 0.25;
constexpr double most_faster = 0.1;
constexpr double most_slower = 0.4;
// A queue found empty for two round trips means room: then faster every round trip.
constexpr uint32_t patience_quarters = 8;
constexpr double first_push = 0.01;
constexpr double most_push = 0.25;

constexpr double startup_gain = 2.0;
constexpr double drain_gain = 0.5;
constexpr double dip_gain = 0.5;
constexpr double compete_gain = 1.2;
constexpr Duration dip_every = std::chrono::seconds(5);
constexpr int64_t dip_every_rounds = 40;
// Pressed: the queue stays far above the target. Flows of our own kind make it longer by the root of their number only.
// The start of such a flow presses, too, but not for so long.
constexpr int64_t pressed_rounds_enough = 10;
constexpr Duration pressed_time_enough = std::chrono::milliseconds(300);
constexpr double pressed_queue = 2.1;
constexpr Duration pressed_slack = std::chrono::microseconds(500);
// So long a long queue is answered by holding only what the path itself holds.
constexpr int64_t holding_rounds = 8;
// … and half of the best rate is not given to a newcomer whose start fills the queue.
constexpr double kept_share = 0.5;
constexpr double peak_memory_s = 10;
// Whether a rival is still there is tried after this time, once the queue has three quarters of its greatest length: what is
// the rival's can be told best from what we aim at then, and all flows of our own kind try at once.
constexpr Duration trial_after = std::chrono::seconds(10);
constexpr int64_t trial_rounds = 2;
// So many targets are left in the queue when ours is out of it: somebody else's. Flows of our own kind that do not try leave
// one. A rival that was found is gone when less is left: just after its losses there is little of it.
constexpr double rival_queue = 1.25;
constexpr double gone_queue = 0.5;
// An outage longer than this leaves no trust in what was known: half the rate.
constexpr Duration trusted_outage = std::chrono::seconds(10);
constexpr Duration idle_for_long = std::chrono::seconds(10);
// Beside a rival the queue is not seen empty: what was known of the path is kept for longer. A route that became longer looks
// like a rival until then, which costs less than to take a rival's queue for a part of the path: who does gives way for good.
constexpr Duration compete_memory = std::chrono::minutes(5);
constexpr double window_gain = 2.0;
constexpr double window_packets = 6;
constexpr double least_window_packets = 2;

}  // namespace

Hub::Hub(const ControllerOptions& options)
    : options_(options),
      packet_(static_cast<double>(options.packet_bytes)),
      memory_(options.memory),
      rival_window_(static_cast<double>(initial_window(options)), packet_) {
  enter_startup();
}

std::string_view Hub::phase() const noexcept {
  if (silent_) return "silent";
  switch (phase_) {
    case Phase::startup:
      if (resume_ == Resume::retreating) return "retreat";
      return resume_ == Resume::unvalidated || resume_ == Resume::validating ? "resume" : "startup";
    case Phase::drain: return "drain";
    case Phase::steady: return "steady";
    case Phase::dip: return "dip";
    case Phase::compete: return "compete";
  }
  return "steady";
}

Duration Hub::lowest_rtt() const noexcept { return lowest_.known() ? lowest_.value() : Duration::zero(); }

Duration Hub::recent_rtt() const noexcept {
  // After a silence no quarter has ended.
  return quarters_.longest_rtt() > Duration::zero() ? quarters_.last().lowest_rtt : lowest_rtt();
}

Duration Hub::target_queue(double rate) const noexcept {
  rate = std::max(rate, 1.0);
  const double wanted = std::clamp(reference_queue_s * std::sqrt(reference_rate / rate), least_queue_s, most_queue_s);
  const double bounded = lowest_.known() ? std::min(wanted, to_seconds(lowest_rtt()) / 2) : wanted;
  const Duration target = std::min(from_seconds(std::max(bounded, least_queue_s)), queue_limit_);
  // Less than a few packets is no queue: a flow that aimed at it would starve.
  return std::max(target, from_seconds(queue_packets * packet_ / rate));
}

// --- Events ----------------------------------------------------------------------------------------------------------------

void Hub::on_sent(TimePoint now, uint64_t bytes, uint64_t in_flight_bytes) {
  now = time_.advance(now);
  const bool after_idle = in_flight_bytes <= bytes && last_ack_at_ != TimePoint() && now - last_ack_at_ > idle_for_long;
  if (after_idle && !silent_ && phase_ != Phase::startup) {
    // What was known is old. RFC 9002, section 7.8, leaves what follows open; we start as a new connection with a remembered
    // path does.
    memory_ = memory();
    quarters_.restart(now);
    enter_startup();
  }
  if (resume_ == Resume::waiting && initial_acked_ == 0) initial_sent_ += static_cast<double>(bytes);
}

void Hub::on_ack(TimePoint now, const AckSample& sample) {
  now = time_.advance(now);
  last_ack_at_ = now;
  if (const auto rtt = plausible_rtt(sample.rtt))
    lowest_.on_sample(now, *rtt, beside_rival() ? compete_memory : LowestRtt::usual_half);
  if (silent_) {
    silent_ = false;
    if (now - silent_since_ > trusted_outage) rate_ /= 2;
    quarters_.restart(now);
    measure_from_ = now + 2 * lowest_rtt();
    grace_until_ = measure_from_;
    correction_ = 0;
    return;
  }
  if (!quarters_.started()) quarters_.restart(now);
  const bool round_ended = rounds_.on_ack(sample);
  quarters_.on_ack(static_cast<double>(sample.acked_bytes), static_cast<double>(sample.marked_bytes),
                   plausible_rtt(sample.rtt).value_or(Duration::zero()), sample.app_limited || now < measure_from_,
                   (sample.app_limited && !sample.held_back) || now < measure_from_);
  const bool quarter_ended = quarters_.close(now, lowest_rtt() / 4, 4 * packet_);
  switch (phase_) {
    case Phase::startup: startup_ack(now, sample, {round_ended, quarter_ended}); break;
    case Phase::drain: drain_ack(now, sample); break;
    case Phase::steady: break;
    case Phase::dip:
      if (now >= dip_until_) phase_ = Phase::steady;
      break;
    case Phase::compete: compete_ack(now, sample); break;
  }
  if (quarter_ended) on_quarter(now, sample);
}

void Hub::on_loss(TimePoint now, const LossSample& sample) {
  now = time_.advance(now);
  // What was sent into an outage tells nothing of the path's rate.
  if (sample.in_silence) return;
  const auto lost = static_cast<double>(sample.lost_bytes);
  quarters_.on_loss(lost);
  round_lost_ += lost;
  if (resume_ == Resume::waiting) lose_initial_data(lost);
  if (phase_ != Phase::compete || lost == 0 || sample.sent_at <= recovery_at_) return;
  rival_window_.on_congestion();
  rival_window_.set_at_least(4 * packet_);
  recovery_at_ = now;
}

void Hub::on_silence(TimePoint now) {
  now = time_.advance(now);
  if (silent_) return;
  silent_ = true;
  silent_since_ = now;
  if (phase_ != Phase::startup) return;
  // Without any path learnt, an outage ends in a new start; and without a jump (RFC 9959, section 3.6).
  memory_failed_ |= resume_ == Resume::unvalidated || resume_ == Resume::validating;
  abandon_resume();
  enter_startup();
}

void Hub::on_path_change(TimePoint now) {
  const Monotonic time = time_;
  const ControllerOptions options = options_;
  const bool memory_failed = memory_failed_;
  *this = Hub(options);
  time_ = time;
  time_.advance(now);
  memory_failed_ = memory_failed;
  memory_.reset();
  enter_startup();
}

void Hub::on_quarter(TimePoint now, const AckSample& sample) {
  if (phase_ == Phase::steady) steady_quarter(now, sample);
  if (phase_ == Phase::dip || phase_ == Phase::steady) {
    const Duration queue = quarters_.last().lowest_rtt - lowest_rtt();
    lowest_queue_ = std::min(lowest_queue_, queue);
    if (dip_pending_ && now >= dip_judged_at_) judge_dip(queue);
  }
}

// --- Drain -----------------------------------------------------------------------------------------------------------------

void Hub::enter_drain(TimePoint now, double rate) {
  phase_ = Phase::drain;
  if (rate > 0) rate_ = rate;
  correction_ = 0;
  drain_until_ = now + 3 * lowest_rtt() + 3 * target_queue();
}

void Hub::drain_ack(TimePoint now, const AckSample& sample) {
  if (static_cast<double>(sample.in_flight_bytes) > path_bytes() + 2 * packet_ && now < drain_until_) return;
  enter_steady(now);
}

void Hub::enter_steady(TimePoint now) {
  phase_ = Phase::steady;
  // The round trip under way was sent slowly; the losses of the overshoot come in it, too.
  measure_from_ = now + lowest_rtt() + lowest_rtt() / 4;
  grace_until_ = measure_from_;
  empty_quarters_ = 0;
  long_since_ = pressed_since_ = now;
  holds_ = false;
  next_dip_ = std::max(next_dip_, now + std::max<Duration>(dip_every, dip_every_rounds * lowest_rtt()));
  dip_pending_ = false;
  trial_until_ = now + trial_rounds * lowest_rtt();
}

// --- Steady ----------------------------------------------------------------------------------------------------------------

void Hub::steady_quarter(TimePoint now, const AckSample& sample) {
  const QuarterRounds::Quarter& last = quarters_.last();
  const QuarterRounds::Quarter round = quarters_.sum();
  const Duration queue = last.lowest_rtt - lowest_rtt();
  const double arrived = rate_of(round);
  if (!quarters_.full() || round.limited) {
    rate_ = std::max(rate_, arrived);
  } else if (arrived > 0) {
    rate_ = arrived;
  }
  // The best rate is forgotten only while we hold what we aim at: giving way to a rival does not count.
  const double forget =
      queue <= target_queue() + target_queue() / 5 ? std::min(to_seconds(last.length) / peak_memory_s, 1.0) : 0;
  peak_rate_ = std::max(rate_, peak_rate_ + (rate_ - peak_rate_) * forget);
  judge_losses(now);
  steer(queue, last);
  if (finds_rival(now, queue, sample)) return;
  consider_dip(now, queue);
}

void Hub::judge_losses(TimePoint now) {
  const QuarterRounds::Quarter round = quarters_.sum();
  const bool explained = round.limited || now < grace_until_;
  const bool tested = losses_.slows();
  const auto verdict = losses_.on_quarter(now, round, packet_, lowest_rtt(), explained);
  // At the verdict itself the test has drained the queue.
  if (!tested && losses_.slows()) queue_at_loss_ = quarters_.longest_rtt() - lowest_rtt();
  if (verdict == LossJudge::Verdict::congestion) {
    queue_limit_ = std::max<Duration>(queue_at_loss_ / part_of_lossy_queue, least_queue_limit);
  } else if (queue_limit_ != Duration::max()) {
    // Forgets in some hundred round trips: buffers change with the path.
    queue_limit_ = queue_limit_ > std::chrono::seconds(1) ? Duration::max() : queue_limit_ + queue_limit_ / 400;
  }
}

void Hub::steer(Duration queue, const QuarterRounds::Quarter& last) {
  const Duration target = target_queue();
  const double error = to_seconds(target) - to_seconds(queue);
  correction_ = std::clamp(steering * error / to_seconds(lowest_rtt() + target), -most_slower, most_faster);

  // A sender that had enough but comes late now and then sends less than its pace. It would never find the room there is.
  const bool empty = queue < target / 4 && !last.starved;
  empty_quarters_ = empty ? empty_quarters_ + 1 : 0;
  if (empty_quarters_ > patience_quarters) {
    const uint32_t rounds = std::min<uint32_t>((empty_quarters_ - patience_quarters) / 4, 8);
    correction_ = std::max(correction_, std::min(first_push * std::exp2(rounds), most_push));
  }
  // After RFC 8257, section 3.3, in terms of rate: slower by half the share of marked packets, averaged over quarters of a
  // round trip (the RFC: over whole ones, so that our average moves four times as fast).
  const double share = last.delivered > 0 ? last.marked / last.delivered : 0;
  marks_ += (share - marks_) / 16;
  if (last.marked > 0) correction_ = std::min(correction_, -marks_ / 2);
}

/// A queue that stays long although we give way to it is not ours.
bool Hub::finds_rival(TimePoint now, Duration queue, const AckSample& sample) {
  if (now < grace_until_) return false;
  if (tries_) return trial_finds_rival(now, queue);
  const Duration pressed = from_seconds(pressed_queue * to_seconds(target_queue(peak_rate_))) + pressed_slack;
  if (queue <= pressed) long_since_ = pressed_since_ = now;
  holds_ = queue > pressed && now - long_since_ < holding_rounds * lowest_rtt();
  // While it shrinks, what we do works.
  if (queue < queue_was_ - queue_was_ / 10) pressed_since_ = now;
  if (now - queue_seen_at_ >= lowest_rtt() || queue < queue_was_) {
    queue_was_ = queue;
    queue_seen_at_ = now;
  }
  if (now - pressed_since_ < std::max<Duration>(pressed_rounds_enough * lowest_rtt(), pressed_time_enough)) return false;
  // What was given up is grown back to, as after a loss. A start's rate lags a round trip behind what it had under way.
  const double held = std::max(peak_rate_ * to_seconds(lowest_rtt() + queue), startup_bytes_);
  rival_window_ = CubicWindow(std::max(held, static_cast<double>(sample.in_flight_bytes) / CubicWindow::beta), packet_);
  rival_window_.on_congestion();
  start_trial(now, rate_);
  return true;
}

// --- Dip -------------------------------------------------------------------------------------------------------------------

void Hub::consider_dip(TimePoint now, Duration queue) {
  if (now < next_dip_) return;
  startup_bytes_ = 0;
  next_dip_ = now + std::max<Duration>(dip_every, dip_every_rounds * lowest_rtt());
  const Duration seen = lowest_queue_;
  lowest_queue_ = Duration::max();
  // Seen empty by itself: no need.
  if (seen <= target_queue() / 8) return;
  phase_ = Phase::dip;
  queue_before_dip_ = std::max(queue, target_queue());
  // At half the rate for twice the queue's time, the queue is gone, if it was all ours; a shared one takes a deeper dip.
  const double longest = std::max(to_seconds(lowest_rtt()), to_seconds(2 * queue_before_dip_));
  dip_until_ = now + from_seconds(std::min(2 * dip_depth_ * to_seconds(queue_before_dip_), longest));
  const Duration back = lowest_rtt() + queue_before_dip_;
  measure_from_ = dip_until_ + back;
  dip_judged_at_ = dip_until_ + back;
  dip_pending_ = true;
}

void Hub::judge_dip(Duration) {
  dip_pending_ = false;
  const bool emptied = lowest_queue_ <= queue_before_dip_ / 4;
  dip_depth_ = emptied ? std::max(dip_depth_ * 0.8, 1.5) : std::min(dip_depth_ * 2, 64.0);
}

// --- Beside rivals ---------------------------------------------------------------------------------------------------------

/// Whether a queue is somebody else's shows when ours is taken out of it. If it is, `rival_window_` holds what we had.
void Hub::start_trial(TimePoint now, double rate) {
  tries_ = true;
  enter_drain(now, rate);
}

bool Hub::trial_finds_rival(TimePoint now, Duration queue) {
  if (now < trial_until_) return false;
  tries_ = false;
  const double known = beside_known_rival_ ? gone_queue : rival_queue;
  if (queue > from_seconds(known * to_seconds(target_queue())) + pressed_slack) {
    enter_compete(now);
    return true;
  }
  beside_known_rival_ = false;
  // Nobody else's: what we had before was our own, and is over.
  lowest_.keep(now);
  peak_rate_ = rate_;
  long_since_ = pressed_since_ = now;
  return false;
}

void Hub::enter_compete(TimePoint now) {
  phase_ = Phase::compete;
  rival_window_.set_at_least(4 * packet_);
  // The trial was no time in which it could have grown.
  rival_window_.on_idle();
  recovery_at_ = now;
  beside_known_rival_ = true;
  next_trial_ = now + trial_after;
  longest_rtt_ = Duration::zero();
}

void Hub::compete_ack(TimePoint now, const AckSample& sample) {
  rival_window_.on_ack(now, static_cast<double>(sample.acked_bytes), plausible_rtt(sample.rtt).value_or(lowest_rtt()));
  const double most = static_cast<double>(options_.max_window_bytes);
  if (rival_window_.bytes() > most) rival_window_.set(most);
  const Duration rtt = recent_rtt();
  longest_rtt_ = std::max(longest_rtt_, rtt);
  const bool long_queue = rtt - lowest_rtt() >= (longest_rtt_ - lowest_rtt()) / 4 * 3;
  if (now < next_trial_ || !long_queue) return;
  start_trial(now, rate_of(quarters_.sum()));
}

// --- What comes out --------------------------------------------------------------------------------------------------------

uint64_t Hub::window_bytes() const noexcept {
  double window = 0;
  switch (phase_) {
    case Phase::startup: window = window_; break;
    case Phase::compete: window = rival_window_.bytes(); break;
    case Phase::steady:
    case Phase::drain:
    case Phase::dip: {
      const double rate = holds_ ? std::max(rate_, kept_share * peak_rate_) : rate_;
      const double aimed = rate * to_seconds(lowest_rtt() + target_queue());
      window = holds_ && phase_ == Phase::steady ? aimed : window_gain * aimed + window_packets * packet_;
      break;
    }
  }
  const auto least = std::min(static_cast<uint64_t>(least_window_packets * packet_), options_.max_window_bytes);
  return to_bytes(window, least, options_.max_window_bytes);
}

std::optional<uint64_t> Hub::pacing_rate() const noexcept {
  if (!lowest_.known()) return std::nullopt;
  switch (phase_) {
    case Phase::startup: {
      // A jump is paced over one round trip (RFC 9959, sections 3.3 and 4.3.2); doubling wants room for twice what arrives.
      const bool resuming = resume_ == Resume::unvalidated || resume_ == Resume::retreating;
      const double gain = resuming ? 1.0 : startup_gain;
      return to_rate(gain * window_ / to_seconds(lowest_rtt()));
    }
    case Phase::drain: return to_rate(drain_gain * rate_);
    case Phase::dip: return to_rate(dip_gain * rate_);
    case Phase::compete: return to_rate(compete_gain * rival_window_.bytes() / to_seconds(recent_rtt()));
    case Phase::steady: break;
  }
  const double least = holds_ ? kept_share * peak_rate_ : 0;
  const double wanted = std::max(rate_ * (1 + correction_) / (1 - losses_.accepted()), least);
  return to_rate(losses_.slows() ? LossJudge::test_gain * rate_ : wanted);
}

std::optional<PathMemory> Hub::memory() const noexcept {
  if (phase_ == Phase::startup || !lowest_.known() || rate_ <= 0) return std::nullopt;
  return PathMemory{to_bytes(path_bytes(), 0, options_.max_window_bytes), lowest_rtt()};
}

std::unique_ptr<CongestionController> make_hub(const ControllerOptions& options) { return std::make_unique<Hub>(options); }

}  // namespace haul::congestion
