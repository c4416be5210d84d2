// Counters of lanes as one flow: what the controller hears, and how its rate is shared.
#include "congestion/sampled_path.h"

#include <algorithm>
#include <catch2/catch.hpp>
#include <deque>
#include <string>
#include <utility>
#include <vector>

#include "base/random.h"
#include "congestion/recorder.h"

namespace {

using namespace std::chrono_literals;
using haul::AckSample;
using haul::Duration;
using haul::Limits;
using haul::LossSample;
using haul::PathSample;
using haul::TimePoint;
using haul::base::Random;
using haul::congestion::Recorder;
using haul::congestion::SampledPath;

constexpr TimePoint start(1000s);

struct Bench {
  Bench() {
    auto made = std::make_unique<Recorder>();
    told = made.get();
    path.steer_by(std::move(made));
  }
  void step(std::vector<PathSample> samples, Duration time = 10ms) {
    now += time;
    for (uint32_t i = 0; i < samples.size(); ++i) path.take(i, samples[i]);
    path.settle(now);
  }
  SampledPath path;
  Recorder* told = nullptr;
  TimePoint now = start;
};

PathSample counters(uint64_t delivered, uint64_t in_flight, Duration rtt = 20ms, uint64_t lost = 0) {
  PathSample sample;
  sample.rtt_smoothed = rtt;
  sample.bytes_delivered = delivered;
  sample.bytes_sent = delivered + in_flight + lost;
  sample.bytes_in_flight = in_flight;
  sample.bytes_lost = lost;
  return sample;
}

}  // namespace

