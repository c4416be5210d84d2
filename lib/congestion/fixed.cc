// A constant rate and window.
#include "congestion/numbers.h"
#include "haul/congestion.h"

namespace haul::congestion {

namespace {

class Fixed final : public CongestionController {
 public:
  explicit Fixed(const ControllerOptions& options)
      : rate_(to_rate(static_cast<double>(options.fixed_rate))),
        given_window_bytes_(options.fixed_window_bytes),
        initial_window_bytes_(initial_window(options)),
        min_window_bytes_(uint64_t{2} * options.packet_bytes),
        max_window_bytes_(options.max_window_bytes) {}

  std::string_view name() const noexcept override { return "fixed"; }
  std::string_view phase() const noexcept override { return "fixed"; }

  void on_ack(TimePoint, const AckSample& sample) override {
    if (const auto rtt = plausible_rtt(sample.rtt)) min_rtt_ = min_rtt_ == Duration::zero() ? *rtt : std::min(min_rtt_, *rtt);
  }
  void on_loss(TimePoint, const LossSample&) override {}
  void on_silence(TimePoint) override {}
  void on_path_change(TimePoint) override { min_rtt_ = Duration::zero(); }

  uint64_t window_bytes() const noexcept override {
    const uint64_t lowest = std::max(min_window_bytes_, initial_window_bytes_);
    if (given_window_bytes_ != 0) return std::clamp(given_window_bytes_, min_window_bytes_, max_window_bytes_);
    return to_bytes(2.0 * static_cast<double>(rate_) * to_seconds(min_rtt_), std::min(lowest, max_window_bytes_),
                    max_window_bytes_);
  }
  std::optional<uint64_t> pacing_rate() const noexcept override { return rate_; }

 private:
  uint64_t rate_;
  uint64_t given_window_bytes_;
  uint64_t initial_window_bytes_;
  uint64_t min_window_bytes_;
  uint64_t max_window_bytes_;
  Duration min_rtt_ = Duration::zero();
};

}  // namespace

std::unique_ptr<CongestionController> make_fixed(const ControllerOptions& options) { return std::make_unique<Fixed>(options); }

}  // namespace haul::congestion
