// Lanes that report their acknowledgements: what the controller hears of the reports, and what the lanes are told.
#include <algorithm>
#include <catch2/catch.hpp>
#include <string>
#include <vector>

#include "base/random.h"
#include "congestion/recorder.h"
#include "congestion/sampled_path.h"

namespace {

using namespace std::chrono_literals;
using haul::AckSample;
using haul::Duration;
using haul::LaneReport;
using haul::LossSample;
using haul::PathSample;
using haul::TimePoint;
using haul::base::Random;
using haul::congestion::Recorder;
using haul::congestion::SampledPath;

constexpr TimePoint start(1000s);

PathSample under_way(uint64_t sent, uint64_t in_flight) {
  PathSample sample;
  sample.bytes_sent = sent;
  sample.bytes_in_flight = in_flight;
  sample.rtt_smoothed = 500ms;  // what a report says better
  return sample;
}

LaneReport arrived(TimePoint at, uint64_t bytes, Duration rtt = 20ms) {
  LaneReport report;
  report.at = at;
  report.ack = AckSample{.acked_bytes = bytes, .rtt = rtt};
  report.obeyed = true;
  return report;
}

LossSample lost(uint64_t bytes) {
  LossSample loss;
  loss.lost_bytes = bytes;
  return loss;
}

struct Bench {
  explicit Bench(uint32_t lanes = 1) {
    auto made = std::make_unique<Recorder>();
    told = made.get();
    path.steer_by(std::move(made));
    for (uint32_t lane = 0; lane < lanes; ++lane) path.add_lane(lane, true);
  }
  void settle(Duration time = 10ms) {
    now += time;
    path.settle(now);
  }
  /// The same on every lane: a round trip of 20 ms that is full.
  void step(uint64_t bytes = 1000) {
    sent += bytes;
    for (uint32_t lane = 0; lane < path.lanes(); ++lane) path.take(lane, under_way(sent, 2 * bytes), arrived(now, bytes));
    settle();
  }
  SampledPath path;
  Recorder* told = nullptr;
  TimePoint now = start;
  uint64_t sent = 0;
};

}  // namespace

