// Every controller against nonsense: whatever it is told, its window and rate stay within bounds, and it comes back to life.
#include <algorithm>
#include <catch2/catch.hpp>
#include <cstdint>
#include <string>
#include <vector>

#include "base/random.h"
#include "haul/congestion.h"

namespace {

using haul::AckSample;
using haul::CongestionController;
using haul::Duration;
using haul::LossSample;
using haul::TimePoint;
using haul::base::Random;

constexpr uint64_t max_window = 64U << 20;

std::unique_ptr<CongestionController> make(std::string_view name, Random& random) {
  haul::ControllerOptions options;
  options.packet_bytes = static_cast<uint32_t>(1 + random.below(9000));
  options.max_window_bytes = max_window;
  if (random.chance(0.3))
    options.memory = {random.next() >> random.below(64), Duration(static_cast<int64_t>(random.below(1U << 30)))};
  return haul::congestion::make(name, options).value();
}

/// Anything between a small number and all bits set.
uint64_t wild(Random& random) { return random.next() >> random.below(64); }

Duration wild_time(Random& random) {
  const auto value = static_cast<int64_t>(wild(random));
  return Duration(random.chance(0.2) ? -value : value);
}

AckSample wild_ack(Random& random) {
  AckSample sample;
  sample.acked_bytes = wild(random);
  sample.in_flight_bytes = wild(random);
  sample.delivered_bytes = wild(random);
  sample.delivered_at_send = wild(random);
  sample.in_flight_at_send = wild(random);
  sample.lost_since_send = wild(random);
  sample.marked_bytes = random.chance(0.3) ? wild(random) : 0;
  sample.delivery_rate = random.chance(0.3) ? 0 : wild(random);
  sample.rtt = random.chance(0.3) ? Duration::zero() : wild_time(random);
  sample.app_limited = random.chance(0.2);
  return sample;
}

LossSample wild_loss(Random& random, TimePoint now) {
  LossSample sample;
  sample.lost_bytes = wild(random);
  sample.in_flight_bytes = wild(random);
  sample.delivered_bytes = wild(random);
  sample.in_flight_at_send = wild(random);
  sample.lost_since_send = wild(random);
  sample.sent_at = random.chance(0.5) ? now : TimePoint(wild_time(random));
  sample.in_silence = random.chance(0.2);
  return sample;
}

void within_bounds(const CongestionController& controller) {
  REQUIRE(controller.window_bytes() >= 1);
  REQUIRE(controller.window_bytes() <= max_window);
  const auto rate = controller.pacing_rate();
  if (rate) REQUIRE(*rate >= 1);
  REQUIRE_FALSE(controller.phase().empty());
  if (const auto memory = controller.memory()) REQUIRE(memory->window_bytes <= max_window);
}

/// A path of 12.5 MB/s and 20 ms for a while: what any controller must be able to use after whatever went before.
void recovers(CongestionController& controller, TimePoint now) {
  controller.on_path_change(now);
  uint64_t delivered = UINT64_MAX - 500'000;  // it wraps on the way
  uint64_t best = 0;
  for (int round = 0; round < 2000; ++round) {
    now += std::chrono::milliseconds(20);
    const uint64_t window = std::min<uint64_t>(controller.window_bytes(), 250'000);
    const uint64_t by_rate = controller.pacing_rate().value_or(UINT64_MAX) / 50;
    const uint64_t sent = std::max<uint64_t>(std::min(window, by_rate), 1);
    best = std::max(best, sent);
    for (uint64_t left = sent; left > 0;) {
      const uint64_t step = std::min<uint64_t>(left, 25'000);
      left -= step;
      AckSample sample;
      sample.acked_bytes = step;
      sample.delivered_at_send = delivered - (sent - left - step);
      delivered += step;
      sample.delivered_bytes = delivered;
      sample.in_flight_bytes = left;
      sample.in_flight_at_send = sent;
      sample.delivery_rate = sent * 50;
      sample.rtt = std::chrono::milliseconds(20);
      controller.on_ack(now, sample);
      within_bounds(controller);
    }
  }
  REQUIRE(best >= 100'000);
}

}  // namespace

TEST_CASE("controllers keep their bounds whatever they are told") {
  for (const std::string_view name : haul::congestion::names()) {
    if (name == "fixed") continue;
    for (uint64_t seed = 1; seed <= 40; ++seed) {
      INFO(name << ", seed " << seed);
      Random random(seed);
      const auto controller = make(name, random);
      within_bounds(*controller);
      TimePoint now(std::chrono::seconds(5));
      for (int event = 0; event < 2000; ++event) {
        // The clock stands still, runs, jumps far ahead, and goes back.
        if (random.chance(0.5)) now += Duration(static_cast<int64_t>(random.below(50'000'000)));
        if (random.chance(0.01)) now += std::chrono::hours(random.below(1000));
        if (random.chance(0.01)) now -= std::chrono::seconds(random.below(5));
        switch (random.below(8)) {
          case 0: controller->on_sent(now, wild(random), wild(random)); break;
          case 1: controller->on_loss(now, wild_loss(random, now)); break;
          case 2: controller->on_silence(now); break;
          default: controller->on_ack(now, wild_ack(random)); break;
        }
        within_bounds(*controller);
      }
      recovers(*controller, now + std::chrono::hours(1));
    }
  }
}

TEST_CASE("the fixed controller keeps its rate") {
  haul::ControllerOptions options;
  options.fixed_rate = 1'000'000;
  const auto controller = haul::congestion::make_fixed(options);
  controller->on_silence(TimePoint(std::chrono::seconds(1)));
  CHECK(controller->pacing_rate() == 1'000'000);
  AckSample sample;
  sample.rtt = std::chrono::milliseconds(100);
  controller->on_ack(TimePoint(std::chrono::seconds(2)), sample);
  CHECK(controller->window_bytes() == 200'000);
}

TEST_CASE("make names what is wrong") {
  const auto unknown = haul::congestion::make("reno", {});
  REQUIRE_FALSE(unknown.ok());
  CHECK(unknown.status().message().find("there are: hub bbr cubic swift fixed") != std::string_view::npos);
  haul::ControllerOptions options;
  options.packet_bytes = 0;
  CHECK_FALSE(haul::congestion::make("hub", options).ok());
  options.packet_bytes = 1448;
  options.max_window_bytes = 100;
  CHECK_FALSE(haul::congestion::make("hub", options).ok());
}
