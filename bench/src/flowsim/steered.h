// A controller that is driven as the engine drives one over kernel TCP: it hears of a flow a few times a round trip, and what
// it says then holds until the next time.
#pragma once

#include <memory>
#include <optional>
#include <utility>

#include "congestion/sampled_path.h"
#include "haul/congestion.h"

namespace flowsim {

/// Between a sender, whose events it gathers as the kernel does, and a controller that hears of them from a SampledPath with
/// one lane.
class Steered final : public haul::CongestionController {
 public:
  Steered(std::unique_ptr<haul::CongestionController> controller, uint64_t initial_window_bytes)
      : controller_(controller.get()), window_(initial_window_bytes) {
    path_.steer_by(std::move(controller));
    path_.add_lane(lane, true);
  }

  std::string_view name() const noexcept override { return controller_->name(); }
  std::string_view phase() const noexcept override { return controller_->phase(); }
  void on_sent(haul::TimePoint now, uint64_t bytes, uint64_t in_flight_bytes) override {
    sample_.bytes_sent += bytes;
    sample_.bytes_in_flight = in_flight_bytes;
    path_.stir(now);
    look(now);
  }
  void on_ack(haul::TimePoint now, const haul::AckSample& sample) override {
    haul::AckSample& sum = ack_ ? *ack_ : ack_.emplace();
    sum.acked_bytes += sample.acked_bytes;
    sum.marked_bytes += sample.marked_bytes;
    if (sample.rtt > haul::Duration::zero()) sum.rtt = sample.rtt;
    sample_.bytes_in_flight = sample.in_flight_bytes;
    sample_.app_limited = sample.app_limited;
    look(now);
  }
  void on_loss(haul::TimePoint, const haul::LossSample& sample) override {
    if (!loss_) loss_.emplace();
    loss_->lost_bytes += sample.lost_bytes;
    sample_.bytes_in_flight = sample.in_flight_bytes;
  }
  void on_silence(haul::TimePoint now) override {
    timed_out_ = true;
    look(now);
  }
  uint64_t window_bytes() const noexcept override { return window_; }
  std::optional<uint64_t> pacing_rate() const noexcept override { return rate_; }
  std::optional<haul::PathMemory> memory() const noexcept override { return controller_->memory(); }
  bool memory_failed() const noexcept override { return controller_->memory_failed(); }

 private:
  static constexpr haul::congestion::SampledPath::LaneNumber lane = 0;

  void look(haul::TimePoint now) {
    if (!path_.due(now)) return;
    haul::LaneReport report;
    report.at = now;
    report.timed_out = std::exchange(timed_out_, false);
    report.loss = std::exchange(loss_, std::nullopt);
    report.ack = std::exchange(ack_, std::nullopt);
    report.obeyed = true;
    path_.take(lane, sample_, report);
    path_.settle(now);
    if (const auto told = path_.command(lane)) {
      window_ = told->path_bytes.value_or(window_);
      rate_ = told->rate_bytes_s;
    }
  }

  haul::congestion::SampledPath path_;
  haul::CongestionController* controller_;
  uint64_t window_;
  std::optional<uint64_t> rate_;
  haul::PathSample sample_;
  std::optional<haul::AckSample> ack_;
  std::optional<haul::LossSample> loss_;
  bool timed_out_ = false;
};

}  // namespace flowsim
