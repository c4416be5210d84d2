// The emulated path in virtual time: rate, queue, delay, loss, outages, order.
#include "wan/one_way.h"

#include <catch2/catch.hpp>
#include <cmath>

#include "wan/frames.h"

using namespace std::chrono_literals;
using wan::Duration;
using wan::OneWay;
using wan::Run;
using wan::TimePoint;
using namespace wan_test;

namespace {

constexpr TimePoint start{1000s};

flowsim::Link link_of(uint64_t rate_bytes_s, Duration rtt, uint64_t buffer_bytes) {
  flowsim::Link link;
  link.rate_bytes_s = rate_bytes_s;
  link.rtt = rtt;
  link.buffer_bytes = buffer_bytes;
  return link;
}

/// Takes all that is under way, each segment when it is due.
std::vector<Run> drain(OneWay& way) {
  std::vector<Run> runs;
  while (const auto due = way.next_due()) {
    Run run;
    REQUIRE(way.take(*due, run));
    runs.push_back(run);
  }
  return runs;
}

/// Sends packets below the rate; returns how many arrived.
uint64_t survivors(const flowsim::Link& link, uint64_t packets) {
  OneWay way(link, 7, start);
  way.begin(start);
  const auto packet = plain(1500);
  uint64_t arrived = 0;
  for (uint64_t i = 0; i < packets; ++i) {
    const TimePoint now = start + i * 20us;
    way.enter(now, packet);
    Run run;
    while (way.take(now, run)) arrived += run.count;
  }
  for (const Run& run : drain(way)) arrived += run.count;
  return arrived;
}

}  // namespace

