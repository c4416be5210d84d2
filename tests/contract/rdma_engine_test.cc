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

/// What an engine logs of itself, at least at `level`. Outlives the engines, which log to their end.
struct Logged {
  std::string text;
  EngineOptions into(EngineOptions options, LogLevel level) {
    options.log_level = level;
    options.log = [this](const LogRecord& record) { text += std::string(record.text) + "\n"; };
    return options;
  }
};

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

TEST_CASE("a read that ends without its bytes is done again, where devices end reads so", "[rdma]") {
  verbs::FabricOptions devices;
  devices.proves_reads = false;
  RdmaHarness harness(1, devices);
  EngineOptions unchecked = harness.options();
  unchecked.integrity = Integrity::off;
  Node& a = harness.start("a", unchecked);
  Node& b = harness.start("b", unchecked);
  Pair pair = harness.connect(a, b, asking(1, {{"rdma"}, {}, {}}));
  const Buffer local = allocate(a, 3'000'000);
  const Buffer source = allocate_filled(b, 3'000'000, 1);
  const RemoteBuffer remote = grant(pair.to_a, source.slice());
  harness.fabric().lose_reads(2);
  finish_ok(harness, pair.to_b.get(local.slice(), remote.slice()));
  CHECK(same(local.bytes(), source.bytes()));
  CHECK(a->stats().checksum_failures == 2);
}

TEST_CASE("an open number of lanes is two over rdma, one for each port, or one where lanes are dear", "[rdma]") {
  verbs::FabricOptions devices;
  struct Expected {
    size_t ports;
    bool windows;
    size_t lanes;
  };
  const auto expected = GENERATE(values<Expected>({{1, true, 2}, {3, true, 3}, {1, false, 1}, {3, false, 3}}));
  devices.windows = expected.windows;
  for (size_t i = 1; i < expected.ports; ++i) devices.devices.push_back(fmt::format("fake{}", i));
  RdmaHarness harness(1, devices);
  Pair pair = harness.connected_pair(asking(0));
  CHECK(harness.run([&] { return lanes_over(pair.to_b, "rdma over") == expected.lanes; }));
  for (size_t i = 0; i < expected.ports; ++i) CHECK(lanes_over(pair.to_b, fmt::format("rdma over fake{}", i)) > 0);
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
  Logged logged;
  RdmaHarness harness;
  Node& a = harness.start("a", logged.into(harness.options(), LogLevel::warning));
  Node& b = harness.start("b");
  harness.fabric().hold("a", true);
  PeerOptions options = asking(1);
  options.connect_timeout = 500ms;
  Pair pair = harness.connect(a, b, options);
  CHECK_THAT(pair.to_b.explain(), Catch::Contains("rdma: none of its lanes is ready yet, payload goes over control"));
  CHECK_THAT(logged.text, Catch::Contains("none of its lanes is ready yet"));
  harness.fabric().hold("a", false);
  CHECK(harness.run([&] { return lanes_over(pair.to_b, "rdma over") == 1; }));
  CHECK(harness.run([&] { return pair.to_b.explain().find("rdma: chosen for payload, now") != std::string::npos; }));
}

// A server like `haul serve`: it speaks first.
void greet_arrivals(Node& node) {
  node.inbox.on_peer = [](Peer peer) { CHECK(peer.send(bytes_of("welcome")).ok()); };
}

/// Connects and waits for the outcome, which must come within the connect timeout.
Status outcome_of(Harness& harness, Node& a, Node& b, PeerOptions options) {
  options.connect_timeout = 1s;
  std::optional<Status> outcome;
  options.on_ready = [&outcome](Peer, const Status& status) { outcome = status; };
  REQUIRE(a->connect(b.address, options).ok());
  REQUIRE(harness.run([&] { return outcome.has_value(); }, 1010ms));
  harness.run_for(100ms);
  INFO(outcome->to_string());
  CHECK((outcome->ok() || a.inbox.letters.empty()));
  return *outcome;
}

std::vector<std::unique_ptr<Transport>> only(std::unique_ptr<Transport> transport) {
  std::vector<std::unique_ptr<Transport>> transports;
  transports.push_back(std::move(transport));
  return transports;
}

