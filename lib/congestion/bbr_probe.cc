// BBR: the state machine that probes for bandwidth and for the lowest round trip.
#include <algorithm>
#include <cmath>

#include "congestion/bbr.h"

namespace haul::congestion {

namespace {

constexpr double headroom = 0.15;
constexpr Duration probe_rtt_duration = std::chrono::milliseconds(200);
constexpr double probe_rtt_cwnd_gain = 0.5;
// Sections 5.3.3.8.1 to 5.3.3.8.3: what Reno needs on a path of up to 25 Mbit/s and 30 ms. The draft draws 62 or 63.
constexpr uint64_t most_rounds_between_probes = 63;

}  // namespace

// Section 5.6.1, the table.
double Bbr::pacing_gain() const {
  switch (state_) {
    case State::startup: return 2.77;
    case State::drain: return 0.5;
    case State::probe_down: return 0.9;
    case State::probe_up: return 1.25;
    case State::probe_cruise:
    case State::probe_refill:
    case State::probe_rtt: break;
  }
  return 1.0;
}

double Bbr::cwnd_gain() const {
  if (state_ == State::probe_up) return 2.25;
  return state_ == State::probe_rtt ? probe_rtt_cwnd_gain : 2.0;
}

bool Bbr::in_probe_state() const {
  return state_ == State::probe_down || state_ == State::probe_cruise || state_ == State::probe_refill ||
         state_ == State::probe_up;
}

void Bbr::enter_startup() { state_ = State::startup; }

void Bbr::enter_drain() {
  state_ = State::drain;
  drain_start_round_ = rounds_.rounds();
}

// --- ProbeBW (section 5.3.3.9) ---------------------------------------------------------------------------------------------

void Bbr::start_probe_down(TimePoint now, uint64_t delivered) {
  reset_congestion_signals();
  probe_up_acked_per_inc_ = infinity;
  pick_probe_wait();
  cycle_at_ = now;
  rounds_at_cycle_ = rounds_.rounds();
  ack_phase_ = AckPhase::stopping;
  rounds_.restart(delivered);
  state_ = State::probe_down;
}

void Bbr::start_probe_refill(uint64_t delivered) {
  reset_short_term_model();
  probe_up_rounds_ = 0;
  probe_up_acked_ = 0;
  prev_probe_precautionary_ = false;
  ack_phase_ = AckPhase::refilling;
  rounds_.restart(delivered);
  state_ = State::probe_refill;
}

void Bbr::start_probe_up(const AckSample& sample) {
  ack_phase_ = AckPhase::starting;
  rounds_.restart(sample.delivered_bytes);
  reset_full_bandwidth();
  full_bw_.start_at(static_cast<double>(sample.delivery_rate));
  state_ = State::probe_up;
  raise_inflight_slope();
}

void Bbr::pick_probe_wait() {
  // The draft draws 2 to 3 s at random. A controller has no randomness: the golden ratio spreads the waits as evenly.
  ++cycles_;
  const double fraction = std::fmod(static_cast<double>(cycles_ % 4096) * 0.6180339887498949, 1.0);
  probe_wait_ = std::chrono::seconds(2) + from_seconds(fraction);
}

bool Bbr::is_time_to_probe(TimePoint now, uint64_t delivered) {
  const double target = std::min(bdp(1.0), cwnd_);
  const double reno_rounds = std::min(target / packet_, static_cast<double>(most_rounds_between_probes));
  const bool reno_would = static_cast<double>(rounds_.rounds() - rounds_at_cycle_) >= reno_rounds;
  if (now <= cycle_at_ + probe_wait_ && !reno_would) return false;
  start_probe_refill(delivered);
  return true;
}

bool Bbr::is_time_to_go_down(const AckSample& sample) {
  if (prev_probe_too_high_ && static_cast<double>(sample.in_flight_bytes) >= inflight_longterm_) {
    prev_probe_precautionary_ = true;
    return true;
  }
  if (cwnd_limited_ && cwnd_ >= inflight_longterm_) {
    reset_full_bandwidth();
    full_bw_.start_at(static_cast<double>(sample.delivery_rate));
    return false;
  }
  return full_bw_now_;
}

void Bbr::update_probe_cycle(TimePoint now, const AckSample& sample) {
  if (!full_bw_reached_ || adapt_long_term_model(sample)) return;
  const auto in_flight = static_cast<double>(sample.in_flight_bytes);
  switch (state_) {
    case State::probe_down:
      if (is_time_to_probe(now, sample.delivered_bytes)) return;
      if (in_flight <= inflight_with_headroom() && in_flight <= with_quantum(bdp(1.0))) state_ = State::probe_cruise;
      return;
    case State::probe_cruise: is_time_to_probe(now, sample.delivered_bytes); return;
    case State::probe_refill:
      if (!round_start_) return;
      bw_probe_sample_ = true;
      start_probe_up(sample);
      return;
    case State::probe_up:
      if (!is_time_to_go_down(sample)) return;
      prev_probe_too_high_ = false;
      start_probe_down(now, sample.delivered_bytes);
      return;
    case State::startup:
    case State::drain:
    case State::probe_rtt: return;
  }
}

bool Bbr::adapt_long_term_model(const AckSample& sample) {
  if (ack_phase_ == AckPhase::starting && round_start_) ack_phase_ = AckPhase::feedback;
  if (ack_phase_ == AckPhase::stopping && round_start_) {
    bw_probe_sample_ = false;
    ack_phase_ = AckPhase::init;
    if (in_probe_state() && !sample.app_limited) max_bw_filter_ = {max_bw_filter_[1], 0};
    if (in_probe_state() && prev_probe_precautionary_ && !prev_probe_too_high_) {
      start_probe_refill(sample.delivered_bytes);
      return true;
    }
  }
  const auto sent_in_flight = static_cast<double>(sample.in_flight_at_send);
  const bool too_high = static_cast<double>(sample.lost_since_send) > sent_in_flight * loss_threshold;
  if (too_high || inflight_longterm_ == infinity) return false;
  inflight_longterm_ = std::max(inflight_longterm_, sent_in_flight);
  if (state_ == State::probe_up) probe_inflight_upward(sample);
  return false;
}

double Bbr::inflight_with_headroom() const {
  if (inflight_longterm_ == infinity) return infinity;
  return std::max(inflight_longterm_ - std::max(packet_, headroom * inflight_longterm_), min_pipe_packets * packet_);
}

void Bbr::raise_inflight_slope() {
  const double growth = std::exp2(probe_up_rounds_);
  probe_up_rounds_ = std::min<uint32_t>(probe_up_rounds_ + 1, 30);
  probe_up_acked_per_inc_ = std::max(cwnd_ / growth, packet_);
}

void Bbr::probe_inflight_upward(const AckSample& sample) {
  if (!cwnd_limited_ || cwnd_ < inflight_longterm_) return;
  probe_up_acked_ += static_cast<double>(sample.acked_bytes);
  if (probe_up_acked_ >= probe_up_acked_per_inc_) {
    const double steps = std::floor(probe_up_acked_ / probe_up_acked_per_inc_);
    probe_up_acked_ -= steps * probe_up_acked_per_inc_;
    inflight_longterm_ += steps * packet_;
  }
  if (round_start_) raise_inflight_slope();
}

// Section 5.5.10.2.
void Bbr::handle_inflight_too_high(const LossSample& sample) {
  prev_probe_too_high_ = true;
  bw_probe_sample_ = false;
  const auto size = static_cast<double>(sample.lost_bytes);
  const double before = static_cast<double>(sample.in_flight_at_send) - size;
  const double lost_before = static_cast<double>(sample.lost_since_send) - size;
  const double prefix = (loss_threshold * before - lost_before) / (1 - loss_threshold);
  const double target = std::min(bdp(1.0), cwnd_);
  if (!was_app_limited_) inflight_longterm_ = std::max({before + prefix, target * beta, min_pipe_packets * packet_});
  if (state_ == State::probe_up) start_probe_down(time_.last(), sample.delivered_bytes);
}

// --- ProbeRTT (section 5.3.4.3) --------------------------------------------------------------------------------------------

double Bbr::probe_rtt_window() const { return std::max(bdp(probe_rtt_cwnd_gain), min_pipe_packets * packet_); }

void Bbr::check_probe_rtt(TimePoint now, const AckSample& sample) {
  if (state_ != State::probe_rtt && probe_rtt_expired_ && !idle_restart_) {
    state_ = State::probe_rtt;
    prior_cwnd_ = cwnd_;
    probe_rtt_done_at_.reset();
    ack_phase_ = AckPhase::stopping;
    rounds_.restart(sample.delivered_bytes);
    round_start_ = false;
  }
  if (state_ == State::probe_rtt) {
    if (!probe_rtt_done_at_ && static_cast<double>(sample.in_flight_bytes) <= probe_rtt_window()) {
      probe_rtt_done_at_ = now + probe_rtt_duration;
      probe_rtt_round_done_ = false;
      rounds_.restart(sample.delivered_bytes);
    } else if (probe_rtt_done_at_) {
      probe_rtt_round_done_ |= round_start_;
      if (probe_rtt_round_done_) check_probe_rtt_done(now, sample.delivered_bytes);
    }
  }
  if (sample.acked_bytes > 0) idle_restart_ = false;
}

void Bbr::check_probe_rtt_done(TimePoint now, uint64_t delivered) {
  if (!probe_rtt_done_at_ || now <= *probe_rtt_done_at_) return;
  probe_rtt_min_at_ = now;
  cwnd_ = std::max(cwnd_, prior_cwnd_);
  reset_short_term_model();
  if (full_bw_reached_) {
    start_probe_down(now, delivered);
    state_ = State::probe_cruise;
  } else {
    enter_startup();
  }
}

}  // namespace haul::congestion
