// Swift (Kumar et al., "Swift: Delay is Simple and Effective for Congestion Control in the Datacenter", SIGCOMM 2020).
#include <algorithm>
#include <cmath>

#include "congestion/numbers.h"
#include "congestion/path_model.h"
#include "haul/congestion.h"

namespace haul::congestion {

namespace {

// Section 3.5, but base and hops are the lowest round trip and a queue: nobody tells us the hops. The paper gives few values;
// 25 us is its testbed's base target (5.1), the smallest window 0.001 packets (3.4). The others are ours. No endpoint window
// (3.3).
constexpr double base_queue_s = 25e-6;
constexpr double most_flow_scaling_s = 100e-6;
constexpr double least_scaled_window = 0.1;  // packets
constexpr double most_scaled_window = 100;
constexpr double additive_increase = 1.0;  // packets a round trip
constexpr double decrease = 0.8;           // beta
constexpr double most_decrease = 0.5;      // max_mdf
constexpr double least_window_packets = 0.001;
constexpr uint32_t silences_to_reset = 5;  // RETX_RESET_THRESHOLD

class Swift final : public CongestionController {
 public:
  explicit Swift(const ControllerOptions& options)
      : options_(options),
        packet_(static_cast<double>(options.packet_bytes)),
        window_(static_cast<double>(initial_window(options)) / packet_) {
    const double root_low = 1 / std::sqrt(least_scaled_window);
    const double root_high = 1 / std::sqrt(most_scaled_window);
    scaling_alpha_ = most_flow_scaling_s / (root_low - root_high);
    scaling_beta_ = -scaling_alpha_ * root_high;
  }

  std::string_view name() const noexcept override { return "swift"; }
  std::string_view phase() const noexcept override { return above_target_ ? "decrease" : "increase"; }

  void on_ack(TimePoint now, const AckSample& sample) override {
    now = time_.advance(now);
    silences_ = 0;
    const auto rtt = plausible_rtt(sample.rtt);
    if (!rtt) return;
    rtt_.on_sample(now, *rtt);
    const double delay = to_seconds(*rtt);
    const double target = target_delay();
    above_target_ = delay >= target;
    const double acked = static_cast<double>(std::min(sample.acked_bytes, options_.max_window_bytes)) / packet_;
    if (!above_target_) {
      // Algorithm 1, lines 7 to 10. A window that the sender does not use does not grow.
      if (!sample.app_limited) window_ += window_ >= 1 ? additive_increase * acked / window_ : additive_increase * acked;
    } else if (may_decrease(now)) {
      // Lines 11 to 14.
      shrink(now, std::max(1 - decrease * (delay - target) / delay, 1 - most_decrease));
    }
    bound();
  }

  void on_loss(TimePoint now, const LossSample& sample) override {
    now = time_.advance(now);
    if (sample.lost_bytes == 0 || !may_decrease(now)) return;
    shrink(now, 1 - most_decrease);
    bound();
  }

  void on_silence(TimePoint now) override {
    now = time_.advance(now);
    if (++silences_ >= silences_to_reset) {
      window_ = least_window_packets;
    } else if (may_decrease(now)) {
      shrink(now, 1 - most_decrease);
    }
    bound();
  }

  void on_path_change(TimePoint) override {
    rtt_.reset();
    window_ = static_cast<double>(initial_window(options_)) / packet_;
  }

  uint64_t window_bytes() const noexcept override {
    return to_bytes(window_ * packet_, options_.packet_bytes, options_.max_window_bytes);
  }
  std::optional<uint64_t> pacing_rate() const noexcept override {
    if (!rtt_.known()) return std::nullopt;
    // Section 3.4: windows below one packet are paced; above, the paper has acknowledgements clock alone, and our pacing only
    // breaks bursts.
    const double gain = window_ < 1 ? 1.0 : 1.25;
    return to_rate(gain * window_ * packet_ / to_seconds(rtt_.smoothed()));
  }

 private:
  double target_delay() const {
    const double scaling = scaling_alpha_ / std::sqrt(window_) + scaling_beta_;
    return to_seconds(rtt_.lowest()) + base_queue_s + std::clamp(scaling, 0.0, most_flow_scaling_s);
  }
  bool may_decrease(TimePoint now) const { return now - decreased_at_ >= rtt_.smoothed(); }
  void shrink(TimePoint now, double factor) {
    window_ *= factor;
    decreased_at_ = now;
  }
  void bound() {
    window_ = std::clamp(window_, least_window_packets, static_cast<double>(options_.max_window_bytes) / packet_);
  }

  ControllerOptions options_;
  double packet_;
  double window_;  // packets
  double scaling_alpha_ = 0;
  double scaling_beta_ = 0;
  RttEstimator rtt_;
  Monotonic time_;
  TimePoint decreased_at_;
  uint32_t silences_ = 0;
  bool above_target_ = false;
};

}  // namespace

std::unique_ptr<CongestionController> make_swift(const ControllerOptions& options) { return std::make_unique<Swift>(options); }

}  // namespace haul::congestion
