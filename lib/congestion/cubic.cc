// CUBIC (RFC 9438) with HyStart++ (RFC 9406), paced as RFC 9002, section 7.7 recommends.
#include <algorithm>
#include <limits>

#include "congestion/cubic_window.h"
#include "congestion/numbers.h"
#include "congestion/path_model.h"
#include "haul/congestion.h"

namespace haul::congestion {

namespace {

/// Finds the end of slow start by rising round trips (RFC 9406, section 4.2).
class HyStart {
 public:
  enum class State : uint8_t { slow_start, conservative, done };

  State state() const noexcept { return state_; }

  /// True when slow start ends with this round.
  bool on_round() noexcept {
    const bool ends = state_ == State::conservative && ++conservative_rounds_ >= max_conservative_rounds;
    if (ends) state_ = State::done;
    last_lowest_ = lowest_;
    lowest_ = unknown;
    samples_ = 0;
    return ends;
  }

  void on_rtt(Duration rtt) noexcept {
    lowest_ = std::min(lowest_, rtt);
    if (++samples_ < min_samples || lowest_ == unknown || last_lowest_ == unknown) return;
    if (state_ == State::slow_start) {
      const Duration threshold = std::clamp(last_lowest_ / rtt_divisor, min_threshold, max_threshold);
      if (lowest_ < last_lowest_ + threshold) return;
      state_ = State::conservative;
      conservative_baseline_ = lowest_;
      conservative_rounds_ = 0;
    } else if (state_ == State::conservative && lowest_ < conservative_baseline_) {
      state_ = State::slow_start;  // the rise was spurious
    }
  }

  /// Loss and timeouts end it for the rest of the path: section 4.3 advises plain slow start after the initial one.
  void end() noexcept { state_ = State::done; }
  void restart() noexcept { *this = HyStart(); }

  static constexpr double conservative_growth_divisor = 4;  // CSS_GROWTH_DIVISOR

 private:
  // RFC 9406, section 4.3.
  static constexpr Duration min_threshold = std::chrono::milliseconds(4);
  static constexpr Duration max_threshold = std::chrono::milliseconds(16);
  static constexpr int rtt_divisor = 8;
  static constexpr uint32_t min_samples = 8;
  static constexpr uint32_t max_conservative_rounds = 5;
  static constexpr Duration unknown = Duration::max();

  State state_ = State::slow_start;
  Duration lowest_ = unknown;
  Duration last_lowest_ = unknown;
  Duration conservative_baseline_ = unknown;
  uint32_t samples_ = 0;
  uint32_t conservative_rounds_ = 0;
};

class Cubic final : public CongestionController {
 public:
  explicit Cubic(const ControllerOptions& options)
      : options_(options),
        packet_(static_cast<double>(options.packet_bytes)),
        window_(static_cast<double>(initial_window(options)), packet_) {}

  std::string_view name() const noexcept override { return "cubic"; }
  std::string_view phase() const noexcept override {
    if (window_.bytes() >= slow_start_threshold_) return "avoidance";
    return hystart_.state() == HyStart::State::conservative ? "conservative" : "slow start";
  }

  void on_ack(TimePoint now, const AckSample& sample) override {
    now = time_.advance(now);
    if (const auto rtt = plausible_rtt(sample.rtt)) {
      rtt_.on_sample(now, *rtt);
      hystart_.on_rtt(*rtt);
    }
    if (rounds_.on_ack(sample) && hystart_.on_round()) slow_start_threshold_ = std::min(slow_start_threshold_, window_.bytes());
    // RFC 3168, section 6.1.2: a mark is answered like a loss, once a round trip.
    if (sample.marked_bytes != 0 && reached(sample.delivered_at_send, recovery_until_delivered_)) {
      congestion(now, sample.delivered_bytes + sample.in_flight_bytes);
    }
    // RFC 9002, section 7.8: a window that is not used does not grow.
    if (sample.app_limited) {
      window_.on_idle();
      return;
    }
    grow(now, static_cast<double>(std::min(sample.acked_bytes, options_.max_window_bytes)));
  }

  void on_loss(TimePoint now, const LossSample& sample) override {
    now = time_.advance(now);
    if (sample.lost_bytes == 0) return;
    // RFC 9002, section 7.3.2: one reduction for all that was sent before it.
    if (in_recovery_ && sample.sent_at <= recovery_at_) return;
    congestion(now, sample.delivered_bytes + sample.in_flight_bytes);
  }

  void on_silence(TimePoint now) override {
    now = time_.advance(now);
    // RFC 9438, section 4.8: as after a retransmission timeout.
    slow_start_threshold_ = std::max(window_.bytes() * CubicWindow::beta, 2 * packet_);
    window_.on_timeout();
    window_.set(packet_);
    hystart_.end();
    in_recovery_ = true;
    recovery_at_ = now;
  }

  void on_path_change(TimePoint) override {
    window_ = CubicWindow(static_cast<double>(initial_window(options_)), packet_);
    slow_start_threshold_ = std::numeric_limits<double>::infinity();
    hystart_.restart();
    rtt_.reset();
    in_recovery_ = false;
  }

  uint64_t window_bytes() const noexcept override {
    return to_bytes(window_.bytes(), options_.packet_bytes, options_.max_window_bytes);
  }
  std::optional<uint64_t> pacing_rate() const noexcept override {
    if (!rtt_.known()) return std::nullopt;
    // RFC 9002, section 7.7: N = 1.25; twice in slow start, so that pacing does not hold its growth back.
    const double gain = window_.bytes() < slow_start_threshold_ ? 2.0 : 1.25;
    return to_rate(gain * window_.bytes() / to_seconds(rtt_.smoothed()));
  }

 private:
  void grow(TimePoint now, double acked) {
    const double highest = static_cast<double>(options_.max_window_bytes);
    if (window_.bytes() < slow_start_threshold_) {
      const bool conservative = hystart_.state() == HyStart::State::conservative;
      const double grown = window_.bytes() + (conservative ? acked / HyStart::conservative_growth_divisor : acked);
      window_.set(std::min({grown, std::max(slow_start_threshold_, window_.bytes()), highest}));
      return;
    }
    window_.on_ack(now, acked, rtt_.smoothed());
    if (window_.bytes() > highest) window_.set(highest);
  }

  void congestion(TimePoint now, uint64_t delivered_at_end) {
    window_.on_congestion();
    // RFC 9002, section 7.2, recommends two packets at least; RFC 9438, section 4.6, goes down to one upon marks.
    if (window_.bytes() < 2 * packet_) window_.set(2 * packet_);
    slow_start_threshold_ = window_.bytes();
    hystart_.end();
    in_recovery_ = true;
    recovery_at_ = now;
    recovery_until_delivered_ = delivered_at_end;
  }

  ControllerOptions options_;
  double packet_;
  CubicWindow window_;
  double slow_start_threshold_ = std::numeric_limits<double>::infinity();
  HyStart hystart_;
  RttEstimator rtt_;
  RoundCounter rounds_;
  Monotonic time_;
  bool in_recovery_ = false;
  TimePoint recovery_at_;
  uint64_t recovery_until_delivered_ = 0;
};

}  // namespace

std::unique_ptr<CongestionController> make_cubic(const ControllerOptions& options) { return std::make_unique<Cubic>(options); }

}  // namespace haul::congestion
