// How many lanes are kept, on paths where more bring something, nothing or harm, under noise.
#include "congestion/lane_count.h"

#include <algorithm>
#include <catch2/catch.hpp>
#include <cmath>
#include <functional>
#include <map>

#include "base/random.h"

namespace {

using namespace std::chrono_literals;
using haul::Duration;
using haul::TimePoint;
using haul::base::Random;
using haul::congestion::LaneCount;
using Outcome = LaneCount::Outcome;

constexpr TimePoint start(1000s);
constexpr double mb_s = 1e6;

/// A path: what so many lanes carry, give or take some noise.
struct Path {
  std::function<double(double lanes)> rate_of;
  double noise = 0;
  std::function<bool(uint64_t window)> busy = [](uint64_t) { return true; };
  std::function<bool(uint32_t lanes)> may_add = [](uint32_t) { return true; };
  uint32_t most = 64;
  bool opens = true;
  std::function<uint32_t(uint64_t window)> lost = [](uint64_t) { return 0; };  ///< so many of the lanes don't stand
};

struct Bench {
  explicit Bench(Path given, uint64_t seed = 1, uint32_t usual = 1) : path(std::move(given)), random(seed), count(usual) {
    look();
  }
  void look() {
    const uint32_t before = count.wanted();
    const double swing = 1 + path.noise * (static_cast<double>(random.below(2001)) / 1000 - 1);
    const bool busy = path.busy(windows);
    const uint32_t standing = ready - std::min(ready, path.lost(windows));
    const double rate = busy ? path.rate_of(standing) * swing : 0;
    now += 100ms;
    count.look(now, {.delivered_bytes = static_cast<uint64_t>(rate * 0.1),
                     .busy = busy,
                     .may_add = path.may_add(ready),
                     .ready = standing,
                     .most = path.most});
    ++windows;
    ++at[count.wanted()];
    most_wanted = std::max(most_wanted, count.wanted());
    if (count.wanted() != before) ++changes;
    if (path.opens || count.wanted() < ready) ready = count.wanted();
  }
  void run(uint64_t looks) {
    at.clear();
    changes = 0;
    for (uint64_t i = 0; i < looks; ++i) look();
  }
  /// The part of the last run with this many lanes, or within a lane of it.
  double part_near(uint32_t lanes) const {
    uint64_t all = 0;
    uint64_t near = 0;
    for (const auto& [wanted, times] : at) {
      all += times;
      if (wanted + 1 >= lanes && wanted <= lanes + 1) near += times;
    }
    return static_cast<double>(near) / static_cast<double>(all);
  }

  Path path;
  Random random;
  LaneCount count;
  TimePoint now = start;
  uint32_t ready = count.wanted();
  uint64_t windows = 0;
  std::map<uint32_t, uint64_t> at;
  uint32_t most_wanted = 0;
  uint64_t changes = 0;
};

double each_capped(double lanes) { return std::min(lanes * 10 * mb_s, 80 * mb_s); }
double flat(double) { return 80 * mb_s; }

}  // namespace

