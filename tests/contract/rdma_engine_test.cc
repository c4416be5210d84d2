// The engine with payload over rdma lanes beside a first lane of another kind: life signs, lanes that fail, what stands in.
#include "contract/fixture.h"

#ifdef HAUL_CONTRACT_RDMA

#include <fmt/format.h>

namespace haul::contract {
namespace {

PeerOptions asking(uint32_t lanes, TransportPolicy policy = {}) {
  PeerOptions options;
  options.lanes = lanes;
  options.policy = std::move(policy);
  return options;
}

size_t lanes_over(const Peer& peer, std::string_view text) {
  size_t count = 0;
  for (const LaneStats& lane : peer.stats().lanes) count += lane.description.find(text) != std::string::npos ? 1 : 0;
  return count;
}

TEST_CASE("that our own side may send again is no sign of the peer's life", "[rdma]") {
  RdmaHarness harness;
  Pair pair = harness.connected_pair(asking(1));
  pair.a.record->writable_every = 100ms;
  harness.run_for(5s);
  CHECK(pair.a.inbox.closed.empty());
  pair.b.stalled = true;  // its devices go on acknowledging
  REQUIRE(harness.run([&] { return !pair.a.inbox.closed.empty(); }));
  CHECK(pair.a.inbox.closed[0].second.code() == StatusCode::peer_lost);
  CHECK_THAT(std::string(pair.a.inbox.closed[0].second.message()), Catch::Contains("no sign of life"));
}

TEST_CASE("reads that the peer's devices serve alone are no sign of its life", "[rdma]") {
  RdmaHarness harness;
  EngineOptions unchecked = harness.options();
  unchecked.integrity = Integrity::off;
  Node& a = harness.start("a", unchecked);
  Node& b = harness.start("b");
  Pair pair = harness.connect(a, b, asking(1));
  const Buffer local = allocate(a, 100'000);
  const Buffer source = allocate_filled(b, 100'000, 1);
  const RemoteBuffer remote = grant(pair.to_a, source.slice());
  finish_ok(harness, pair.to_b.get(local.slice(), remote.slice()));
  b.stalled = true;
  const TimePoint start = harness.clock().now();
  for (int i = 0; i < 100 && a.inbox.closed.empty(); ++i) {
    const Transfer get = pair.to_b.get(local.slice(), remote.slice());
    harness.run_for(100ms);
  }
  REQUIRE(a.inbox.closed.size() == 1);
  CHECK(a.inbox.closed[0].second.code() == StatusCode::peer_lost);
  CHECK(harness.clock().now() - start < 3s);
}

TEST_CASE("a lane that failed while others were set up is opened later", "[rdma]") {
  RdmaHarness harness;
  Node& a = harness.start("a");
  Node& b = harness.start("b");
  a.record->joins_left = 2;
  a.record->joins_fail = Status(StatusCode::unavailable, "no");
  Pair pair = harness.connect(a, b, asking(4, {{"rdma"}, {}, {}}));
  CHECK(lanes_over(pair.to_b, "rdma over") == 2);
  a.record->joins_fail.reset();
  CHECK(harness.run([&] { return lanes_over(pair.to_b, "rdma over") == 4; }));
}

TEST_CASE("lanes that close while they open are tried ever more rarely", "[rdma]") {
  RdmaHarness harness;
  Pair pair = harness.connected_pair(asking(1));
  harness.fabric().partition("a", "b");
  const uint64_t before = pair.a.record->opened;
  harness.run_for(20s);
  CHECK(pair.a.record->opened - before >= 4);
  CHECK(pair.a.record->opened - before <= 10);
  harness.fabric().heal("a", "b");
  CHECK(harness.run([&] { return lanes_over(pair.to_b, "rdma over") == 1; }));
}

TEST_CASE("lanes on which no grant can be made are tried ever more rarely, and payload goes on", "[rdma]") {
  RdmaHarness harness;
  Pair pair = harness.connected_pair(asking(1));
  const Buffer local = allocate_filled(pair.a, 100'000, 1);
  Buffer target = allocate(pair.b, 100'000);
  const RemoteBuffer remote = grant(pair.to_a, target.slice());
  pair.b.record->grants_fail = Status(StatusCode::exhausted, "no memory window left");
  harness.fabric().break_queue_pairs("a");
  const uint64_t before = pair.a.record->opened;
  harness.run_for(20s);
  CHECK(pair.a.record->opened - before >= 4);
  CHECK(pair.a.record->opened - before <= 10);
  finish_ok(harness, pair.to_b.put(local.slice(), remote.slice()));
  CHECK(same(local.bytes(), target.bytes()));
  pair.b.record->grants_fail.reset();
  CHECK(harness.run([&] { return lanes_over(pair.to_b, "rdma over") == 1; }));
}

TEST_CASE("a graceful close ends though the lane of an unconfirmed notification dies", "[rdma]") {
  RdmaHarness harness;
  Pair pair = harness.connected_pair(asking(1));
  TransferOptions options;
  options.notify = bytes_of("all there");
  finish_ok(harness, pair.to_b.put_batch({}, std::move(options)));  // nothing to place: it is over at once
  pair.to_b.close();
  harness.fabric().break_queue_pairs("a");
  const TimePoint start = harness.clock().now();
  REQUIRE(harness.run([&] { return !pair.a.inbox.closed.empty() && !pair.b.inbox.closed.empty(); }));
  CHECK(pair.a.inbox.closed[0].second.ok());
  CHECK(pair.b.inbox.closed[0].second.ok());
  CHECK(harness.clock().now() - start < 1s);
  REQUIRE(pair.b.inbox.letters.size() == 1);
  CHECK(text_of(pair.b.inbox.letters[0].payload) == "all there");
}

TEST_CASE("a graceful close waits until queued messages have left", "[rdma]") {
  RdmaHarness harness;
  Pair pair = harness.connected_pair(asking(1));
  constexpr size_t count = 100;  // more than the first lane takes at one time
  for (size_t i = 0; i < count; ++i) REQUIRE(pair.to_b.send(bytes_of("x")).ok());
  pair.to_b.close();
  REQUIRE(harness.run([&] { return !pair.a.inbox.closed.empty() && !pair.b.inbox.closed.empty(); }));
  CHECK(pair.a.inbox.closed[0].second.ok());
  CHECK(pair.b.inbox.closed[0].second.ok());
  CHECK(pair.b.inbox.letters.size() == count);
}

TEST_CASE("a grant that rdma lanes can't take is made for the other transport, unless rdma is required", "[rdma]") {
  const bool required = GENERATE(false, true);
  const bool later = GENERATE(false, true);  // the second of two lanes can't
  RdmaHarness harness;
  TransportPolicy policy;
  if (required) policy.require = {"rdma"};
  Pair pair = harness.connected_pair(asking(2, policy));
  const Buffer local = allocate_filled(pair.a, 100'000, 1);
  Buffer target = allocate(pair.b, 100'000);
  pair.b.record->grants_fail = Status(StatusCode::exhausted, "no memory window left");
  pair.b.record->grants_left = later ? 1 : 0;
  const auto granted = pair.to_a.grant(target.slice(), Rights::read_write);
  if (required) {
    CHECK(granted.status().code() == StatusCode::exhausted);
    CHECK(lanes_over(pair.to_b, "rdma over") == 2);
    // What a lane granted before the other refused is taken back: the memory may go.
    const uint64_t registered = harness.fabric().registered_bytes();
    {
      Buffer brief = allocate(pair.b, 50'000);
      pair.b.record->grants_left = later ? 1 : 0;
      CHECK(pair.to_a.grant(brief.slice(), Rights::read_write).status().code() == StatusCode::exhausted);
    }
    CHECK(harness.run([&] { return harness.fabric().registered_bytes() == registered; }));
    pair.b.record->grants_fail.reset();
    const RemoteBuffer again = grant(pair.to_a, target.slice());
    finish_ok(harness, pair.to_b.put(local.slice(), again.slice()));
  } else {
    REQUIRE(granted.ok());
    finish_ok(harness, pair.to_b.put(local.slice(), granted.value().slice()));
  }
  CHECK(same(local.bytes(), target.bytes()));
}

TEST_CASE("a grant is made while a lane ends", "[rdma]") {
  const bool required = GENERATE(false, true);
  const auto code = GENERATE(StatusCode::peer_lost, StatusCode::unavailable, StatusCode::invalid);
  RdmaHarness harness;
  TransportPolicy policy;
  if (required) policy.require = {"rdma"};
  Pair pair = harness.connected_pair(asking(1, policy));
  const Buffer local = allocate_filled(pair.a, 100'000, 1);
  Buffer target = allocate(pair.b, 100'000);
  pair.b.record->grants_fail = Status(code, "the connection is closed");
  harness.fabric().break_queue_pairs("b");
  const RemoteBuffer remote = grant(pair.to_a, target.slice());
  pair.b.record->grants_fail.reset();
  finish_ok(harness, pair.to_b.put(local.slice(), remote.slice()));
  CHECK(same(local.bytes(), target.bytes()));
}

TEST_CASE("why a lane could not be joined is told", "[rdma]") {
  const bool required = GENERATE(false, true);
  RdmaHarness harness;
  Node& a = harness.start("a");
  Node& b = harness.start("b");
  a.record->joins_fail = Status(StatusCode::invalid, "fake0 port 1 cannot reach fe80::2");
  PeerOptions options = asking(1);
  if (required) options.policy.require = {"rdma"};
  std::optional<Status> outcome;
  options.on_ready = [&outcome](Peer, const Status& status) { outcome = status; };
  const auto peer = a->connect(b.address, options);
  REQUIRE(peer.ok());
  REQUIRE(harness.run([&] { return outcome.has_value(); }));
  if (required) {
    CHECK_THAT(std::string(outcome->message()), Catch::Contains("cannot reach fe80::2"));
  } else {
    CHECK(outcome->ok());
    CHECK_THAT(peer.value().explain(), Catch::Contains("rdma: fake0 port 1 cannot reach fe80::2"));
  }
}

TEST_CASE("a peer that is ready before its rdma lanes says so, and when they are", "[rdma]") {
  std::string logged;  // outlives the engines, which log to their end
  RdmaHarness harness;
  EngineOptions engine_options = harness.options();
  engine_options.log = [&logged](const LogRecord& record) {
    if (record.level == LogLevel::warning) logged += std::string(record.text) + "\n";
  };
  Node& a = harness.start("a", engine_options);
  Node& b = harness.start("b");
  harness.fabric().hold("a", true);
  PeerOptions options = asking(1);
  options.connect_timeout = 500ms;
  Pair pair = harness.connect(a, b, options);
  CHECK_THAT(pair.to_b.explain(), Catch::Contains("rdma: none of its lanes is ready yet, payload goes over control"));
  CHECK_THAT(logged, Catch::Contains("none of its lanes is ready yet"));
  harness.fabric().hold("a", false);
  CHECK(harness.run([&] { return lanes_over(pair.to_b, "rdma over") == 1; }));
  CHECK(harness.run([&] { return pair.to_b.explain().find("rdma: chosen for payload, now") != std::string::npos; }));
}

}  // namespace
}  // namespace haul::contract

#endif
