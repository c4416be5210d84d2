// `hub`: haul's own controller for bulk between hubs. docs/congestion-control.md explains it; the phases in one place:
//
//   startup   doubles every round trip until a queue, a plateau or heavy loss shows; with a remembered path it jumps (after
//             RFC 9959), and retreats when the path does not carry that
//   drain     sends half until no more is in flight than the path holds; also to try whether a queue is somebody else's
//   steady    sends what arrives, corrected by how far the queue is from its target
//   dip       holds back for a moment, so that the queue is seen empty and the lowest round trip stays true
//   compete   somebody else keeps the queue full: a window as CUBIC's, until the queue is found drainable again
//   silent    nothing is acknowledged: an outage
#pragma once

#include <array>
#include <optional>

#include "congestion/cubic_window.h"
#include "congestion/hub_signals.h"
#include "congestion/numbers.h"
#include "haul/congestion.h"

namespace haul::congestion {

class Hub final : public CongestionController {
 public:
  explicit Hub(const ControllerOptions& options);

  std::string_view name() const noexcept override { return "hub"; }
  std::string_view phase() const noexcept override;
  void on_sent(TimePoint now, uint64_t bytes, uint64_t in_flight_bytes) override;
  void on_ack(TimePoint now, const AckSample& sample) override;
  void on_loss(TimePoint now, const LossSample& sample) override;
  void on_silence(TimePoint now) override;
  void on_path_change(TimePoint now) override;
  uint64_t window_bytes() const noexcept override;
  std::optional<uint64_t> pacing_rate() const noexcept override;
  std::optional<PathMemory> memory() const noexcept override;
  bool memory_failed() const noexcept override { return memory_failed_; }

 private:
  enum class Phase : uint8_t { startup, drain, steady, dip, compete };
  enum class Resume : uint8_t { none, waiting, unvalidated, validating, retreating };

  // Startup and careful resume (hub_startup.cc).
  void enter_startup();
  struct Ends {
    bool round = false;
    bool quarter = false;
  };
  struct Look {
    double rate = 0;                         // over a round trip
    Duration lowest_rtt = Duration::zero();  // of its last quarter
  };
  void startup_ack(TimePoint now, const AckSample& sample, Ends ends);
  bool startup_is_full(const AckSample& sample, Ends ends);
  bool queue_begins(Duration rtt) const;
  bool queue_grows_only(bool limited);
  void resume_ack(TimePoint now, const AckSample& sample);
  void await_initial_data(TimePoint now, const AckSample& sample);
  void lose_initial_data(double lost);
  void end_jump(const AckSample& sample);
  void retreat(const AckSample& sample);
  void end_retreat(TimePoint now);
  void abandon_resume();
  bool round_overflowed() const;
  void leave_startup(TimePoint now, double rate, double in_flight);

  // The other phases (hub.cc).
  void on_quarter(TimePoint now, const AckSample& sample);
  void enter_drain(TimePoint now, double rate);
  void drain_ack(TimePoint now, const AckSample& sample);
  void enter_steady(TimePoint now);
  void steady_quarter(TimePoint now, const AckSample& sample);
  void judge_losses(TimePoint now);
  void steer(Duration queue, const QuarterRounds::Quarter& last);
  bool finds_rival(TimePoint now, Duration queue, const AckSample& sample);
  void consider_dip(TimePoint now, Duration queue);
  void judge_dip(Duration queue);
  void start_trial(TimePoint now, double rate);
  bool trial_finds_rival(TimePoint now, Duration queue);
  void enter_compete(TimePoint now);
  void compete_ack(TimePoint now, const AckSample& sample);
  bool beside_rival() const noexcept { return phase_ == Phase::compete || tries_; }

  Duration target_queue(double rate) const noexcept;
  Duration target_queue() const noexcept { return target_queue(rate_); }
  Duration lowest_rtt() const noexcept;
  Duration recent_rtt() const noexcept;
  double path_bytes() const noexcept { return rate_ * to_seconds(lowest_rtt()); }

  ControllerOptions options_;
  double packet_;
  Monotonic time_;
  RoundCounter rounds_;
  LowestRtt lowest_;
  QuarterRounds quarters_;
  LossJudge losses_;
  Phase phase_ = Phase::startup;
  bool silent_ = false;
  TimePoint silent_since_;
  TimePoint last_ack_at_;

  // The path: what arrives (bytes per second), and how much faster or slower to send.
  double rate_ = 0;
  double peak_rate_ = 0;
  double correction_ = 0;
  double marks_ = 0;  // share of packets marked, averaged
  uint32_t empty_quarters_ = 0;
  Duration queue_limit_ = Duration::max();     // a part of what the path's buffer was seen to hold
  Duration queue_at_loss_ = Duration::zero();  // when the newest test began
  TimePoint measure_from_;                     // before that, quarters show what we did and not what the path can

  // Startup.
  double window_ = 0;
  Plateau plateau_;
  std::array<Look, 2> looks_{};  // two quarters ago, and one
  double round_lost_ = 0;
  double round_delivered_ = 0;
  double startup_bytes_ = 0;                 // in flight at its end, until the first dip
  Duration longest_rtt_ = Duration::zero();  // of the start; later, beside a rival
  std::optional<PathMemory> memory_;
  double startup_limit_ = 0;  // where a retreat ends doubling; 0: nowhere

  // Careful resume.
  Resume resume_ = Resume::none;
  double initial_sent_ = 0;  // before anything was acknowledged
  double initial_acked_ = 0;
  double initial_lost_ = 0;
  Duration first_rtt_ = Duration::max();  // the lowest of the initial data
  double pipe_bytes_ = 0;                 // RFC 9959: PipeSize
  TimePoint jump_until_;
  uint64_t jump_delivered_ = 0;  // what is sent from here on was sent in the jump; then: after it
  bool memory_failed_ = false;

  // Drain, and the queue of others.
  TimePoint drain_until_;
  TimePoint grace_until_;
  Duration queue_was_ = Duration::zero();
  TimePoint queue_seen_at_;
  TimePoint long_since_;
  TimePoint pressed_since_;
  bool holds_ = false;

  // Dips.
  TimePoint next_dip_;
  TimePoint dip_until_;
  TimePoint dip_judged_at_;
  Duration queue_before_dip_ = Duration::zero();
  Duration lowest_queue_ = Duration::max();  // since the last dip
  double dip_depth_ = 1.5;
  bool dip_pending_ = false;

  // Beside a rival.
  CubicWindow rival_window_;
  TimePoint recovery_at_;
  TimePoint next_trial_;
  bool tries_ = false;  // whether a queue is a rival's
  bool beside_known_rival_ = false;
  TimePoint trial_until_;
};

}  // namespace haul::congestion
