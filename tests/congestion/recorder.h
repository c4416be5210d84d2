// A controller that remembers what it is told.
#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "haul/congestion.h"

namespace haul::congestion {

/// Remembers what it is told, in order.
struct Recorder final : CongestionController {
  std::string_view name() const noexcept override { return "recorder"; }
  std::string_view phase() const noexcept override { return "recording"; }
  void on_ack(TimePoint, const AckSample& sample) override {
    acks.push_back(sample);
    order += 'a';
  }
  void on_loss(TimePoint, const LossSample& sample) override {
    losses.push_back(sample);
    order += 'l';
  }
  void on_silence(TimePoint) override { order += 's'; }
  uint64_t window_bytes() const noexcept override { return window; }
  std::optional<uint64_t> pacing_rate() const noexcept override { return rate; }
  auto silences() const { return std::count(order.begin(), order.end(), 's'); }

  std::vector<AckSample> acks;
  std::vector<LossSample> losses;
  std::string order;  ///< 'a', 'l' or 's' for each
  uint64_t window = 1'000'000;
  std::optional<uint64_t> rate = 10'000'000;
};

}  // namespace haul::congestion
