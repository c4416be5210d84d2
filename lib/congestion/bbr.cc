// BBR: the model of the path, and the window and rate that follow from it.
#include "congestion/bbr.h"

#include <algorithm>

namespace haul::congestion {

namespace {

// Sections 2.5, 2.8, 2.12 and 2.16; startup_full_loss_count: 5.3.1.3.
constexpr double startup_pacing_gain = 2.77;
constexpr double pacing_margin = 0.99;
constexpr uint32_t startup_full_loss_count = 6;
constexpr Duration min_rtt_filter = std::chrono::seconds(10);
constexpr Duration probe_rtt_interval = std::chrono::seconds(5);
constexpr uint64_t extra_acked_filter_rounds = 10;

}  // namespace

Bbr::Bbr(const ControllerOptions& options)
    : options_(options),
      packet_(static_cast<double>(options.packet_bytes)),
      cwnd_(static_cast<double>(initial_window(options))) {
  enter_startup();
}

std::string_view Bbr::phase() const noexcept {
  switch (state_) {
    case State::startup: return "startup";
    case State::drain: return "drain";
    case State::probe_down: return "probe down";
    case State::probe_cruise: return "cruise";
    case State::probe_refill: return "refill";
    case State::probe_up: return "probe up";
    case State::probe_rtt: return "probe rtt";
  }
  return "startup";
}

// Section 5.2.2 and 5.4.1.
void Bbr::on_sent(TimePoint now, uint64_t bytes, uint64_t in_flight_bytes) {
  now = time_.advance(now);
  cwnd_limited_ = static_cast<double>(in_flight_bytes) + packet_ > cwnd_;
  if (in_flight_bytes > bytes || !was_app_limited_) return;
  idle_restart_ = true;
  extra_acked_since_ = now;
  if (in_probe_state()) {
    set_pacing_rate(1.0);
  } else if (state_ == State::probe_rtt) {
    check_probe_rtt_done(now, loss_round_delivered_);
  }
}

// Section 5.2.3.
void Bbr::on_ack(TimePoint now, const AckSample& sample) {
  now = time_.advance(now);
  was_app_limited_ = sample.app_limited;
  round_start_ = rounds_.on_ack(sample);
  if (in_rto_) {
    in_rto_ = false;
    cwnd_ = std::max(cwnd_, prior_cwnd_);
  }
  round_delivered_ += static_cast<double>(sample.acked_bytes);
  update_latest_delivery_signals(sample);
  update_congestion_signals(sample);
  update_ack_aggregation(now, sample);
  check_full_bandwidth(sample);
  if (state_ == State::startup) check_startup_high_loss();
  if (state_ == State::startup && full_bw_reached_) enter_drain();
  // Section 5.3.2.
  const bool drained = static_cast<double>(sample.in_flight_bytes) <= with_quantum(bdp(1.0));
  if (state_ == State::drain && (drained || rounds_.rounds() > drain_start_round_ + 3))
    start_probe_down(now, sample.delivered_bytes);
  update_probe_cycle(now, sample);
  update_min_rtt(now, sample);
  check_probe_rtt(now, sample);
  advance_latest_delivery_signals(sample);
  bw_ = std::min(std::max(max_bw_filter_[0], max_bw_filter_[1]), bw_shortterm_);
  set_pacing_rate(pacing_gain());
  set_window(sample);
  if (round_start_) {
    had_loss_last_round_ = round_loss_events_ > 0;
    round_lost_ = round_delivered_ = 0;
    round_loss_events_ = 0;
  }
}

// Section 5.5.10.2.
void Bbr::on_loss(TimePoint now, const LossSample& sample) {
  time_.advance(now);
  if (sample.lost_bytes == 0) return;
  if (!loss_in_round_) loss_round_delivered_ = sample.delivered_bytes;
  loss_in_round_ = true;
  round_lost_ += static_cast<double>(sample.lost_bytes);
  ++round_loss_events_;
  if (!bw_probe_sample_) return;
  const bool too_high =
      static_cast<double>(sample.lost_since_send) > static_cast<double>(sample.in_flight_at_send) * loss_threshold;
  if (too_high) handle_inflight_too_high(sample);
}

// Section 5.6.4.4, upon a retransmission timeout: room for one packet (the draft: inflight + 1). The next acknowledgement
// ends it (the draft: the end of recovery).
void Bbr::on_silence(TimePoint now) {
  time_.advance(now);
  prior_cwnd_ = in_rto_ ? std::max(prior_cwnd_, cwnd_) : cwnd_;
  in_rto_ = true;
  cwnd_ = packet_;
}

void Bbr::on_path_change(TimePoint now) {
  const ControllerOptions options = options_;
  *this = Bbr(options);
  time_.advance(now);
}

uint64_t Bbr::window_bytes() const noexcept { return to_bytes(cwnd_, options_.packet_bytes, options_.max_window_bytes); }

std::optional<uint64_t> Bbr::pacing_rate() const noexcept {
  if (pacing_ <= 0) return std::nullopt;
  return to_rate(pacing_);
}

// --- Delivery and congestion (section 5.5.10.3) ----------------------------------------------------------------------------

void Bbr::update_latest_delivery_signals(const AckSample& sample) {
  loss_round_start_ = false;
  bw_latest_ = std::max(bw_latest_, static_cast<double>(sample.delivery_rate));
  inflight_latest_ = std::max(inflight_latest_, static_cast<double>(sample.delivered_bytes - sample.delivered_at_send));
  if (reached(sample.delivered_at_send, loss_round_delivered_)) {
    loss_round_delivered_ = sample.delivered_bytes;
    loss_round_start_ = true;
  }
}

void Bbr::advance_latest_delivery_signals(const AckSample& sample) {
  if (!loss_round_start_) return;
  bw_latest_ = static_cast<double>(sample.delivery_rate);
  inflight_latest_ = static_cast<double>(sample.delivered_bytes - sample.delivered_at_send);
}

void Bbr::update_congestion_signals(const AckSample& sample) {
  // Section 5.5.5.
  const auto rate = static_cast<double>(sample.delivery_rate);
  if (rate > 0 && (!sample.app_limited || rate >= std::max(max_bw_filter_[0], max_bw_filter_[1]))) {
    max_bw_filter_[1] = std::max(max_bw_filter_[1], rate);
  }
  if (!loss_round_start_) return;
  const bool probing = state_ == State::startup || state_ == State::probe_refill || state_ == State::probe_up;
  if (!probing && loss_in_round_) {
    if (bw_shortterm_ == infinity) bw_shortterm_ = std::max(max_bw_filter_[0], max_bw_filter_[1]);
    if (inflight_shortterm_ == infinity) inflight_shortterm_ = cwnd_;
    bw_shortterm_ = std::max(bw_latest_, beta * bw_shortterm_);
    inflight_shortterm_ = std::max(inflight_latest_, beta * inflight_shortterm_);
  }
  loss_in_round_ = false;
}

void Bbr::reset_short_term_model() { bw_shortterm_ = inflight_shortterm_ = infinity; }

void Bbr::reset_congestion_signals() {
  loss_in_round_ = false;
  bw_latest_ = inflight_latest_ = 0;
}

// Section 5.5.9.
void Bbr::update_ack_aggregation(TimePoint now, const AckSample& sample) {
  double expected = bw_ * to_seconds(now - extra_acked_since_);
  if (extra_acked_delivered_ <= expected) {
    extra_acked_delivered_ = 0;
    extra_acked_since_ = now;
    expected = 0;
  }
  extra_acked_delivered_ += static_cast<double>(sample.acked_bytes);
  const double extra = std::min(extra_acked_delivered_ - expected, cwnd_);
  const uint64_t window = full_bw_reached_ ? extra_acked_filter_rounds : 2;
  if (rounds_.rounds() - extra_acked_round_ >= window / 2) {
    extra_acked_filter_ = {extra_acked_filter_[1], 0};
    extra_acked_round_ = rounds_.rounds();
  }
  extra_acked_filter_[1] = std::max(extra_acked_filter_[1], extra);
}

// --- Full pipe (section 5.3.1) ---------------------------------------------------------------------------------------------

void Bbr::reset_full_bandwidth() {
  full_bw_.reset();
  full_bw_now_ = false;
}

void Bbr::check_full_bandwidth(const AckSample& sample) {
  if (full_bw_now_ || !round_start_ || !bounded(sample)) return;
  full_bw_now_ = full_bw_.on_round(static_cast<double>(sample.delivery_rate), sample.held_back);
  full_bw_reached_ |= full_bw_now_;
}

void Bbr::check_startup_high_loss() {
  // A round in recovery before this one, more than 2 % lost, in at least six places.
  if (!round_start_ || !had_loss_last_round_ || round_loss_events_ < startup_full_loss_count) return;
  if (round_lost_ <= loss_threshold * (round_lost_ + round_delivered_)) return;
  full_bw_reached_ = true;
  inflight_longterm_ = std::max(bdp(1.0), inflight_latest_);
}

// --- Round trips (section 5.3.4.3) -----------------------------------------------------------------------------------------

void Bbr::update_min_rtt(TimePoint now, const AckSample& sample) {
  probe_rtt_expired_ = probe_rtt_min_ != Duration::max() && now > probe_rtt_min_at_ + probe_rtt_interval;
  const auto rtt = plausible_rtt(sample.rtt);
  if (rtt && (*rtt < probe_rtt_min_ || probe_rtt_expired_)) {
    probe_rtt_min_ = *rtt;
    probe_rtt_min_at_ = now;
  }
  if (probe_rtt_min_ < min_rtt_ || now > min_rtt_at_ + min_rtt_filter) {
    min_rtt_ = probe_rtt_min_;
    min_rtt_at_ = probe_rtt_min_at_;
  }
}

// --- Control parameters (section 5.6) --------------------------------------------------------------------------------------

double Bbr::bdp(double gain) const {
  if (min_rtt_ == Duration::max()) return static_cast<double>(initial_window(options_));
  return gain * bw_ * to_seconds(min_rtt_);
}

double Bbr::send_quantum() const { return std::clamp(pacing_ * 1e-3, 2 * packet_, std::max(65536.0, 2 * packet_)); }

double Bbr::with_quantum(double bytes) const {
  const double least = std::max({bytes, 3 * send_quantum(), min_pipe_packets * packet_});
  return state_ == State::probe_up ? least + 2 * packet_ : least;
}

void Bbr::set_pacing_rate(double gain) {
  if (bw_ <= 0) {
    if (min_rtt_ == Duration::max()) return;
    pacing_ = startup_pacing_gain * static_cast<double>(initial_window(options_)) / to_seconds(min_rtt_);
    return;
  }
  const double rate = std::min(gain * bw_ * pacing_margin, max_rate_bytes_s);
  if (full_bw_reached_ || rate > pacing_) pacing_ = rate;
}

void Bbr::set_window(const AckSample& sample) {
  const double max_inflight = with_quantum(bdp(cwnd_gain()) + std::max(extra_acked_filter_[0], extra_acked_filter_[1]));
  const auto acked = static_cast<double>(sample.acked_bytes);
  if (full_bw_reached_) {
    cwnd_ = std::min(cwnd_ + acked, max_inflight);
  } else if (cwnd_ < max_inflight || sample.delivered_bytes < initial_window(options_)) {
    cwnd_ += acked;
  }
  cwnd_ = std::min(std::max(cwnd_, min_pipe_packets * packet_), static_cast<double>(options_.max_window_bytes));
  if (state_ == State::probe_rtt) cwnd_ = std::min(cwnd_, probe_rtt_window());
  bound_window_for_model();
}

// Section 5.6.4.7.
void Bbr::bound_window_for_model() {
  double cap = infinity;
  if (in_probe_state() && state_ != State::probe_cruise) {
    cap = inflight_longterm_;
  } else if (state_ == State::probe_rtt || state_ == State::probe_cruise) {
    cap = inflight_with_headroom();
  }
  cap = std::max(std::min(cap, inflight_shortterm_), min_pipe_packets * packet_);
  cwnd_ = std::min(cwnd_, cap);
}

std::unique_ptr<CongestionController> make_bbr(const ControllerOptions& options) { return std::make_unique<Bbr>(options); }

}  // namespace haul::congestion