TEST_CASE("reports of lanes are one flow's, and count in place of the samples' counters") {
  Bench bench(2);
  for (int i = 0; i < 6; ++i) bench.step();
  REQUIRE(bench.told->acks.size() == 6);
  const AckSample& last = bench.told->acks.back();
  CHECK(last.acked_bytes == 2000);
  CHECK(last.delivered_bytes == 12'000);
  CHECK(last.in_flight_bytes == 4000);
  CHECK(last.rtt == 20ms);
  CHECK(last.delivered_at_send == 8000);
  CHECK(last.delivery_rate == 200'000);  // 4000 bytes in 20 ms
  PathSample sample = under_way(bench.sent, 2000);
  sample.bytes_delivered = sample.bytes_lost = sample.bytes_marked = 1'000'000'000;
  bench.path.take(0, sample);
  bench.settle();
  CHECK(bench.told->acks.size() == 6);
  CHECK(bench.told->losses.empty());
}

TEST_CASE("a report's losses and marks are told, the losses first") {
  Bench bench;
  for (int i = 0; i < 6; ++i) bench.step();
  bench.told->order.clear();
  LaneReport report = arrived(bench.now, 3000);
  report.ack->marked_bytes = 1000;
  report.loss = lost(700);
  bench.path.take(0, under_way(bench.sent, 2000), report);
  bench.settle();
  CHECK(bench.told->order == "la");
  CHECK(bench.told->losses.back().lost_bytes == 700);
  CHECK_FALSE(bench.told->losses.back().in_silence);
  CHECK(bench.told->acks.back().marked_bytes == 1000);
  // Marks of more than what arrived are no marks.
  report = arrived(bench.now, 10);
  report.ack->marked_bytes = 1000;
  bench.path.take(0, under_way(bench.sent, 2000), report);
  bench.settle();
  CHECK(bench.told->acks.back().marked_bytes == 10);
}

TEST_CASE("reports out of order count their bytes, and the newest one's round trip") {
  Bench bench;
  for (int i = 0; i < 6; ++i) bench.step();
  bench.path.take(0, under_way(bench.sent, 2000), arrived(bench.now + 5ms, 1000, 30ms));
  LaneReport late = arrived(bench.now + 1ms, 400, 90ms);
  late.obeyed = false;
  bench.path.take(0, under_way(bench.sent, 2000), late);
  bench.settle();
  CHECK(bench.told->acks.back().acked_bytes == 1400);
  CHECK(bench.told->acks.back().rtt == 30ms);
  CHECK(bench.path.obeying_lanes() == 1);
}

TEST_CASE("a report without a round trip, or with an absurd one, brings none, and no division by it") {
  Bench bench;
  for (const Duration rtt : {Duration::zero(), Duration(-5), Duration(10min)}) {
    bench.path.take(0, under_way(1000, 1000), arrived(bench.now, 1000, rtt));
    bench.settle();
    CHECK(bench.told->acks.back().rtt == Duration::zero());
    CHECK_FALSE(bench.path.rtt().known());
  }
  CHECK(bench.path.command(0));
}

TEST_CASE("a clock that stands still or goes back takes no report away") {
  Bench bench;
  for (int i = 0; i < 6; ++i) bench.step();
  uint64_t acked = 0;
  for (const Duration step : {Duration(0ms), Duration(0ms), Duration(-500ms), Duration(0ms)}) {
    bench.path.take(0, under_way(bench.sent, 2000), arrived(bench.now, 1000));
    bench.settle(step);
    acked += bench.told->acks.back().acked_bytes;
    CHECK(bench.told->acks.back().delivery_rate < 10'000'000'000);
  }
  CHECK(acked == 4000);
}

TEST_CASE("a total of reports that wraps goes on") {
  Bench bench;
  bench.path.take(0, under_way(0, 1000), arrived(bench.now, UINT64_MAX - 499));
  bench.settle();
  bench.step();
  CHECK(bench.told->acks.back().acked_bytes == 1000);
  CHECK(bench.told->acks.back().delivered_bytes == 500);
}

TEST_CASE("a lane's timer is silence of the path when nothing arrived for a round trip, and what it lost was lost in it") {
  Bench bench(2);
  for (int i = 0; i < 6; ++i) bench.step();
  bench.told->order.clear();
  LaneReport report;
  report.at = bench.now;
  report.timed_out = true;
  report.loss = lost(2000);
  bench.path.take(0, under_way(bench.sent, 1000), report);
  bench.path.take(1, under_way(bench.sent, 2000), arrived(bench.now, 1000));
  bench.settle();
  CHECK(bench.told->order == "la");  // the other lane goes on
  bench.settle(10ms);
  bench.told->order.clear();
  bench.path.take(0, under_way(bench.sent, 1000), report);
  bench.settle(15ms);
  CHECK(bench.told->order == "sl");
  CHECK(bench.told->losses.back().in_silence);
  // What was sent in the silence, and is found lost after its end.
  bench.path.take(0, under_way(bench.sent, 1000), arrived(bench.now, 500));
  bench.settle(5ms);
  report.timed_out = false;
  bench.path.take(0, under_way(bench.sent, 1000), report);
  bench.settle(10ms);
  CHECK(bench.told->losses.back().in_silence);
  for (int i = 0; i < 4; ++i) bench.step();
  bench.path.take(0, under_way(bench.sent, 1000), report);
  bench.settle();
  CHECK_FALSE(bench.told->losses.back().in_silence);
}

TEST_CASE("windows and rates of steered lanes together are the controller's, and are told again before they are void") {
  Bench bench(4);
  for (int i = 0; i < 6; ++i) bench.step();
  uint64_t windows = 0;
  uint64_t rates = 0;
  for (uint32_t lane = 0; lane < 4; ++lane) {
    const auto limits = bench.path.command(lane);
    REQUIRE(limits);
    windows += limits->path_bytes.value_or(0);
    rates += limits->rate_bytes_s.value_or(0);
  }
  CHECK(windows == 1'000'000);
  CHECK(rates == 10'000'000);
  bench.step();
  CHECK_FALSE(bench.path.command(0));
  bench.told->window = 990'000;  // less is told at once
  CHECK(bench.path.command(0)->path_bytes == 247'500);
  CHECK(bench.path.validity() == 1s);
  TimePoint told = bench.now;
  for (int i = 0; i < 200; ++i) {
    bench.step();
    if (bench.path.command(0)) {
      CHECK(bench.now - told < bench.path.validity() / 2);
      told = bench.now;
    }
  }
  CHECK(bench.now - told < 500ms);
}

TEST_CASE("a lane that can't be steered any more is paced, and its samples count") {
  Bench bench(2);
  for (int i = 0; i < 6; ++i) bench.step();
  REQUIRE(bench.path.command(0));
  CHECK(bench.path.steered_lanes() == 2);
  bench.path.stop_steering(0);
  CHECK_FALSE(bench.path.steered(0));
  CHECK(bench.path.steered_lanes() == 1);
  CHECK(bench.path.obeying_lanes() == 1);
  CHECK(bench.path.command(0));  // it must be told anew
  PathSample sample = under_way(bench.sent, 1000);
  sample.bytes_delivered = 5000;
  bench.path.take(0, sample);
  bench.settle();
  const size_t before = bench.told->acks.size();
  sample.bytes_delivered = 5600;
  bench.path.take(0, sample);
  bench.settle();
  REQUIRE(bench.told->acks.size() == before + 1);
  CHECK(bench.told->acks.back().acked_bytes == 600);
}

TEST_CASE("lanes are one flow where all are steered, and those that carry something obey") {
  Bench bench(3);
  const auto step = [&bench](uint32_t lane, bool obeys) {
    LaneReport report = arrived(bench.now, 1000);
    report.obeyed = obeys;
    bench.path.take(lane, under_way(bench.sent += 1000, 2000), report);
  };
  CHECK_FALSE(SampledPath().is_one_flow());
  CHECK(bench.path.is_one_flow());  // what carries nothing takes nothing
  step(0, true);
  step(1, true);
  bench.settle();
  CHECK(bench.path.is_one_flow());
  step(1, false);
  bench.settle();
  CHECK(bench.path.is_one_flow());  // a command is under way
  step(0, false);
  bench.settle();
  CHECK_FALSE(bench.path.is_one_flow());
  step(0, true);
  step(1, true);
  bench.settle();
  CHECK(bench.path.is_one_flow());
  bench.path.stop_steering(2);
  CHECK_FALSE(bench.path.is_one_flow());
  bench.path.remove_lane(2);
  CHECK(bench.path.is_one_flow());
  bench.path.add_lane(3);  // only paced
  CHECK_FALSE(bench.path.is_one_flow());
  bench.path.remove_lane(3);
  bench.path.steer_by(nullptr);
  CHECK_FALSE(bench.path.is_one_flow());
}

TEST_CASE("a path with steered lanes bears any reports and any clock") {
  for (const std::string_view name : haul::congestion::names()) {
    for (uint64_t seed = 1; seed <= 20; ++seed) {
      CAPTURE(name, seed);
      Random random(seed);
      const auto any = [&random] { return random.next() >> random.below(64); };
      SampledPath path;
      path.steer_by(haul::congestion::make(name, {}).value());
      TimePoint now = start;
      for (int step = 0; step < 2000; ++step) {
        if (random.chance(0.6)) now += Duration(static_cast<int64_t>(random.below(30'000'000)));
        if (random.chance(0.01)) now -= Duration(static_cast<int64_t>(random.below(1'000'000'000)));
        const auto lane = static_cast<uint32_t>(random.below(4));
        if (random.chance(0.05)) path.add_lane(lane, random.chance(0.7));
        if (random.chance(0.02)) path.remove_lane(lane);
        if (random.chance(0.01)) path.stop_steering(lane);
        LaneReport report = arrived(now - Duration(static_cast<int64_t>(any())), any(), Duration(static_cast<int64_t>(any())));
        report.ack->marked_bytes = any();
        if (random.chance(0.3)) report.loss = lost(any());
        report.timed_out = random.chance(0.05);
        path.take(lane, under_way(any(), any()), random.chance(0.8) ? std::optional(report) : std::nullopt);
        if (random.chance(0.4)) path.settle(now);
        const uint64_t window = path.controller()->window_bytes();
        if (const auto limits = path.command(lane)) {
          REQUIRE(limits->path_bytes.value_or(0) >= 1);
          REQUIRE(limits->path_bytes.value_or(0) <= std::max<uint64_t>(window, 1));
        }
        REQUIRE(path.obeying_lanes() <= path.steered_lanes());
        REQUIRE(path.validity() <= 10s);
      }
    }
  }
}

TEST_CASE("heavy loss is answered also where something holds back lanes that only obey") {
  // Half of what the pace allows is sent, of which so many bytes in a thousand are lost.
  const auto held_back = [](uint64_t lost_per_mille, uint32_t paced_lanes) {
    Bench bench;
    for (uint32_t lane = 1; lane <= paced_lanes; ++lane) bench.path.add_lane(lane);
    uint64_t sent = 0;
    for (int i = 0; i < 200; ++i) {
      constexpr uint64_t a_step = 50'000;
      sent += a_step;
      LaneReport report = arrived(bench.now, a_step * (1000 - lost_per_mille) / 1000);
      report.loss = lost(a_step * lost_per_mille / 1000);
      bench.path.take(0, under_way(sent, 10'000), report);
      bench.settle();
    }
    return bench.path.held_back();
  };
  CHECK(held_back(10, 0));
  CHECK_FALSE(held_back(90, 0));
  CHECK(held_back(90, 1));  // the kernel's own algorithm answers it
}
