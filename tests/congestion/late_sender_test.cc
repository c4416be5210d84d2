// `hub` over a sender whose machine has too little time for it, by events written out by hand.
#include <algorithm>
#include <catch2/catch.hpp>
#include <deque>
#include <memory>

#include "haul/congestion.h"

namespace {

using namespace std::chrono_literals;
using haul::AckSample;
using haul::TimePoint;

constexpr uint64_t packet = 1000;
constexpr double path_bytes_s = 60e6;

/// A path of 100 ms, quarter by quarter. A part of what may be sent is: what misses its time is not made up for.
class LateSender {
 public:
  LateSender() { hub_->on_sent(now_, 10 * packet, 10 * packet); }

  /// Returns what arrived, in bytes per second.
  double quarter(double sent_part, bool marked_late) {
    now_ += 25ms;
    const double pace = static_cast<double>(hub_->pacing_rate().value_or(400 * packet));
    const double in_window = static_cast<double>(hub_->window_bytes()) / 0.1;
    under_way_.push_back(std::min(sent_part * pace, in_window));
    const double rate = std::min(under_way_.front(), path_bytes_s);
    if (under_way_.size() > 4) under_way_.pop_front();
    AckSample sample;
    sample.acked_bytes = static_cast<uint64_t>(rate * 0.025);
    delivered_ += sample.acked_bytes;
    sample.in_flight_bytes = sample.in_flight_at_send = static_cast<uint64_t>(rate * 0.1);
    sample.delivered_bytes = delivered_;
    sample.delivered_at_send = delivered_ - std::min(delivered_, sample.in_flight_bytes);
    sample.rtt = under_way_.front() > path_bytes_s ? 108ms : 100ms;
    sample.app_limited = sample.held_back = marked_late;
    hub_->on_ack(now_, sample);
    return rate;
  }
  /// Ends the start with a queue; then the path carries less for a while.
  void settle() {
    for (int i = 0; i < 400; ++i) quarter(1.0, false);
    for (int i = 0; i < 12; ++i) quarter(0.7, false);
  }
  std::string_view phase() const { return hub_->phase(); }

 private:
  std::unique_ptr<haul::CongestionController> hub_ = haul::congestion::make_hub({.packet_bytes = packet});
  std::deque<double> under_way_;
  TimePoint now_{std::chrono::seconds(1000)};
  uint64_t delivered_ = 0;
};

}  // namespace

TEST_CASE("hub finds the room on a path whose sender is late now and then") {
  LateSender sender;
  sender.settle();
  REQUIRE(sender.phase() != "startup");
  double rate = 0;
  for (int i = 0; i < 400; ++i) rate = std::max(rate, sender.quarter(0.97, true));
  CHECK(rate >= 0.9 * path_bytes_s);
}
