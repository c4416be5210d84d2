// The parts below the controllers: path model, pacer, budgets, remembered paths.
#include <algorithm>
#include <array>
#include <catch2/catch.hpp>
#include <optional>
#include <string>

#include "congestion/budget.h"
#include "congestion/pacer.h"
#include "congestion/path_cache.h"
#include "congestion/path_model.h"

namespace {

using namespace std::chrono_literals;
using haul::Duration;
using haul::PathMemory;
using haul::TimePoint;
using haul::congestion::Budget;
using haul::congestion::Pacer;
using haul::congestion::PathCache;
using haul::congestion::PathModel;

constexpr TimePoint start(1000s);

}  // namespace

TEST_CASE("a delivery rate is what arrived over the longer of sending and acknowledging") {
  PathModel model;
  auto first = model.on_sent(start, 1000);
  auto second = model.on_sent(start + 10ms, 1000);
  CHECK(model.in_flight_bytes() == 2000);
  model.acked(start + 100ms, first, 1000, 0);
  auto sample = model.finish_ack(start + 100ms);
  CHECK(sample.acked_bytes == 1000);
  CHECK(sample.rtt == 100ms);
  CHECK(sample.delivery_rate == 10'000);
  model.acked(start + 110ms, second, 1000, 400);
  sample = model.finish_ack(start + 110ms);
  CHECK(sample.marked_bytes == 400);
  CHECK(sample.delivery_rate == 18'181);  // 2000 bytes in 110 ms
  CHECK(sample.in_flight_bytes == 0);
}

TEST_CASE("what the ends need for an acknowledgement is no part of the round trip") {
  PathModel model;
  const auto round_trip = [&](TimePoint sent, TimePoint now, Duration ack_delay, Duration waited) {
    auto packet = model.on_sent(sent, 1000);
    model.acked(now, packet, 1000, 0);
    return model.finish_ack(now, ack_delay, waited).rtt;
  };
  // Of the first sample nothing shows whether the peer tells the truth.
  CHECK(round_trip(start, start + 105ms, 3ms, 5ms) == 100ms);
  CHECK(round_trip(start + 1s, start + 1120ms, 10ms, 5ms) == 105ms);
  // A peer may not say that the path is shorter than it ever was; this side's own clock may.
  CHECK(round_trip(start + 2s, start + 2103ms, 10ms, 0ms) == 100ms);
  CHECK(round_trip(start + 3s, start + 3103ms, 0ms, 10ms) == 93ms);
  CHECK(model.rtt().lowest() == 93ms);
}

TEST_CASE("what was never sent cannot be acknowledged or lost") {
  PathModel model;
  auto packet = model.on_sent(start, 1000);
  model.acked(start + 10ms, packet, 5000, 5000);
  CHECK(model.finish_ack(start + 10ms).acked_bytes == 1000);
  model.acked(start + 11ms, packet, 1000, 0);
  CHECK(model.finish_ack(start + 11ms).acked_bytes == 0);
  CHECK(model.lost(start + 12ms, packet, 1000).lost_bytes == 0);
  CHECK(model.in_flight_bytes() == 0);
  CHECK(model.delivered_bytes() == 1000);
}

TEST_CASE("samples of a sender without data are marked until it has gone through") {
  PathModel model;
  auto before = model.on_sent(start, 1000);
  model.on_app_limited();
  auto marked = model.on_sent(start + 1ms, 1000);
  model.acked(start + 10ms, before, 1000, 0);
  CHECK_FALSE(model.finish_ack(start + 10ms).app_limited);
  model.acked(start + 11ms, marked, 1000, 0);
  CHECK(model.finish_ack(start + 11ms).app_limited);
  auto after = model.on_sent(start + 12ms, 1000);
  model.acked(start + 22ms, after, 1000, 0);
  CHECK_FALSE(model.finish_ack(start + 22ms).app_limited);
}

TEST_CASE("the first sample after a pause is marked") {
  PathModel model;
  auto before = model.on_sent(start, 1000);
  model.on_app_limited();
  model.acked(start + 10ms, before, 1000, 0);
  model.finish_ack(start + 10ms);
  // Sent into an empty path, it shows a rate that the sender chose.
  auto first = model.on_sent(start + 1s, 1000);
  auto second = model.on_sent(start + 1s, 1000);
  model.acked(start + 1010ms, first, 1000, 0);
  CHECK(model.finish_ack(start + 1010ms).app_limited);
  model.acked(start + 1011ms, second, 1000, 0);
  CHECK(model.finish_ack(start + 1011ms).app_limited);
  auto third = model.on_sent(start + 1012ms, 1000);
  model.acked(start + 1022ms, third, 1000, 0);
  CHECK_FALSE(model.finish_ack(start + 1022ms).app_limited);
}

TEST_CASE("silence is noticed, probed, and ends with an acknowledgement") {
  PathModel model;
  auto first = model.on_sent(start, 1000);
  model.acked(start + 100ms, first, 1000, 0);
  model.finish_ack(start + 100ms);
  CHECK_FALSE(model.deadline());
  auto lost = model.on_sent(start + 200ms, 1000);
  REQUIRE(model.deadline());
  const TimePoint silent_at = *model.deadline();
  CHECK(silent_at > start + 300ms);
  CHECK(silent_at < start + 700ms);
  CHECK(model.on_timer(silent_at - 1ns) == PathModel::Timer::nothing);
  CHECK(model.on_timer(silent_at) == PathModel::Timer::silence);
  CHECK(model.silent());
  CHECK(*model.deadline() == silent_at + 50ms);
  CHECK(model.on_timer(silent_at + 50ms) == PathModel::Timer::probe);
  auto probe = model.on_sent(silent_at + 50ms, 1000);
  CHECK(model.lost(silent_at + 150ms, lost, 1000).in_silence);
  model.acked(silent_at + 150ms, probe, 1000, 0);
  model.finish_ack(silent_at + 150ms);
  CHECK_FALSE(model.silent());
  auto later = model.on_sent(silent_at + 200ms, 1000);
  CHECK_FALSE(model.lost(silent_at + 300ms, later, 1000).in_silence);
}

TEST_CASE("probes of a path that is gone for long become rare") {
  PathModel model;
  model.on_sent(start, 1000);
  TimePoint now = *model.deadline();
  for (int i = 0; i < 2000; ++i) {
    model.on_timer(now);
    now = *model.deadline();
  }
  const TimePoint before = now;
  model.on_timer(now);
  CHECK(*model.deadline() - before == 1s);
}

TEST_CASE("a pacer makes up for what came late, as far as that is forgiven") {
  const auto sent_after = [](Duration late, Duration forgiven) {
    Pacer pacer({});
    pacer.set_rate(100'000'000);
    pacer.forgive_late(forgiven);
    while (pacer.may_send(start)) pacer.on_sent(start, 1000);
    const TimePoint now = start + late;
    uint64_t sent = 0;
    for (; pacer.may_send(now); sent += 1000) pacer.on_sent(now, 1000);
    return sent;
  };
  CHECK(sent_after(1ms, 0ms) == 26'000);  // a quantum of 250 us, and what makes the debt
  CHECK(sent_after(1ms, 4ms) == 100'000);
  CHECK(sent_after(4ms, 4ms) == 400'000);
  CHECK(sent_after(1s, 4ms) == 401'000);
}

TEST_CASE("a pacer keeps its rate, in quanta, and saves up no more than one") {
  Pacer pacer({});
  pacer.set_rate(10'000'000);
  CHECK(pacer.quantum_bytes() == 2896);
  uint64_t sent = 0;
  for (TimePoint now = start; now < start + 1s; now += 10us) {
    while (pacer.may_send(now)) {
      pacer.on_sent(now, 1448);
      sent += 1448;
    }
  }
  CHECK(sent >= 9'990'000);
  CHECK(sent <= 10'010'000);
  // After a pause of an hour: one quantum.
  const TimePoint later = start + 1h;
  int burst = 0;
  while (pacer.may_send(later)) {
    pacer.on_sent(later, 1448);
    ++burst;
  }
  CHECK(burst == 3);
  // A rate that was nearly nothing does not hold the next one back.
  pacer.set_rate(1);
  pacer.on_sent(later, 1448);
  pacer.set_rate(10'000'000);
  CHECK(pacer.next() < later + 1ms);
  pacer.set_rate(0);
  CHECK(pacer.rate() == 1);
}

TEST_CASE("nested budgets: the tightest one counts, priorities see the last of it, rates change at once") {
  Budget link({.rate_bytes_s = 1'000'000, .depth = 10ms}, start);
  Budget tenant({.rate_bytes_s = 500'000, .depth = 10ms, .outer = &link}, start);
  Budget other({.rate_bytes_s = {}, .depth = 10ms, .outer = &link}, start);
  const auto spent = [](Budget& budget, TimePoint from, Duration length, uint8_t priority) {
    uint64_t bytes = 0;
    for (TimePoint now = from; now < from + length; now += 100us) {
      while (budget.spend(now, 1000, priority)) bytes += 1000;
    }
    return bytes;
  };
  const uint64_t first = spent(tenant, start, 1s, 0);
  CHECK(first >= 500'000);
  CHECK(first <= 506'000);
  tenant.set_rate(start + 1s, 100'000);
  const uint64_t slower = spent(tenant, start + 1s, 1s, 0);
  CHECK(slower >= 98'000);
  CHECK(slower <= 102'000);
  // Without a rate of its own, the outer one counts.
  const uint64_t outer = spent(other, start + 2s, 1s, 0);
  CHECK(outer >= 990'000);
  CHECK(outer <= 1'010'000);
  // The last quarter is for those above priority 0.
  CHECK_FALSE(other.spend(start + 3s, 1000, 0));
  CHECK(other.spend(start + 3s, 1000, 1));
  CHECK(other.ready_at(start + 3s, 0) > start + 3s);
}

TEST_CASE("nested budgets reach their rates with requests that are large against their buckets") {
  constexpr uint64_t request = 1'000'000;  // link: 60'000 in 5 ms
  Budget link({.rate_bytes_s = 12'000'000}, start);
  const auto reached = [&link](std::optional<uint64_t> first_rate, std::optional<uint64_t> second_rate) {
    std::array budgets{Budget({.rate_bytes_s = first_rate, .outer = &link}, start),
                       Budget({.rate_bytes_s = second_rate, .outer = &link}, start)};
    std::array<uint64_t, 2> bytes{};
    for (TimePoint now = start; now < start + 20s;) {
      // Who took less comes first; who may not is no obstacle to the other.
      const size_t behind = bytes[0] <= bytes[1] ? 0 : 1;
      for (const size_t i : {behind, 1 - behind}) {
        if (budgets.at(i).spend(now, request, 128)) bytes.at(i) += request;
      }
      now = std::min(*budgets[0].ready_at(now, 128), *budgets[1].ready_at(now, 128));
    }
    return std::array{static_cast<double>(bytes[0]) / 20, static_cast<double>(bytes[1]) / 20};
  };
  SECTION("one within its own") {
    const auto [bounded, rival] = reached(5'000'000, std::nullopt);
    CHECK(bounded == Approx(5e6).epsilon(0.03));
    CHECK(bounded + rival == Approx(12e6).epsilon(0.02));
  }
  SECTION("both within theirs, and the outer one's is still reached") {
    const auto [one, other] = reached(8'000'000, 5'000'000);
    CHECK(other == Approx(5e6).epsilon(0.03));
    CHECK(one + other == Approx(12e6).epsilon(0.02));
  }
}

TEST_CASE("what a budget holds for large requests is one of them, however long nobody asks") {
  Budget budget({.rate_bytes_s = 1'000'000}, start);
  CHECK(budget.spend(start, 100'000, 128));
  const auto spent_at = [&budget](TimePoint now, uint8_t priority) {
    uint64_t count = 0;
    while (budget.spend(now, 100'000, priority)) ++count;
    return count;
  };
  CHECK(spent_at(start + 1h, 128) == 2);  // the one, and one that overdraws
  // What is kept for higher priorities is a part of the bucket of 5 ms, not of a request.
  CHECK(budget.ready_at(start + 1h, 128) == start + 1h + 100ms);
  CHECK(budget.ready_at(start + 1h, 0) == start + 1h + 100ms + 1250us);
  // Half the rate, and back: what was earned beyond the smaller bucket is not lost, nor is more of it made.
  budget.set_rate(start + 2h, 500'000);
  CHECK(spent_at(start + 2h, 128) == 2);
}

TEST_CASE("what holds a request back is the budget that takes longest") {
  Budget link({.rate_bytes_s = 1'000'000, .depth = 10ms}, start);
  Budget tenant({.rate_bytes_s = 500'000, .depth = 10ms, .outer = &link}, start);
  Budget peer({.rate_bytes_s = {}, .outer = &tenant}, start);
  CHECK(peer.held(start, 128).by == nullptr);
  CHECK(peer.held(start, 128).until == start);
  REQUIRE(peer.spend(start, 20'000, 128));  // 10 ms in debt there, 30 ms here
  CHECK(peer.held(start, 128).by == &tenant);
  CHECK(peer.held(start, 128).until == start + 30ms);
  peer.set_rate(start, 0);
  CHECK(peer.held(start, 128).by == &peer);
  CHECK_FALSE(peer.held(start, 128).until);
  peer.set_rate(start, std::nullopt);
  tenant.set_rate(start, std::nullopt);
  CHECK(peer.held(start, 128).by == &link);
  CHECK(peer.held(start, 128).until == start + 10ms);
  peer.set_outer(nullptr);
  CHECK(peer.held(start, 128).by == nullptr);
}

TEST_CASE("a budget of nothing lets nothing through, and a debt ends where there is no rate") {
  Budget link({.rate_bytes_s = {}}, start);
  Budget budget({.rate_bytes_s = 1'000'000, .depth = 10ms, .outer = &link}, start);
  budget.set_rate(start, 0);
  CHECK_FALSE(budget.spend(start + 1h, 1, 255));
  CHECK_FALSE(budget.ready_at(start + 1h, 255));
  budget.set_rate(start + 1h, 1'000'000);
  link.set_rate(start + 1h, 0);
  CHECK_FALSE(budget.spend(start + 1h, 1, 255));
  link.set_rate(start + 1h, std::nullopt);
  CHECK(budget.spend(start + 1h + 1ms, 5'000'000, 255));
  CHECK_FALSE(budget.spend(start + 1h + 1s, 1, 255));
  budget.set_rate(start + 1h + 1s, std::nullopt);
  CHECK(budget.spend(start + 1h + 1s, 5'000'000, 255));
  budget.set_rate(start + 1h + 2s, 1'000'000);
  CHECK(budget.spend(start + 1h + 2s + 1ms, 1, 255));
}

TEST_CASE("remembered paths: bounded, aging, and back from their text") {
  PathCache cache({.max_paths = 2, .max_age_s = 100});
  const PathMemory memory{1'000'000, 20ms};
  cache.remember("a/b", memory, 10);
  cache.remember("a/c", memory, 20);
  CHECK_FALSE(cache.lend("a/b", 9));
  CHECK(cache.lend("a/b", 110) == memory);
  cache.give_back("a/b");
  CHECK_FALSE(cache.lend("a/b", 111));
  CHECK(cache.size() == 1);
  cache.remember("a/b", memory, 10);
  cache.remember("a/c", memory, 20);
  cache.remember("a/d", memory, 30);
  CHECK(cache.size() == 2);
  CHECK_FALSE(cache.lend("a/b", 30));
  cache.remember("with space", memory, 30);
  cache.remember("nothing", {}, 30);
  CHECK(cache.size() == 2);

  PathCache read({});
  CHECK(read.parse(cache.to_text(), "paths").ok());
  CHECK(read.lend("a/d", 31) == memory);
  CHECK(read.to_text() == cache.to_text());
  read.forget("a/d");
  CHECK_FALSE(read.lend("a/d", 31));

  const auto refused = read.parse("haul paths 1\na/c 1 x 3\n", "paths");
  CHECK(refused.message() == "paths:2: not a path, its window, round trip and time; delete the file, it only speeds up starts");
  CHECK(read.lend("a/c", 31) == memory);
  CHECK_FALSE(read.parse("something else", "paths").ok());
}

TEST_CASE("a remembered path is lent to one connection at a time") {
  PathCache cache({});
  const PathMemory memory{1'000'000, 20ms};
  cache.remember("a/b", memory, 10);
  CHECK(cache.lend("a/b", 11) == memory);
  CHECK_FALSE(cache.lend("a/b", 11));
  cache.give_back("a/b");
  CHECK(cache.lend("a/b", 12) == memory);
  // What is learnt anew is another memory; what failed is gone.
  cache.remember("a/b", memory, 20);
  CHECK(cache.lend("a/b", 21) == memory);
  cache.forget("a/b");
  CHECK_FALSE(cache.lend("a/b", 22));
}