TEST_CASE("a lone packet takes its serialisation and half the round trip") {
  OneWay way(link_of(1'500'000, 40ms, 100'000), 1, start);
  way.enter(start, plain(1500));
  CHECK(way.next_due() == start + 1ms + 20ms);
  Run run;
  CHECK_FALSE(way.take(start + 21ms - 1ns, run));
  REQUIRE(way.take(start + 21ms, run));
  CHECK(run.count == 1);
  CHECK(run.due == start + 21ms);
  CHECK_FALSE(way.next_due());
}

TEST_CASE("each segment of a super-packet is serialised by itself") {
  OneWay way(link_of(1'500'000, 40ms, 100'000), 1, start);
  way.enter(start, packet_of({3 * 1460, 1460}));
  const auto runs = drain(way);
  REQUIRE(runs.size() == 3);
  for (uint32_t i = 0; i < 3; ++i) {
    CHECK(runs[i].first == i);
    CHECK(runs[i].due == start + (i + 1) * 1ms + 20ms);
  }
}

TEST_CASE("segments that are taken late come together, but never those of two frames") {
  OneWay way(link_of(1'500'000, 40ms, 100'000), 1, start);
  way.enter(start, packet_of({3 * 1460, 1460}));
  way.enter(start, packet_of({2 * 1460, 1460}));
  Run run;
  REQUIRE(way.take(start + 1s, run));
  CHECK(run.count == 3);
  CHECK(run.due == start + 21ms);
  REQUIRE(way.take(start + 1s, run));
  CHECK(run.first == 0);
  CHECK(run.count == 2);
  CHECK_FALSE(way.take(start + 1s, run));
}

TEST_CASE("a queue of packets drops what does not fit, packet by packet") {
  // Room for ten packets and a bit, one of them in service.
  OneWay way(link_of(1'500'000, 10ms, 15'500), 1, start);
  way.begin(start);
  way.enter(start, packet_of({16 * 1460, 1460}));
  const auto runs = drain(way);
  uint32_t arrived = 0;
  for (const Run& run : runs) arrived += run.count;
  CHECK(arrived == 10);
  CHECK(way.bottleneck().dropped_packets() == 6);
  CHECK(way.queue_delay(start) == 10ms);
}

TEST_CASE("a flow above the rate leaves at the rate") {
  OneWay way(link_of(62'500'000, 100ms, 6'250'000), 1, start);
  const auto packet = plain(1500);
  for (int i = 0; i < 50'000; ++i) way.enter(start + i * 12us, packet);  // twice the rate, for 0.6 s
  const auto runs = drain(way);
  const double bytes = 1500.0 * static_cast<double>(runs.size() - 1);
  const double seconds = std::chrono::duration<double>(runs.back().due - runs.front().due).count();
  CHECK(bytes / seconds == Approx(62'500'000).epsilon(1e-4));
}

TEST_CASE("what is under way at the beginning stays in front, and the rate holds across it") {
  OneWay way(link_of(1'250'000, 2ms, 100'000), 1, start);
  for (int i = 0; i < 5; ++i) way.enter(start, plain(1500));  // 1.2 ms each
  way.begin(start + 1ms);
  CHECK(way.queue_delay(start + 1ms) == 5ms);
  for (int i = 0; i < 5; ++i) way.enter(start + 1ms, plain(1500U - static_cast<uint32_t>(i)));
  CHECK(way.bottleneck().passed_packets() == 5);
  const auto runs = drain(way);
  REQUIRE(runs.size() == 10);
  for (size_t i = 0; i < 5; ++i) {
    CHECK(runs[i].due == start + (i + 1) * 1200us + 1ms);
    CHECK(runs[i].packet->wire_bytes(0) == 1500);
    CHECK(runs[i + 5].packet->wire_bytes(0) == 1500 - i);
  }
  CHECK(runs[9].due == start + 10 * 1200us - 8us + 1ms);  // ten bytes less
}

TEST_CASE("jitter from before the beginning keeps the order after it") {
  auto link = link_of(1'250'000'000, 2ms, 1'000'000);
  link.jitter = 5ms;
  OneWay way(link, 1, start);
  way.begin(start);
  for (int i = 0; i < 20; ++i) way.enter(start, plain(1500));
  way.begin(start);
  for (int i = 0; i < 20; ++i) way.enter(start, plain(1000));
  const auto runs = drain(way);
  REQUIRE(runs.size() == 40);
  for (size_t i = 0; i < 40; ++i) CHECK(runs[i].packet->wire_bytes(0) == (i < 20 ? 1500 : 1000));
}

TEST_CASE("random loss is within the bounds of chance") {
  constexpr uint64_t packets = 200'000;
  auto link = link_of(125'000'000, 10ms, 1'000'000);
  CHECK(survivors(link, packets) == packets);
  for (const double loss : {0.001, 0.01, 0.2}) {
    link.loss = loss;
    const double lost = static_cast<double>(packets - survivors(link, packets));
    CHECK(std::abs(lost - loss * packets) < 4 * std::sqrt(packets * loss * (1 - loss)));
  }
}

TEST_CASE("burst loss comes in bursts of the length that was asked for") {
  auto link = link_of(125'000'000, 10ms, 1'000'000);
  link.burst_loss = flowsim::BurstLoss{0.001, 0.1, 1};
  constexpr uint64_t packets = 1'000'000;
  const double lost = static_cast<double>(packets - survivors(link, packets));
  CHECK(lost / packets == Approx(0.001 / 0.101).epsilon(0.1));
}

TEST_CASE("nothing arrives of what is sent in an outage, whichever way") {
  auto link = link_of(62'500'000, 100ms, 6'250'000);
  link.outages.push_back({1s, 2s});
  for (const auto& one : {link, wan::backward(link)}) {
    OneWay way(one, 1, start);
    way.begin(start + 5s);
    Run run;
    for (const auto& [at, arrives] : std::vector<std::pair<Duration, bool>>{{5900ms, true}, {6100ms, false}, {8100ms, true}}) {
      way.enter(start + at, plain(1500));
      CHECK(way.next_due().has_value() == arrives);
      while (way.take(start + at + 1s, run)) continue;
    }
  }
}

TEST_CASE("before it begins a link has rate, queue and delay only") {
  auto link = link_of(1'500'000, 40ms, 100'000);
  link.loss = 1;
  link.outages.push_back({0s, 100s});
  OneWay way(link, 1, start);
  way.enter(start, plain(1500));
  CHECK(way.next_due() == start + 21ms);
  way.begin(start + 1s);
  way.enter(start + 1s, plain(1500));
  CHECK(drain(way).size() == 1);
  CHECK(way.bottleneck().lost_packets() == 1);
}

TEST_CASE("jitter delays, and keeps the order; reordering does not") {
  auto link = link_of(62'500'000, 20ms, 6'250'000);
  link.jitter = 3ms;
  const auto late_and_order = [](const flowsim::Link& asked) {
    OneWay way(asked, 3, start);
    way.begin(start);
    std::vector<std::shared_ptr<const wan::Packet>> sent;
    for (int i = 0; i < 1000; ++i) {
      sent.push_back(plain(1500));
      way.enter(start + i * 100us, sent.back());
    }
    size_t out_of_order = 0;
    const auto runs = drain(way);
    REQUIRE(runs.size() == sent.size());
    for (size_t i = 0; i < sent.size(); ++i) out_of_order += runs[i].packet != sent[i];
    const Duration last = runs.back().due - (start + 99'900us + 24us + 10ms);
    return std::pair(last, out_of_order);
  };
  const auto [last, out_of_order] = late_and_order(link);
  CHECK(last >= Duration::zero());
  CHECK(last <= 3ms);
  CHECK(out_of_order == 0);
  link.jitter = Duration::zero();
  link.reorder = 0.01;
  link.reorder_delay = 1ms;
  CHECK(late_and_order(link).second > 0);
}

TEST_CASE("acknowledgements have a rate of their own where the link says so, and no loss") {
  auto link = link_of(62'500'000, 100ms, 6'250'000);
  link.loss = 0.5;
  link.jitter = 1ms;
  link.codel_target = 5ms;
  link.steps.push_back({1s, 1'000'000});
  CHECK(wan::backward(link).rate_bytes_s == 62'500'000);
  CHECK(wan::backward(link).steps.size() == 1);
  CHECK(wan::backward(link).loss == 0);
  CHECK(wan::backward(link).jitter == Duration::zero());
  CHECK(wan::backward(link).codel_target == Duration::zero());
  link.back_rate_bytes_s = 375'000;
  CHECK(wan::backward(link).rate_bytes_s == 375'000);
  CHECK(wan::backward(link).steps.empty());
}

TEST_CASE("links that can't be emulated are refused with a remedy") {
  const auto fine = link_of(62'500'000, 100ms, 6'250'000);
  CHECK(wan::complaint(fine).empty());
  const auto refused = [&](const char* word, const auto& change) {
    auto link = fine;
    change(link);
    INFO(wan::complaint(link));
    CHECK(wan::complaint(link).find(word) != std::string::npos);
  };
  refused("10G", [](auto& link) { link.rate_bytes_s = 1'250'000'001; });
  refused("64K", [](auto& link) { link.rate_bytes_s = 7'999; });
  refused("64K", [](auto& link) { link.back_rate_bytes_s = 1; });
  refused("64K", [](auto& link) { link.steps.push_back({1s, 0}); });
  refused("ordered by time", [](auto& link) {
    link.steps.push_back({2s, 1'000'000});
    link.steps.push_back({1s, 2'000'000});
  });
  refused("turning good", [](auto& link) { link.burst_loss = flowsim::BurstLoss{0.01, 0, 0.5}; });
  refused("above 0", [](auto& link) { link.rtt = Duration::zero(); });
  refused("at least 4ms", [](auto& link) { link.rtt = 4ms - 1ns; });
  refused("10s", [](auto& link) { link.rtt = 11s; });
  refused("one packet", [](auto& link) { link.buffer_bytes = 1499; });
  refused("under way", [](auto& link) { link.buffer_bytes = 600'000'000; });
  refused("ECN", [](auto& link) { link.mark_above = 1ms; });
}
