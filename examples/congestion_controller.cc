// A congestion controller of one's own: additive increase, halved by loss. It is driven here by a path of a hundred packets a
// round trip, written out by hand; the simulator drives it in the same way.
#include <haul/congestion.h>

#include <algorithm>
#include <iostream>

class Halving final : public haul::CongestionController {
 public:
  explicit Halving(const haul::ControllerOptions& options) : options_(options), window_(10.0 * options.packet_bytes) {}

  std::string_view name() const noexcept override { return "halving"; }
  std::string_view phase() const noexcept override { return "avoidance"; }

  void on_ack(haul::TimePoint, const haul::AckSample& sample) override {
    // One packet a round trip: a window's worth of acknowledgements.
    if (!sample.app_limited) window_ += 1.0 * options_.packet_bytes * static_cast<double>(sample.acked_bytes) / window_;
  }
  void on_loss(haul::TimePoint now, const haul::LossSample& sample) override {
    if (sample.sent_at < halved_at_) return;  // the same congestion as the last time
    window_ = std::max(window_ / 2, 2.0 * options_.packet_bytes);
    halved_at_ = now;
  }
  void on_silence(haul::TimePoint) override { window_ = 2.0 * options_.packet_bytes; }

  uint64_t window_bytes() const noexcept override {
    return std::min(static_cast<uint64_t>(window_), options_.max_window_bytes);
  }
  std::optional<uint64_t> pacing_rate() const noexcept override { return std::nullopt; }  // as the window allows

 private:
  haul::ControllerOptions options_;
  double window_;
  haul::TimePoint halved_at_;
};

int main() {
  constexpr uint64_t path_bytes = 100 * 1448;
  Halving controller({});
  haul::TimePoint now{std::chrono::seconds(1)};
  uint64_t delivered = 0;
  for (int round = 0; round < 500; ++round) {
    const haul::TimePoint sent_at = now;
    const uint64_t sent = controller.window_bytes();
    const uint64_t arrived = std::min(sent, path_bytes);
    now += std::chrono::milliseconds(20);
    haul::LossSample loss;
    loss.lost_bytes = sent - arrived;
    loss.sent_at = sent_at;
    if (loss.lost_bytes > 0) controller.on_loss(now, loss);
    haul::AckSample ack;
    ack.acked_bytes = arrived;
    ack.delivered_bytes = delivered += arrived;
    controller.on_ack(now, ack);
  }
  const double use = static_cast<double>(delivered) / (500.0 * path_bytes);
  std::cout << "used " << static_cast<int>(100 * use) << " % of the path\n";
  return use > 0.7 ? 0 : 1;
}