TEST_CASE("connecting with rdma required fails where the peer has none, and says what to do", "[rdma]") {
  RdmaHarness harness;
  Node& a = harness.start("a");
  Node& b = harness.start("b", harness.options(), only(harness.make_control_transport("b")));
  greet_arrivals(b);
  const Status outcome = outcome_of(harness, a, b, asking(1, {{"rdma"}, {}, {}}));
  CHECK(outcome.code() == StatusCode::refused);
  const std::string text(outcome.message());
  CHECK_THAT(text, Catch::Contains("rdma: the peer refuses: this engine has no transport rdma"));
  CHECK_THAT(text, Catch::Contains("--transport auto"));
}

TEST_CASE("connecting with rdma required fails where the peer's device can't be reached, and says what to do", "[rdma]") {
  const bool port_down = GENERATE(false, true);
  RdmaHarness harness;
  Node& a = harness.start("a");
  Node& b = harness.start("b");
  greet_arrivals(b);
  if (port_down) {
    harness.fabric().set_port("b", "fake0", false);
  } else {
    harness.fabric().partition("a", "b");
  }
  const Status outcome = outcome_of(harness, a, b, asking(1, {{"rdma"}, {}, {}}));
  CHECK_FALSE(outcome.ok());
  const std::string text(outcome.message());
  CHECK_THAT(text, Catch::Contains("rdma: ") && Catch::Contains(port_down ? "down" : "no acknowledgement"));
  CHECK_THAT(text, Catch::Contains("--transport auto"));
}

TEST_CASE("connecting with rdma required fails at the connect timeout where lanes never open", "[rdma]") {
  RdmaHarness harness;
  Node& a = harness.start("a");
  Node& b = harness.start("b");
  greet_arrivals(b);
  harness.fabric().hold("a", true);
  const Status outcome = outcome_of(harness, a, b, asking(1, {{"rdma"}, {}, {}}));
  CHECK(outcome.code() == StatusCode::unavailable);
  CHECK_THAT(std::string(outcome.message()), Catch::Contains("rdma: ") && Catch::Contains("within the connect timeout"));
  CHECK_THAT(std::string(outcome.message()), Catch::Contains("--transport auto"));
}

TEST_CASE("the word that a peer is ready tells over what", "[rdma]") {
  const bool required = GENERATE(false, true);
  Logged logged;
  RdmaHarness harness;
  Node& a = harness.start("a", logged.into(harness.options(), LogLevel::info));
  Node& b = harness.start("b");
  if (!required) {  // rdma lanes are too late
    harness.fabric().hold("a", true);
    greet_arrivals(b);
  }
  harness.connect(a, b, asking(2, {required ? std::vector<std::string>{"rdma"} : std::vector<std::string>{}, {}, {}}));
  CHECK_THAT(logged.text, Catch::Contains(required ? "is ready: payload over 2 rdma lane(s): rdma over fake0 port 1"
                                                   : "is ready: payload over 1 control lane(s): fake one-sided"));
  CHECK_THAT(logged.text, Catch::Contains(required ? "; control messages over control" : "; 2 rdma lane(s) still opening"));
}

TEST_CASE("what a peer says before its lanes are ready is heard once they are", "[rdma]") {
  RdmaHarness harness;
  Node& a = harness.start("a");
  Node& b = harness.start("b");
  b.inbox.on_peer = [](Peer peer) {
    for (const char* word : {"one", "two", "three"}) CHECK(peer.send(bytes_of(word)).ok());
  };
  bool ready = false;
  a.inbox.on_message = [&ready](Peer, const Message&) { CHECK(ready); };
  PeerOptions options = asking(2, {{"rdma"}, {}, {}});
  options.on_ready = [&ready](Peer peer, const Status& status) {
    CHECK(status.ok());
    CHECK(lanes_over(peer, "rdma over") > 0);
    ready = true;
  };
  harness.fabric().hold("a", true);
  REQUIRE(a->connect(b.address, options).ok());
  harness.run_for(100ms);
  CHECK(a.inbox.letters.empty());
  harness.fabric().hold("a", false);
  REQUIRE(harness.run([&] { return a.inbox.letters.size() == 3; }));
  CHECK(text_of(a.inbox.letters[0].payload) == "one");
  CHECK(text_of(a.inbox.letters[2].payload) == "three");
}

}  // namespace
}  // namespace haul::contract

#endif
