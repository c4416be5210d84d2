// EngineOptions::accept_policy: over what the payload of peers that come may go, in both directions.
#include "contract/fixture.h"

namespace haul::contract {
namespace {

EngineOptions accepting(const Harness& harness, TransportPolicy policy) {
  EngineOptions options = harness.options();
  options.accept_policy = std::move(policy);
  return options;
}

std::vector<std::unique_ptr<Transport>> only(std::unique_ptr<Transport> transport) {
  std::vector<std::unique_ptr<Transport>> transports;
  transports.push_back(std::move(transport));
  return transports;
}

/// Both ways, by either side's put and get.
void move_both_ways(Harness& harness, Pair& pair) {
  const Buffer at_a = allocate_filled(pair.a, 100'000, 1);
  const Buffer at_b = allocate_filled(pair.b, 100'000, 2);
  const RemoteBuffer of_a = grant(pair.to_b, at_a.slice());
  const RemoteBuffer of_b = grant(pair.to_a, at_b.slice());
  finish_ok(harness, pair.to_b.put(at_a.slice(), of_b.slice()));
  finish_ok(harness, pair.to_b.get(at_a.slice(), of_b.slice()));
  finish_ok(harness, pair.to_a.put(at_b.slice(), of_a.slice()));
  finish_ok(harness, pair.to_a.get(at_b.slice(), of_a.slice()));
  CHECK(same(at_a.bytes(), at_b.bytes()));
}

BACKEND_TEST_CASE("peers come over what the acceptor requires", "[contract][peers]") {
  const auto made = backend.make();
  Harness& harness = *made;
  const std::string name(harness.abilities().transport);
  Node& a = harness.start("a");
  Node& b = harness.start("b", accepting(harness, {{name}, {}, {}}));
  PeerOptions options;
  options.lanes = 2;
  Pair pair = harness.connect(a, b, options);
  move_both_ways(harness, pair);
}

BACKEND_TEST_CASE("an accept policy that the engine can't keep is an error", "[contract][peers]") {
  const auto made = backend.make();
  Harness& harness = *made;
  const std::string name(harness.abilities().transport);
  const auto creation = [&](TransportPolicy policy) {
    return Engine::create(accepting(harness, std::move(policy)), only(harness.make_transport("x"))).status();
  };
  const Status absent = creation({{name, "pigeon"}, {}, {}});
  CHECK(absent.code() == StatusCode::invalid);
  CHECK_THAT(std::string(absent.message()), Catch::Contains("accept_policy requires transport pigeon"));
  const Status nothing = creation({{}, {}, {name}});
  CHECK(nothing.code() == StatusCode::invalid);
  CHECK_THAT(std::string(nothing.message()), Catch::Contains("leaves no transport for payload") && Catch::Contains(name));
  CHECK(creation({{}, {"pigeon"}, {"pigeon"}}).ok());
}

BACKEND_TEST_CASE("preferring a transport that the engine lacks is warned of", "[contract][peers]") {
  const auto made = backend.make();
  Harness& harness = *made;
  std::string logged;
  EngineOptions options = accepting(harness, {{}, {"pigeon"}, {}});
  options.log = [&logged](const LogRecord& record) { logged += record.text; };
  options.log_level = LogLevel::warning;
  REQUIRE(Engine::create(options, only(harness.make_transport("x"))).ok());
  CHECK_THAT(logged, Catch::Contains("prefers transport pigeon"));
}

#ifdef HAUL_CONTRACT_RDMA

const TransportPolicy require_rdma{{"rdma"}, {}, {}};

size_t lanes_over(const Peer& peer, std::string_view transport) {
  size_t count = 0;
  for (const LaneStats& lane : peer.stats().lanes) count += lane.transport == transport ? 1 : 0;
  return count;
}

struct Outcome {
  std::optional<Status> status;
  Peer peer;
  PeerOptions watched(PeerOptions options) {
    options.on_ready = [this](Peer, const Status& outcome) { status = outcome; };
    return options;
  }
};

/// What connecting comes to, and when.
std::pair<std::string, Duration> failure_of(Harness& harness, Node& a, Node& b, PeerOptions options) {
  Outcome outcome;
  const TimePoint start = harness.clock().now();
  REQUIRE(a->connect(b.address, outcome.watched(std::move(options))).ok());
  REQUIRE(harness.run([&] { return outcome.status.has_value(); }));
  const Duration taken = harness.clock().now() - start;
  CHECK(outcome.status->code() == StatusCode::refused);
  harness.run_for(100ms);
  CHECK(b.inbox.arrived.empty());
  CHECK(b->peers().empty());
  return {std::string(outcome.status->message()), taken};
}

TEST_CASE("who comes obeys the policy of the acceptor", "[rdma][accepted]") {
  RdmaHarness harness;
  Node& a = harness.start("a");
  Node& b = harness.start("b", accepting(harness, require_rdma));
  PeerOptions options;
  options.lanes = 1;
  if (GENERATE(false, true)) options.policy.prefer = {"control"};
  Pair pair = harness.connect(a, b, options);
  CHECK(lanes_over(pair.to_a, "rdma") == 1);
  move_both_ways(harness, pair);
  CHECK_THAT(pair.to_b.explain(), Catch::Contains("control: the peer accepts payload over rdma only"));
  CHECK_THAT(pair.to_a.explain(), Catch::Contains("control: carries the control messages, no payload"));
  CHECK_THAT(b->explain(), Catch::Contains("payload of peers that connect: over rdma"));

  // Without its rdma lane payload waits, whoever moves it, and goes on when one is back.
  const Buffer at_a = allocate_filled(a, 100'000, 1);
  const Buffer at_b = allocate_filled(b, 100'000, 2);
  const RemoteBuffer of_a = grant(pair.to_b, at_a.slice());
  const RemoteBuffer of_b = grant(pair.to_a, at_b.slice());
  harness.fabric().partition("a", "b");
  harness.fabric().break_queue_pairs("a");
  harness.run_for(50ms);
  const Transfer put = pair.to_b.put(at_a.slice(), of_b.slice());
  const Transfer get = pair.to_a.get(at_b.slice(0, 1000), of_a.slice(0, 1000));
  harness.run_for(700ms);
  CHECK_FALSE(put.done());
  CHECK_FALSE(get.done());
  harness.fabric().heal("a", "b");
  finish_ok(harness, put);
  finish_ok(harness, get);
}

TEST_CASE("who came is announced when a permitted lane is ready, and what it said is heard then", "[rdma][accepted]") {
  const bool by_acceptor = GENERATE(false, true);
  RdmaHarness harness;
  Node& a = harness.start("a");
  Node& b = harness.start("b", accepting(harness, by_acceptor ? require_rdma : TransportPolicy()));
  PeerOptions options;
  if (!by_acceptor) options.policy = require_rdma;
  Outcome outcome;
  options = outcome.watched(options);
  harness.fabric().hold("a", true);
  const auto peer = a->connect(b.address, options);
  REQUIRE(peer.ok());
  harness.run_for(300ms);
  CHECK(b.inbox.arrived.empty());
  CHECK_FALSE(outcome.status.has_value());
  bool announced = false;
  b.inbox.on_message = [&](Peer, const Message&) { announced = b.inbox.arrived.size() == 1; };
  harness.fabric().hold("a", false);
  REQUIRE(harness.run([&] { return outcome.status.has_value(); }));
  REQUIRE(outcome.status->ok());
  Peer to_b = peer.value();
  REQUIRE(to_b.send(bytes_of("hello")).ok());
  REQUIRE(harness.run([&] { return b.inbox.letters.size() == 1; }));
  CHECK(announced);
}

TEST_CASE("who lacks what the acceptor requires is told at once", "[rdma][accepted]") {
  const bool forbids = GENERATE(false, true);
  RdmaHarness harness;
  Node& a = forbids ? harness.start("a") : harness.start("a", harness.options(), only(harness.make_control_transport("a")));
  Node& b = harness.start("b", accepting(harness, require_rdma));
  PeerOptions options;
  if (forbids) options.policy.forbid = {"rdma"};
  const auto [text, taken] = failure_of(harness, a, b, options);
  CHECK_THAT(text, Catch::Contains("the peer accepts payload over rdma only") && Catch::Contains("--transport rdma"));
  CHECK(taken < 100ms);
}

TEST_CASE("lanes over what the acceptor does not permit are refused, naming what it does", "[rdma][accepted]") {
  RdmaHarness harness;
  Node& a = harness.start("a");
  TransportPolicy policy;
  if (GENERATE(false, true)) {
    policy.forbid = {"rdma"};
  } else {
    policy.require = {"control"};
  }
  Node& b = harness.start("b", accepting(harness, policy));
  PeerOptions options;
  options.policy = require_rdma;
  const auto [text, taken] = failure_of(harness, a, b, options);
  CHECK_THAT(text, Catch::Contains("accepts payload over control only, not over rdma"));
  CHECK(taken < 100ms);
  Pair pair = harness.connect(a, b);
  CHECK_THAT(pair.to_b.explain(), Catch::Contains("rdma: the peer refuses: this engine accepts payload over control only"));
  CHECK(lanes_over(pair.to_b, "rdma") == 0);
  move_both_ways(harness, pair);
}

TEST_CASE("who opens no permitted lane in time is sent away, and told what is missing", "[rdma][accepted]") {
  RdmaHarness harness;
  Node& a = harness.start("a");
  Node& b = harness.start("b", accepting(harness, require_rdma));
  harness.fabric().hold("a", true);
  const auto [text, taken] = failure_of(harness, a, b, {});
  CHECK_THAT(text, Catch::Contains("the peer says: this engine accepts payload over rdma only") &&
                       Catch::Contains("no lane over it was ready in time") && Catch::Contains("--transport rdma"));
  CHECK(taken < 1100ms);  // its handshake_timeout, not our connect_timeout
}

TEST_CASE("who asks for lanes apart and opens none does not stay for ever", "[rdma][accepted]") {
  RdmaHarness harness;
  Node& a = harness.start("a");
  Node& b = harness.start("b");
  harness.fabric().hold("a", true);
  PeerOptions options;
  options.policy = require_rdma;
  options.connect_timeout = 20s;
  const auto [text, taken] = failure_of(harness, a, b, options);
  CHECK_THAT(text, Catch::Contains("the peer says: control carries no payload by the peer's own policy"));
  CHECK(taken < 2500ms);
}

TEST_CASE("the failure of the only permitted lane ends connecting, and is told", "[rdma][accepted]") {
  RdmaHarness harness;
  Node& a = harness.start("a");
  Node& b = harness.start("b", accepting(harness, require_rdma));
  harness.fabric().partition("a", "b");
  Outcome outcome;
  REQUIRE(a->connect(b.address, outcome.watched({})).ok());
  REQUIRE(harness.run([&] { return outcome.status.has_value(); }, 1s));
  CHECK(outcome.status->code() == StatusCode::unavailable);
  CHECK_THAT(std::string(outcome.status->message()), Catch::Contains("rdma: ") && Catch::Contains("no acknowledgement"));
}

TEST_CASE("that a peer does not use what the acceptor prefers is told", "[rdma][accepted]") {
  const bool uses_it = GENERATE(false, true);
  std::string logged;  // outlives the engines
  RdmaHarness harness;
  Node& a = harness.start("a");
  EngineOptions engine_options = accepting(harness, {{}, {"rdma"}, {}});
  engine_options.log_level = LogLevel::warning;
  engine_options.log = [&logged](const LogRecord& record) { logged += record.text; };
  Node& b = harness.start("b", engine_options);
  PeerOptions options;
  if (!uses_it) options.policy.forbid = {"rdma"};
  Pair pair = harness.connect(a, b, options);
  move_both_ways(harness, pair);
  harness.run_for(1100ms);
  const bool told = logged.find("rdma: preferred, but the peer opened no lane over it") != std::string::npos;
  CHECK(told == !uses_it);
  CHECK((pair.to_a.explain().find("payload goes over control") != std::string::npos) == !uses_it);
}

TEST_CASE("the engine does not listen over what it forbids", "[rdma][accepted]") {
  RdmaHarness harness;
  std::vector<std::unique_ptr<Transport>> transports;
  transports.push_back(harness.make_transport("x"));
  transports.push_back(harness.make_control_transport("x"));
  auto engine = Engine::create(accepting(harness, {{}, {}, {"control"}}), std::move(transports));
  REQUIRE(engine.ok());
  const auto bound = engine.value()->listen({"x", 9});
  CHECK(bound.status().code() == StatusCode::unsupported);
  CHECK_THAT(std::string(bound.status().message()), Catch::Contains("accept_policy forbids"));
}

#endif

}  // namespace
}  // namespace haul::contract