TEST_CASE("samples of lanes are one flow's, as of a round trip ago") {
  Bench bench;
  bench.path.add_lane(0);
  bench.path.add_lane(1);
  for (uint64_t i = 0; i <= 5; ++i) bench.step({counters(1000 * i, 4000), counters(500 * i, 2000)});
  REQUIRE(bench.told->acks.size() == 5);
  const AckSample& last = bench.told->acks.back();
  CHECK(last.acked_bytes == 1500);
  CHECK(last.delivered_bytes == 7500);
  CHECK(last.in_flight_bytes == 6000);
  CHECK(last.rtt == 20ms);
  CHECK(last.delivered_at_send == 4500);
  CHECK(last.in_flight_at_send == 6000);
  CHECK(last.delivery_rate == 150'000);  // 3000 bytes in 20 ms
  CHECK(bench.told->losses.empty());
  bench.step({counters(6000, 3000, 30ms, 700), counters(3000, 2000, 20ms)});
  REQUIRE(bench.told->losses.size() == 1);
  CHECK(bench.told->losses[0].lost_bytes == 700);
  CHECK(bench.told->acks.back().rtt > 26ms);  // by bytes: 1000 with 30 ms, 500 with 20 ms
  CHECK(bench.told->acks.back().rtt < 27ms);
}

TEST_CASE("what is remembered of a path reaches back over long round trips") {
  Bench bench;
  bench.path.add_lane(0);
  uint64_t delivered = 0;
  for (int i = 0; i < 300; ++i) {
    delivered += 1000;
    bench.path.take(0, counters(delivered, 4000, 2s));
    bench.path.settle(bench.now);
    REQUIRE(bench.path.deadline());
    bench.now = *bench.path.deadline();
  }
  const AckSample& last = bench.told->acks.back();
  CHECK(last.delivered_bytes - last.delivered_at_send >= 16'000);
  CHECK(last.delivered_bytes - last.delivered_at_send <= 17'000);
}

TEST_CASE("lanes that carry something never get more than the controller says, the others little") {
  Bench bench;
  Random random(7);
  std::vector<std::optional<uint64_t>> held;
  std::vector<PathSample> samples;
  uint64_t sent = 0;
  for (uint32_t step = 0; step < 2000; ++step) {
    if (held.size() < 8 && random.chance(0.02)) {
      bench.path.add_lane(static_cast<uint32_t>(held.size()));
      held.emplace_back();
      samples.emplace_back();
    }
    for (PathSample& sample : samples) {
      const bool moves = random.chance(0.7);
      sample = counters(sample.bytes_delivered + (moves ? random.below(100'000) : 0), moves ? 10'000 : 0);
      sample.app_limited = !moves;
    }
    // What was allowed is sent, by whichever of them: nothing is to be made up for.
    sent += *bench.told->rate / 100 + 1;
    if (!samples.empty()) samples[0].bytes_sent = sent;
    for (uint32_t lane = 1; lane < samples.size(); ++lane) samples[lane].bytes_sent = 0;
    bench.told->rate = 1'000'000 + random.below(10'000'000);
    bench.step(samples);
    uint64_t sum = 0;
    uint64_t idle_sum = 0;
    uint64_t bytes = 0;
    for (uint32_t lane = 0; lane < held.size(); ++lane) {
      if (const auto limits = bench.path.command(lane)) {
        REQUIRE(limits->rate_bytes_s);
        held[lane] = limits->rate_bytes_s;
        REQUIRE(limits->path_bytes);
        bytes += *limits->path_bytes;
      }
      REQUIRE(held[lane]);
      (samples[lane].bytes_in_flight > 0 ? sum : idle_sum) += *held[lane];
    }
    if (sum == 0) std::swap(sum, idle_sum);  // nobody carries anything: all may start alike
    REQUIRE(sum <= *bench.told->rate);
    REQUIRE(idle_sum <= *bench.told->rate / 8);
    REQUIRE(bytes <= bench.told->window + bench.told->window / 8);
    if (!held.empty()) REQUIRE(sum + *bench.told->rate / 50 + 100 >= *bench.told->rate);
  }
  CHECK(held.size() == 8);
}

TEST_CASE("what arrives is limited by what there was to send when it was sent, not by what there is now") {
  Bench bench;
  bench.told->rate = 100'000;  // what is sent, so that nothing else holds back
  bench.path.add_lane(0);
  uint64_t delivered = 0;
  const auto step = [&](bool nothing_waits) {
    PathSample sample = counters(delivered += 1000, 4000);
    sample.app_limited = nothing_waits;
    bench.step({sample});
    return bench.told->acks.empty() ? false : bench.told->acks.back().app_limited;
  };
  for (int i = 0; i < 5; ++i) step(true);
  CHECK(step(true));
  CHECK_FALSE(bench.told->acks.back().held_back);
  // From here on there is enough; what arrives now was sent before.
  CHECK(step(false));
  step(false);
  step(false);
  CHECK_FALSE(step(false));
  // The last that was sent before the end of the work.
  CHECK_FALSE(step(true));
  step(true);
  step(true);
  CHECK(step(true));
}

namespace {

/// A lane that sends `kept` of what it is told. What it sent in the last second, by what the controller said.
double sent_by_wanted(Bench& bench, double kept, uint64_t in_flight) {
  bench.path.add_lane(0);
  double sent = 0;
  double told = 0;
  double at_last = 0;
  for (int i = 0; i < 500; ++i) {
    if (i == 400) at_last = sent;
    PathSample sample = counters(static_cast<uint64_t>(sent), in_flight);
    sample.bytes_sent = static_cast<uint64_t>(sent);
    bench.step({sample});
    if (const auto limits = bench.path.command(0)) told = static_cast<double>(limits->rate_bytes_s.value());
    sent += kept * told / 100;
  }
  return (sent - at_last) / static_cast<double>(*bench.told->rate);
}

double sent_by_wanted(double kept, uint64_t in_flight) {
  Bench bench;
  return sent_by_wanted(bench, kept, in_flight);
}

}  // namespace

TEST_CASE("what arrives while something else holds lanes back says only the least that the path carries") {
  const auto limited = [](double kept, uint64_t in_flight) {
    Bench bench;
    sent_by_wanted(bench, kept, in_flight);
    CHECK(bench.path.held_back() == bench.told->acks.back().app_limited);
    CHECK(bench.path.held_back() == bench.told->acks.back().held_back);
    CHECK_FALSE(bench.path.app_limited());
    return bench.path.held_back();
  };
  CHECK(limited(0.5, 5000));
  CHECK_FALSE(limited(0.97, 5000));
  CHECK_FALSE(limited(0.5, 900'000));  // by the controller's own window
}

TEST_CASE("where lanes send a little less than their pace, they are told a little more") {
  CHECK(sent_by_wanted(0.985, 5000) == Approx(1).epsilon(0.002));
  CHECK(sent_by_wanted(1, 5000) == Approx(1).epsilon(0.001));
  // Who sends more than told is not told less; that is the window's business.
  CHECK(sent_by_wanted(1.01, 5000) == Approx(1.01).epsilon(0.001));
  // Not what has other reasons: half of it, or a full window.
  CHECK(sent_by_wanted(0.5, 5000) == Approx(0.5).epsilon(0.01));
  CHECK(sent_by_wanted(0.985, 900'000) == Approx(0.985).epsilon(0.001));
  // And never more than a twentieth.
  CHECK(sent_by_wanted(0.9, 5000) == Approx(0.9 * 1.05).epsilon(0.002));
}

TEST_CASE("a lane that waits for its pace keeps its share, one that has nothing to send does not") {
  Bench bench;
  bench.path.add_lane(0);
  bench.path.add_lane(1);
  const auto waiting = [](bool app_limited, uint64_t unsent) {
    PathSample sample = counters(0, 0);
    sample.app_limited = app_limited;
    sample.bytes_unsent = unsent;
    return sample;
  };
  const auto share = [&bench](const PathSample& sample) {
    bench.path.remove_lane(1);
    bench.path.add_lane(1);
    bench.step({counters(0, 5000), sample});
    return bench.path.command(1)->rate_bytes_s;
  };
  CHECK(share(waiting(false, 0)) == 5'000'000);
  CHECK(share(waiting(true, 1000)) == 5'000'000);
  CHECK(share(waiting(true, 0)) == 1'250'000);
}

TEST_CASE("hub keeps its rate where one lane of many carries everything") {
  // A link of 50 MB/s and 40 ms, as a fluid: what one lane is told to send, in steps of the samples' time.
  constexpr double link = 50e6;
  constexpr double step = 0.005;
  constexpr double rtt = 0.04;
  SampledPath path;
  path.steer_by(haul::congestion::make("hub", {}).value());
  for (uint32_t lane = 0; lane < 8; ++lane) path.add_lane(lane);
  TimePoint now = start;
  double queue = 0;
  double sent = 0;
  double arrived = 0;
  std::deque<double> under_way(8, 0.0);  // what left the queue, step by step, until it is acknowledged
  double told = 1e6;
  double after_start = 0;
  PathSample idle = counters(0, 0);
  idle.app_limited = true;
  for (int i = 0; i < 6000; ++i, now += 5ms) {
    sent += told * step;
    queue += told * step;
    const double passed = std::min(queue, link * step);
    queue -= passed;
    under_way.push_back(passed);
    arrived += under_way.front();
    under_way.pop_front();
    if (i == 2000) after_start = arrived;
    PathSample sample = counters(static_cast<uint64_t>(arrived), static_cast<uint64_t>(sent - arrived),
                                 Duration(static_cast<int64_t>((rtt + queue / link) * 1e9)));
    path.take(0, sample);
    for (uint32_t lane = 1; lane < 8; ++lane) path.take(lane, idle);
    path.settle(now);
    for (uint32_t lane = 0; lane < 8; ++lane) {
      const auto limits = path.command(lane);
      if (lane == 0 && limits && limits->rate_bytes_s) told = static_cast<double>(*limits->rate_bytes_s);
    }
  }
  CHECK((arrived - after_start) / (4000 * step) > 0.85 * link);
}

TEST_CASE("hub's start ends over a lane that something else holds back") {
  // 2 MB/s go, whatever is allowed, over a path of 40 ms that would carry more.
  SampledPath path;
  path.steer_by(haul::congestion::make("hub", {}).value());
  path.add_lane(0);
  uint64_t sent = 80'000;
  TimePoint now = start;
  for (int i = 0; i < 400; ++i, now += 5ms, sent += 10'000) {
    path.take(0, counters(sent - 80'000, 80'000, 40ms));
    path.settle(now);
    path.command(0);
  }
  CHECK(path.controller()->phase() != "startup");
  const auto memory = path.controller()->memory();
  REQUIRE(memory);
  CHECK(memory->window_bytes == Approx(80'000).epsilon(0.1));
}

TEST_CASE("a lane that goes leaves its share to the others, and its bytes to nobody") {
  Bench bench;
  bench.path.add_lane(0);
  bench.path.add_lane(1);
  bench.step({counters(0, 5000), counters(0, 5000)});
  bench.step({counters(1000, 5000), counters(1000, 5000)});
  CHECK(bench.path.command(0)->rate_bytes_s == 5'000'000);
  bench.path.remove_lane(1);
  CHECK(bench.path.in_flight_bytes() == 5000);
  CHECK(bench.path.command(0)->rate_bytes_s == 10'000'000);
  CHECK_FALSE(bench.path.command(1));
  CHECK_FALSE(bench.path.command(0));  // told already
  bench.told->rate.reset();
  const auto limits = bench.path.command(0);
  REQUIRE(limits);
  CHECK_FALSE(limits->rate_bytes_s);
}

TEST_CASE("a controller may say that nothing is too much") {
  Bench bench;
  bench.told->rate = UINT64_MAX;
  bench.told->window = UINT64_MAX;
  bench.path.add_lane(0);
  bench.step({counters(0, 5000)});
  const auto limits = bench.path.command(0);
  REQUIRE(limits);
  CHECK(limits->rate_bytes_s >= 1'000'000'000'000);
  CHECK(limits->path_bytes >= uint64_t{1} << 60);
  CHECK_FALSE(bench.path.command(0));  // told already
}

TEST_CASE("counters that wrap count on; those that go back count nothing twice") {
  Bench bench;
  bench.path.add_lane(0);
  bench.step({counters(UINT64_MAX - 499, 1000)});
  bench.step({counters(500, 1000)});
  REQUIRE(bench.told->acks.size() == 1);
  CHECK(bench.told->acks[0].acked_bytes == 1000);
  bench.step({counters(100, 1000)});
  bench.step({counters(500, 1000)});
  CHECK(bench.told->acks.size() == 1);
  bench.step({counters(600, 1000)});
  REQUIRE(bench.told->acks.size() == 2);
  CHECK(bench.told->acks[1].acked_bytes == 100);
}

TEST_CASE("silence of a sampled path is told once, and ends with what arrives") {
  Bench bench;
  bench.path.add_lane(0);
  for (uint64_t i = 0; i < 5; ++i) bench.step({counters(1000 * i, 4000)});
  for (int i = 0; i < 100; ++i) bench.step({counters(4000, 4000)});
  CHECK(bench.told->silences() == 1);
  CHECK(bench.path.deadline());
  bench.step({counters(5000, 4000)});
  for (int i = 0; i < 100; ++i) bench.step({counters(5000, 4000)});
  CHECK(bench.told->silences() == 2);
  // Nothing under way: nothing to be silent about, and nothing to be asked for.
  bench.step({counters(9000, 0)});
  for (int i = 0; i < 100; ++i) bench.step({counters(9000, 0)});
  CHECK(bench.told->silences() == 2);
  CHECK_FALSE(bench.path.deadline());
}

TEST_CASE("an idle path is looked at rarely, and soon when it is given something") {
  Bench bench;
  bench.path.add_lane(0);
  for (uint64_t i = 0; i < 5; ++i) bench.step({counters(1000 * i, 4000, 8ms)}, 1ms);
  CHECK(bench.path.deadline() == bench.now + 1ms);
  bench.step({counters(8000, 0, 8ms)}, 1ms);
  bench.step({counters(8000, 0, 8ms)}, 1ms);
  CHECK_FALSE(bench.path.deadline());
  CHECK_FALSE(bench.path.due(bench.now + 20ms));
  CHECK(bench.path.due(bench.now + 25ms));
  bench.path.stir(bench.now + 10ms);
  CHECK(bench.path.deadline() == bench.now + 11ms);
  bench.path.stir(bench.now + 10ms + 500us);  // what moves already is looked at when it was to be
  CHECK(bench.path.deadline() == bench.now + 11ms);
}

TEST_CASE("a sampled path bears any counters and any clock") {
  for (const std::string_view name : haul::congestion::names()) {
    for (uint64_t seed = 1; seed <= 30; ++seed) {
      CAPTURE(name, seed);
      Random random(seed);
      SampledPath path;
      path.steer_by(haul::congestion::make(name, {}).value());
      TimePoint now = start;
      for (int step = 0; step < 2000; ++step) {
        if (random.chance(0.6)) now += Duration(static_cast<int64_t>(random.below(30'000'000)));
        if (random.chance(0.01)) now -= Duration(static_cast<int64_t>(random.below(1'000'000'000)));
        const auto lane = static_cast<uint32_t>(random.below(4));
        if (random.chance(0.05)) path.add_lane(lane);
        if (random.chance(0.02)) path.remove_lane(lane);
        PathSample sample;
        for (uint64_t* counter :
             {&sample.bytes_sent, &sample.bytes_delivered, &sample.bytes_lost, &sample.bytes_marked, &sample.bytes_in_flight})
          *counter = random.next() >> random.below(64);
        if (random.chance(0.8)) sample.rtt_smoothed = Duration(static_cast<int64_t>(random.next() >> random.below(64)));
        path.take(lane, sample);
        if (random.chance(0.4)) path.settle(now);
        const uint64_t whole = path.controller()->pacing_rate().value_or(UINT64_MAX);
        if (const auto limits = path.command(lane)) {
          REQUIRE(limits->path_bytes.value_or(0) >= 1);
          if (limits->rate_bytes_s) REQUIRE(*limits->rate_bytes_s <= std::max<uint64_t>(whole, 1));
        }
      }
    }
  }
}
