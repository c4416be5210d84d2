// The first round trips of `hub`, by events written out by hand: what ends them, and what does not.
#include <array>
#include <catch2/catch.hpp>
#include <string_view>

#include "haul/congestion.h"

namespace {

using namespace std::chrono_literals;
using haul::AckSample;
using haul::CongestionController;
using haul::Duration;
using haul::TimePoint;

constexpr uint64_t packet = 1000;
// Of what a round trip brings, in each of its quarters: a kernel that sends in bursts, asked a few times a round trip.
constexpr std::array<double, 4> bunched{0.45, 0.4, 0.12, 0.03};
constexpr std::array<double, 4> even{0.25, 0.25, 0.25, 0.25};

/// A path of 100 ms. Round by round, all of the window arrives, as far as the path's rate allows; the rest makes the next round
/// trips longer.
class Path {
 public:
  explicit Path(uint64_t packets_a_round) : limit_(packets_a_round) { hub_->on_sent(now_, 10 * packet, 10 * packet); }

  void round(const std::array<double, 4>& quarters, bool app_limited = false) {
    const uint64_t sent = hub_->window_bytes();
    const uint64_t arrive = std::min(sent, limit_ * packet);
    for (const double part : quarters) {
      now_ += 25ms;
      if (sent > arrive) rtt_ += 25ms;
      AckSample sample;
      sample.acked_bytes = std::max<uint64_t>(static_cast<uint64_t>(part * static_cast<double>(arrive)), packet / 10);
      delivered_ += sample.acked_bytes;
      sample.in_flight_bytes = sample.in_flight_at_send = sent;
      sample.delivered_bytes = delivered_;
      sample.delivered_at_send = delivered_ > sent ? delivered_ - sent : 0;
      sample.rtt = rtt_;
      sample.app_limited = app_limited;
      hub_->on_ack(now_, sample);
    }
  }
  CongestionController& hub() { return *hub_; }

 private:
  std::unique_ptr<CongestionController> hub_ = haul::congestion::make_hub({.packet_bytes = packet});
  uint64_t limit_;
  TimePoint now_{std::chrono::seconds(1000)};
  Duration rtt_ = 100ms;
  uint64_t delivered_ = 0;
};

}  // namespace

TEST_CASE("hub's start goes on while a round trip brings more than the one before, however bunched") {
  Path path(1'000'000);
  for (int i = 0; i < 12; ++i) {
    path.round(bunched);
    INFO(i);
    REQUIRE(path.hub().phase() == "startup");
  }
  CHECK(path.hub().window_bytes() >= 10'000 * packet);
}

TEST_CASE("hub's start ends within a round trip where only the queue grows") {
  const auto& quarters = GENERATE_REF(even, bunched);
  constexpr uint64_t most = 2000;
  Path path(most);
  int rounds = 0;
  while (path.hub().phase() == "startup" && rounds < 20) {
    path.round(quarters);
    ++rounds;
  }
  CHECK(path.hub().phase() != "startup");
  CHECK(path.hub().window_bytes() < 5 * most * packet);
  CHECK(rounds >= 8);
  CHECK(rounds <= 10);
}

namespace {

/// A path of 100 ms that lets every window go, of which something else holds all but so many packets a round trip back.
class Held {
 public:
  explicit Held(std::string_view controller)
      : controller_(haul::congestion::make(controller, {.packet_bytes = packet}).value()) {
    controller_->on_sent(now_, 10 * packet, 10 * packet);
  }
  void round(double packets, bool held_back) {
    const auto sent = static_cast<uint64_t>(packets) * packet;
    for (int quarter = 0; quarter < 4; ++quarter) {
      now_ += 25ms;
      AckSample sample;
      sample.acked_bytes = sent / 4;
      delivered_ += sample.acked_bytes;
      sample.in_flight_bytes = sample.in_flight_at_send = sent;
      sample.delivered_bytes = delivered_;
      sample.delivered_at_send = delivered_ > sent ? delivered_ - sent : 0;
      sample.delivery_rate = 10 * sent;
      sample.rtt = 100ms;
      sample.app_limited = true;
      sample.held_back = held_back;
      controller_->on_ack(now_, sample);
    }
  }
  /// Rounds until its start is over, up to `most`.
  int start(double packets, double growth, bool held_back, int most) {
    for (int rounds = 0; rounds < most; ++rounds, packets *= growth) {
      if (controller_->phase() != "startup") return rounds;
      round(packets, held_back);
    }
    return most;
  }
  CongestionController& controller() { return *controller_; }

 private:
  std::unique_ptr<CongestionController> controller_;
  TimePoint now_{std::chrono::seconds(1000)};
  uint64_t delivered_ = 0;
};

}  // namespace

TEST_CASE("a start ends where something else than the controller has held the path back for long") {
  const auto name = GENERATE("hub", "bbr");
  CAPTURE(name);
  Held path(name);
  const int rounds = path.start(1000, 1, true, 60);
  CHECK(rounds > 15);
  CHECK(rounds < 22);
  // What the path did carry is the least that it carries.
  const auto rate = path.controller().pacing_rate();
  REQUIRE(rate);
  for (int i = 0; i < 100; ++i) path.round(1000, true);
  CHECK(*path.controller().pacing_rate() > 8'000'000);
  CHECK(*path.controller().pacing_rate() < 13'000'000);
  if (name != std::string_view("hub")) return;
  const auto memory = path.controller().memory();
  REQUIRE(memory);
  CHECK(memory->window_bytes == Approx(1000 * packet).epsilon(0.02));
  CHECK(memory->min_rtt == 100ms);
}

TEST_CASE("a start goes on while what holds the path back gives way, and while there is too little to send") {
  const auto name = GENERATE("hub", "bbr");
  CAPTURE(name);
  constexpr int most = 45;  // before bbr looks for the lowest round trip
  CHECK(Held(name).start(20, 1.03, true, most) == most);
  CHECK(Held(name).start(1000, 1, false, most) == most);
}

TEST_CASE("a window that was used grows, also with the last that there was to send") {
  Path used(1'000'000);
  const uint64_t before = used.hub().window_bytes();
  used.round(even, true);
  CHECK(used.hub().window_bytes() == 2 * before);
}
