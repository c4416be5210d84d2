// The first round trips of `hub`, by events written out by hand: what ends them, and what does not.
#include <array>
#include <catch2/catch.hpp>

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

TEST_CASE("a window that was used grows, also with the last that there was to send") {
  Path used(1'000'000);
  const uint64_t before = used.hub().window_bytes();
  used.round(even, true);
  CHECK(used.hub().window_bytes() == 2 * before);
}
