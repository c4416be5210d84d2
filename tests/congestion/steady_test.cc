// `hub` after its start, by events written out by hand: what it learns of a buffer from losses.
#include <catch2/catch.hpp>

#include "haul/congestion.h"

namespace {

using namespace std::chrono_literals;
using haul::AckSample;
using haul::CongestionController;
using haul::Duration;
using haul::TimePoint;

constexpr uint64_t packet = 1000;
constexpr Duration round_trip = 50ms;
constexpr double line = 50e6;  // bytes a second: hub aims at a queue of 2.2 ms

/// A path of 50 ms, told of in quarters of a round trip.
class Path {
 public:
  void quarter(double rate, Duration queue, double loss = 0) {
    now_ += round_trip / 4;
    const auto bytes = static_cast<uint64_t>(rate * 0.0125);
    const auto lost = static_cast<uint64_t>(loss * static_cast<double>(bytes));
    if (lost > 0) hub_->on_loss(now_, {.lost_bytes = lost, .in_flight_bytes = 4 * bytes, .sent_at = now_ - round_trip});
    AckSample sample;
    sample.acked_bytes = bytes - lost;
    delivered_ += sample.acked_bytes;
    sample.delivered_bytes = delivered_;
    sample.delivered_at_send = delivered_ > 4 * bytes ? delivered_ - 4 * bytes : 0;
    sample.in_flight_bytes = sample.in_flight_at_send = 4 * bytes;
    sample.rtt = round_trip + queue;
    hub_->on_ack(now_, sample);
  }
  void quarters(int count, double rate, Duration queue, double loss = 0) {
    for (int i = 0; i < count; ++i) quarter(rate, queue, loss);
  }
  void outage(Duration length) {
    hub_->on_silence(now_ + 2 * round_trip);
    now_ += length;
  }
  double pace() const { return static_cast<double>(hub_->pacing_rate().value_or(0)); }
  std::string_view phase() const { return hub_->phase(); }

 private:
  std::unique_ptr<CongestionController> hub_ = haul::congestion::make_hub({.packet_bytes = packet});
  TimePoint now_{std::chrono::seconds(1000)};
  uint64_t delivered_ = 0;
};

}  // namespace

TEST_CASE("hub aims at a part of the queue at which a short buffer lost, not of what its test left of it") {
  Path path;
  path.quarters(40, line, 0ms);  // a plateau ends the start
  path.quarters(40, line, 2ms);
  REQUIRE(path.phase() == "steady");
  int waited = 0;
  while (path.pace() > 0.9 * line && waited < 100) {  // until it tests whether the loss is its own
    path.quarter(line, 4ms, 0.06);
    ++waited;
  }
  REQUIRE(waited < 100);
  path.quarters(12, 0.85 * line, 0ms);  // it is: nothing is lost, and no queue is left
  path.quarters(4, 0.85 * line, 500us);
  CHECK(path.pace() > 0.851 * line);  // the target is about 1 ms
  path.quarters(4, 0.85 * line, 1800us);
  CHECK(path.pace() < 0.848 * line);  // and not the 2 ms that are aimed at elsewhere
}

TEST_CASE("beside a rival hub goes on after an outage") {
  Path path;
  path.quarters(40, line, 0ms);
  path.quarters(200, line, 60ms);  // a queue that stays, whatever hub does
  REQUIRE(path.phase() == "compete");
  path.outage(2s);
  path.quarters(1, line, 60ms);
  REQUIRE(path.phase() == "compete");
  CHECK(path.pace() > 0.1 * line);
}
