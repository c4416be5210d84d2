// BBR version 3 after draft-ietf-ccwg-bbr-06. Names follow the draft; sections are cited where they are used. Left out: undo
// of spurious recovery (5.5.11), app-limited marking in ProbeRTT (5.3.4.3), cwnd kept through fast recovery (5.6.4.4), random
// draws. Simpler: what limits cwnd is asked of the last packet (2.2: of a round), the app-limited mark of a loss is that of the
// last acknowledgement (5.5.10.2), nothing is paced before the first round trip (5.6.2), probing down ends by bw instead of
// max_bw, and aggregation is remembered for 1 to 2, then 5 to 10 rounds (5.5.9: for 1, then 10). Where something else than the
// application holds the sender back, a plateau takes 16 rounds (5.3.1.2: 3).
#pragma once

#include <array>
#include <limits>
#include <optional>

#include "congestion/numbers.h"
#include "haul/congestion.h"

namespace haul::congestion {

class Bbr final : public CongestionController {
 public:
  explicit Bbr(const ControllerOptions& options);

  std::string_view name() const noexcept override { return "bbr"; }
  std::string_view phase() const noexcept override;
  void on_sent(TimePoint now, uint64_t bytes, uint64_t in_flight_bytes) override;
  void on_ack(TimePoint now, const AckSample& sample) override;
  void on_loss(TimePoint now, const LossSample& sample) override;
  void on_silence(TimePoint now) override;
  void on_path_change(TimePoint now) override;
  uint64_t window_bytes() const noexcept override;
  std::optional<uint64_t> pacing_rate() const noexcept override;

 private:
  // Sections 2.5 and 2.8.
  static constexpr double loss_threshold = 0.02;
  static constexpr double beta = 0.7;
  static constexpr double min_pipe_packets = 4;
  static constexpr double infinity = std::numeric_limits<double>::infinity();
  enum class State : uint8_t { startup, drain, probe_down, probe_cruise, probe_refill, probe_up, probe_rtt };
  enum class AckPhase : uint8_t { init, refilling, starting, feedback, stopping };

  // bbr.cc: the model.
  void update_latest_delivery_signals(const AckSample& sample);
  void advance_latest_delivery_signals(const AckSample& sample);
  void update_congestion_signals(const AckSample& sample);
  void update_ack_aggregation(TimePoint now, const AckSample& sample);
  void check_full_bandwidth(const AckSample& sample);
  void check_startup_high_loss();
  void update_min_rtt(TimePoint now, const AckSample& sample);
  void reset_short_term_model();
  void reset_congestion_signals();
  void reset_full_bandwidth();
  void set_pacing_rate(double gain);
  void set_window(const AckSample& sample);
  void bound_window_for_model();
  double bdp(double gain) const;
  double with_quantum(double bytes) const;
  double send_quantum() const;

  // bbr_probe.cc: the state machine.
  void enter_startup();
  void enter_drain();
  void start_probe_down(TimePoint now, uint64_t delivered);
  void start_probe_refill(uint64_t delivered);
  void start_probe_up(const AckSample& sample);
  void update_probe_cycle(TimePoint now, const AckSample& sample);
  bool adapt_long_term_model(const AckSample& sample);
  bool is_time_to_probe(TimePoint now, uint64_t delivered);
  bool is_time_to_go_down(const AckSample& sample);
  void raise_inflight_slope();
  void probe_inflight_upward(const AckSample& sample);
  void handle_inflight_too_high(const LossSample& sample);
  void check_probe_rtt(TimePoint now, const AckSample& sample);
  void check_probe_rtt_done(TimePoint now, uint64_t delivered);
  void pick_probe_wait();
  bool in_probe_state() const;
  double inflight_with_headroom() const;
  double probe_rtt_window() const;
  double cwnd_gain() const;
  double pacing_gain() const;

  ControllerOptions options_;
  double packet_;
  Monotonic time_;
  RoundCounter rounds_;
  bool round_start_ = false;
  State state_ = State::startup;
  double cwnd_;
  double pacing_ = 0;
  double prior_cwnd_ = 0;

  // Network path model.
  std::array<double, 2> max_bw_filter_{};  // the ProbeBW cycle before, and this one (section 5.5.6)
  double bw_latest_ = 0;
  double inflight_latest_ = 0;
  double bw_shortterm_ = infinity;
  double inflight_shortterm_ = infinity;
  double inflight_longterm_ = infinity;
  double bw_ = 0;
  uint64_t loss_round_delivered_ = 0;
  bool loss_round_start_ = false;
  bool loss_in_round_ = false;
  double round_lost_ = 0;
  uint32_t round_loss_events_ = 0;
  double round_delivered_ = 0;
  bool had_loss_last_round_ = false;

  // Full pipe.
  bool full_bw_reached_ = false;
  bool full_bw_now_ = false;
  Plateau full_bw_;

  // Aggregation of acknowledgements.
  TimePoint extra_acked_since_;
  double extra_acked_delivered_ = 0;
  std::array<double, 2> extra_acked_filter_{};
  uint64_t extra_acked_round_ = 0;

  // ProbeBW.
  AckPhase ack_phase_ = AckPhase::init;
  TimePoint cycle_at_;
  Duration probe_wait_ = Duration::zero();
  uint64_t rounds_at_cycle_ = 0;
  uint64_t drain_start_round_ = 0;
  uint32_t probe_up_rounds_ = 0;
  double probe_up_acked_ = 0;
  double probe_up_acked_per_inc_ = infinity;
  bool bw_probe_sample_ = false;
  bool prev_probe_too_high_ = false;
  bool prev_probe_precautionary_ = false;
  bool cwnd_limited_ = false;
  uint64_t cycles_ = 0;

  // ProbeRTT.
  Duration min_rtt_ = Duration::max();
  TimePoint min_rtt_at_;
  Duration probe_rtt_min_ = Duration::max();
  TimePoint probe_rtt_min_at_;
  bool probe_rtt_expired_ = false;
  std::optional<TimePoint> probe_rtt_done_at_;
  bool probe_rtt_round_done_ = false;
  bool idle_restart_ = false;
  bool was_app_limited_ = false;
  bool in_rto_ = false;
};

}  // namespace haul::congestion