TEST_CASE("where each lane is held, lanes are added until they fill the path") {
  const double noise = GENERATE(0.0, 0.05, 0.2);
  const uint64_t seed = GENERATE(as<uint64_t>(), 1, 2, 3, 4, 5);
  CAPTURE(noise, seed);
  Bench bench({.rate_of = each_capped, .noise = noise}, seed);
  bench.run(1200);  // two minutes
  bench.run(20'000);
  CHECK(bench.part_near(8) > 0.85);
  CHECK(bench.most_wanted <= 16);
}

TEST_CASE("growth takes some trials, not one for each lane") {
  Bench bench({.rate_of = each_capped});
  bench.run(20 + 3 * 30);
  CHECK(bench.count.wanted() >= 8);
  bench.run(150);  // twice as many, and half of that, and so on
  CHECK(bench.count.wanted() == 8);
}

TEST_CASE("where more lanes bring nothing, one it is, and trials become rare") {
  const double noise = GENERATE(0.0, 0.05, 0.2);
  const uint64_t seed = GENERATE(as<uint64_t>(), 1, 2, 3, 4, 5);
  CAPTURE(noise, seed);
  Bench bench({.rate_of = flat, .noise = noise}, seed);
  bench.run(2000);
  CHECK(bench.part_near(1) > 0.95);
  REQUIRE(bench.count.last_trial());
  bench.run(20'000);
  CHECK(bench.at[1] > 19'000);
  CHECK(bench.changes <= (noise > 0.1 ? 64 : 16));  // noise takes several trials to see through
}

TEST_CASE("lanes that are too many are taken away, down to those that fill the path") {
  const double noise = GENERATE(0.0, 0.05);
  const uint64_t seed = GENERATE(as<uint64_t>(), 1, 2, 3);
  CAPTURE(noise, seed);
  Bench bench({.rate_of = [](double lanes) { return std::min(lanes * 40 * mb_s, 80 * mb_s); }, .noise = noise}, seed, 8);
  bench.run(4000);
  bench.run(20'000);
  CHECK(bench.part_near(2) > 0.95);
  CHECK(bench.at[1] < 500);
}

TEST_CASE("what single steps down would cost adds up: all of them together cost less than a fiftieth") {
  const double noise = GENERATE(0.0, 0.03);
  const uint64_t seed = GENERATE(as<uint64_t>(), 1, 2, 3);
  CAPTURE(noise, seed);
  const auto slowly_less = [](double lanes) { return 80 * mb_s * std::pow(0.985, 16 - std::min(lanes, 16.0)); };
  Bench bench({.rate_of = slowly_less, .noise = noise}, seed, 16);
  bench.run(100'000);
  CHECK(bench.count.wanted() >= (noise > 0 ? 9 : 14));
}

TEST_CASE("noise takes no lanes away that bring something") {
  const uint64_t seed = GENERATE(as<uint64_t>(), 1, 2, 3, 4, 5);
  CAPTURE(seed);
  Bench bench({.rate_of = each_capped, .noise = 0.5}, seed, 8);
  bench.run(20'000);
  uint64_t with_fewer = 0;
  for (const auto& [wanted, times] : bench.at) with_fewer += wanted < 8 ? times : 0;
  CHECK(with_fewer < 500);  // while it was tried
}

TEST_CASE("a trial during which a lane is lost is void") {
  const bool settling = GENERATE(true, false);
  CAPTURE(settling);
  Bench bench({.rate_of = each_capped});
  while (bench.count.wanted() == 1) bench.look();
  while (bench.count.state() != (settling ? "settling" : "measuring")) bench.look();
  const uint64_t lost_at = bench.windows + 2;
  bench.path.lost = [lost_at](uint64_t window) { return window == lost_at ? 1 : 0; };
  bench.run(3);
  REQUIRE(bench.count.last_trial());
  CHECK(bench.count.last_trial()->to == 2);
  CHECK(bench.count.last_trial()->outcome == Outcome::lane_lost);
  CHECK(bench.count.wanted() == 1);
  bench.run(1000);
  CHECK(bench.at[8] > 300);
}

TEST_CASE("what fewer lanes carried while one was lost is compared with nothing") {
  // One of two is missing now and then, so that two seem to carry less than one more would bring.
  Bench bench({.rate_of = flat}, 1, 2);
  bench.path.rate_of = [](double lanes) { return (lanes < 2 ? 40 : 80) * mb_s; };
  bench.path.lost = [](uint64_t window) { return window > 5 && window % 16 < 10 ? 1 : 0; };
  bench.run(3000);
  CHECK(bench.count.wanted() == 2);
  CHECK_FALSE(bench.count.last_trial());
}

TEST_CASE("where more lanes harm, a trial is short and taken back") {
  Bench bench({.rate_of = [](double lanes) { return 80 * mb_s / lanes; }, .noise = 0.1});
  bench.run(1000);
  REQUIRE(bench.count.last_trial());
  const LaneCount::Trial trial = *bench.count.last_trial();
  CHECK(trial.from == 1);
  CHECK(trial.to == 2);
  CHECK(trial.outcome == Outcome::taken_back);
  CHECK(trial.before_bytes_s == Approx(80 * mb_s).epsilon(0.1));
  CHECK(trial.after_bytes_s == Approx(40 * mb_s).epsilon(0.1));
  CHECK(bench.count.wanted() == 1);
  CHECK(bench.most_wanted == 2);
  CHECK(bench.at[2] <= 5 * 25);
}

TEST_CASE("a gain below a twentieth is none, and one just above is") {
  const double gain = GENERATE(0.04, 0.06);
  Bench bench({.rate_of = [gain](double lanes) { return (lanes > 1 ? 1 + gain : 1) * 10 * mb_s; }});
  bench.run(60);
  REQUIRE(bench.count.last_trial());
  CHECK(bench.count.last_trial()->outcome == (gain > 0.05 ? Outcome::kept : Outcome::taken_back));
}

TEST_CASE("without enough to send nothing is tried, and waiting does not count") {
  Bench bench({.rate_of = each_capped, .busy = [](uint64_t) { return false; }});
  bench.run(10'000);
  CHECK(bench.changes == 0);
  CHECK_FALSE(bench.count.last_trial());
  // Bursts that are shorter than what is compared.
  bench.path.busy = [](uint64_t window) { return window % 20 < 8; };
  bench.run(10'000);
  CHECK(bench.changes == 0);
}

TEST_CASE("a trial that work ran out of is void, and does not make later ones rarer") {
  Bench bench({.rate_of = each_capped});
  while (bench.count.wanted() == 1) bench.look();
  bench.path.busy = [](uint64_t) { return false; };
  bench.run(20);
  REQUIRE(bench.count.last_trial());
  CHECK(bench.count.last_trial()->outcome == Outcome::not_enough);
  CHECK(bench.count.wanted() == 1);
  bench.run(1000);
  CHECK(bench.count.wanted() == 1);
  bench.path.busy = [](uint64_t) { return true; };
  bench.run(400);
  CHECK(bench.at[8] > 100);  // with trials of more, and of fewer, in between
}

TEST_CASE("single windows without enough to send are left out") {
  Bench bench({.rate_of = each_capped, .busy = [](uint64_t window) { return window % 7 != 0; }});
  bench.run(500);
  CHECK(bench.count.wanted() == 8);
}

TEST_CASE("lanes that don't stand in time are given up") {
  Bench bench({.rate_of = each_capped, .opens = false});
  bench.run(120);
  REQUIRE(bench.count.last_trial());
  CHECK(bench.count.last_trial()->outcome == Outcome::not_opened);
  CHECK(bench.count.wanted() == 1);
  bench.run(5000);
  CHECK(bench.at[1] > 4500);
}

TEST_CASE("the peer's and the engine's bound holds, also when it falls") {
  Bench bench({.rate_of = each_capped, .most = 5});
  bench.run(500);
  CHECK(bench.count.wanted() == 5);
  CHECK(bench.most_wanted == 5);
  bench.path.most = 2;
  bench.look();
  CHECK(bench.count.wanted() == 2);
  bench.path.most = 0;
  bench.look();
  CHECK(bench.count.wanted() == 1);
}

TEST_CASE("lanes that would take what isn't theirs are not tried, and go when they begin to") {
  bool held = false;
  Bench bench({.rate_of = each_capped, .may_add = [&held](uint32_t) { return held; }});
  bench.run(2000);
  CHECK(bench.most_wanted == 1);
  held = true;
  bench.run(500);
  CHECK(bench.count.wanted() == 8);
  held = false;
  bench.run(300);
  CHECK(bench.count.wanted() == 1);
  CHECK(bench.count.last_trial()->outcome == Outcome::shed);
}

TEST_CASE("a trial ends when its lanes begin to take what isn't theirs") {
  Bench bench({.rate_of = each_capped, .may_add = [](uint32_t lanes) { return lanes < 2; }});
  bench.run(60);
  REQUIRE(bench.count.last_trial());
  CHECK(bench.count.last_trial()->outcome == Outcome::not_allowed);
  CHECK(bench.count.wanted() == 1);
  bench.run(10'000);
  CHECK(bench.at[1] > 9'500);
}

TEST_CASE("a path that comes to hold each lane gets more, one that no longer does gets fewer") {
  bool holds = false;
  Bench bench({.rate_of = [&holds](double lanes) { return holds ? each_capped(lanes) : 80 * mb_s; }});
  bench.run(3000);
  CHECK(bench.count.wanted() == 1);
  holds = true;
  bench.run(10'000);
  CHECK(bench.count.wanted() == 8);
  holds = false;
  bench.run(10'000);
  CHECK(bench.count.wanted() == 1);
}

TEST_CASE("clocks that stand still or jump, and absurd counts, end nowhere") {
  Random random(7);
  LaneCount count(0);
  CHECK(count.wanted() == 1);
  TimePoint now = start;
  for (int i = 0; i < 50'000; ++i) {
    const uint64_t dice = random.next() % 8;
    now += dice == 0 ? Duration(-5s) : dice == 1 ? Duration(0) : dice == 2 ? Duration(1h) : Duration(50ms);
    const uint32_t most = 1 + static_cast<uint32_t>(random.next() % 64);
    const uint64_t bytes = dice == 3 ? UINT64_MAX : dice == 4 ? 0 : random.next() % 100'000'000;
    count.look(now, {.delivered_bytes = bytes,
                     .busy = random.next() % 16 != 0,
                     .may_add = random.next() % 64 != 0,
                     .ready = static_cast<uint32_t>(random.next() % 65),
                     .most = most});
    REQUIRE(count.wanted() >= 1);
    REQUIRE(count.wanted() <= most);
  }
}

TEST_CASE("a window is some round trips, within bounds") {
  CHECK(LaneCount::window(std::nullopt) == 50ms);
  CHECK(LaneCount::window(100us) == 50ms);
  CHECK(LaneCount::window(100ms) == 400ms);
  CHECK(LaneCount::window(1h) == 50ms);  // no round trip
  CHECK(LaneCount::window(100s) == 2s);
  CHECK(LaneCount::window(-1s) == 50ms);
}
