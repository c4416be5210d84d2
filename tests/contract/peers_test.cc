// Contract: how peers come, what is refused, what explain() and the counters say, what is left behind, what idling costs.
#include <poll.h>

#include <atomic>
#include <filesystem>
#include <thread>

#include "contract/fixture.h"

namespace haul::contract {
namespace {

struct Outcome {
  int calls = 0;
  Status status;
  PeerOptions into(PeerOptions options = {}) {
    options.on_ready = [this](Peer, const Status& status_now) {
      ++calls;
      status = status_now;
    };
    return options;
  }
};

BACKEND_TEST_CASE("both sides learn of each other", "[contract][peers]") {
  const auto made = backend.make();
  Harness& harness = *made;
  PeerOptions one;
  one.lanes = 1;
  Pair pair = harness.connected_pair(one);
  CHECK(pair.to_b.state() == PeerState::ready);
  CHECK(pair.to_a.state() == PeerState::ready);
  CHECK(pair.to_b.name() == "b");
  CHECK(pair.to_a.name() == "a");
  CHECK(pair.to_b.status().ok());
  CHECK(pair.a->peers().size() == 1);
  CHECK(pair.a->incarnation() != pair.b->incarnation());
  const PeerStats stats = pair.to_b.stats();
  CHECK(stats.incarnation == pair.b->incarnation());
  CHECK(stats.state == "ready");
  REQUIRE(stats.lanes.size() == (harness.abilities().control_apart ? 2 : 1));
  CHECK(stats.lanes.back().transport == harness.abilities().transport);
  CHECK_FALSE(stats.lanes[0].description.empty());
}

BACKEND_TEST_CASE("where nobody listens connecting fails, once and in time", "[contract][peers]") {
  const auto made = backend.make();
  Harness& harness = *made;
  Node& a = harness.start("a");
  Node& b = harness.start("b");
  const Address gone = b.address;
  harness.stop(b);
  Outcome outcome;
  PeerOptions options;
  options.connect_timeout = 2s;
  const auto peer = a->connect(gone, outcome.into(options));
  REQUIRE(peer.ok());
  REQUIRE(harness.run([&] { return outcome.calls > 0; }, 4s));
  INFO(outcome.status.to_string());
  CHECK(is_one_of(outcome.status, {StatusCode::unavailable, StatusCode::timed_out}));
  CHECK_FALSE(outcome.status.message().empty());
  harness.run_for(5ms);
  CHECK(outcome.calls == 1);
  CHECK(peer.value().state() == PeerState::closed);
  CHECK(a.inbox.closed.empty());  // it never was ready
}

BACKEND_TEST_CASE("calls on a peer that is not there answer peer_lost", "[contract][peers]") {
  const auto made = backend.make();
  Harness& harness = *made;
  Node& a = harness.start("a");
  const Buffer buffer = allocate(a, 100);
  Pair pair = harness.connect(a, harness.start("b"));
  pair.to_b.close(false);
  REQUIRE(harness.run([&] { return !a.inbox.closed.empty(); }));
  for (Peer gone : {pair.to_b, Peer()}) {
    CHECK(gone.state() == PeerState::closed);
    CHECK(gone.send(bytes_of("hello")).code() == StatusCode::peer_lost);
    CHECK(gone.grant(buffer.slice(), Rights::read).status().code() == StatusCode::peer_lost);
    const RemoteBuffer remote(1, 1, 100, Rights::read_write);
    const Transfer put = gone.put(buffer.slice(), remote.slice());
    CHECK(put.status().code() == (gone == Peer() ? StatusCode::invalid : StatusCode::peer_lost));
    CHECK(gone.explain().size() < 1000);
    CHECK(gone.stats().lanes.empty());
    gone.close();
  }
}

BACKEND_TEST_CASE("policies are kept, and named", "[contract][peers]") {
  const auto made = backend.make();
  Harness& harness = *made;
  const std::string transport(harness.abilities().transport);
  Node& a = harness.start("a");
  Node& b = harness.start("b");
  PeerOptions wanted;
  wanted.policy.require = {transport};
  Pair pair = harness.connect(a, b, wanted);
  CHECK_THAT(pair.to_b.explain(), Catch::Contains(transport));

  const auto fails = [&](const TransportPolicy& policy) {
    Outcome outcome;
    PeerOptions options;
    options.policy = policy;
    const auto peer = a->connect(b.address, outcome.into(options));
    Status status = peer.status();
    if (peer.ok()) {
      REQUIRE(harness.run([&] { return outcome.calls > 0; }));
      status = outcome.status;
    }
    INFO(status.to_string());
    CHECK_FALSE(status.ok());
    CHECK_THAT(std::string(status.message()), Catch::Contains(policy.require.empty() ? transport : policy.require[0]));
  };
  fails({{"carrier-pigeon"}, {}, {}});
  if (!harness.abilities().control_apart) fails({{}, {}, {transport}});
  PeerOptions preferring;
  preferring.policy.prefer = {"carrier-pigeon", transport};
  Pair second = harness.connect(harness.start("c"), b, preferring);
  CHECK_THAT(second.to_b.explain(), Catch::Contains("carrier-pigeon"));
}

BACKEND_TEST_CASE("counters tell what happened", "[contract][peers]") {
  const auto made = backend.make();
  Harness& harness = *made;
  Pair pair = harness.connected_pair();
  const Buffer local = allocate_filled(pair.a, 500'000, 1);
  const Buffer target = allocate(pair.b, 500'000);
  const RemoteBuffer remote = grant(pair.to_a, target.slice());
  finish_ok(harness, pair.to_b.put(local.slice(), remote.slice()));
  finish_ok(harness, pair.to_b.get(local.slice(0, 1000), remote.slice(0, 1000)));
  CHECK(pair.to_b.put(local.slice(0, 2), remote.slice(0, 1)).status().code() == StatusCode::invalid);
  REQUIRE(pair.to_b.send(bytes_of("hello")).ok());
  REQUIRE(harness.run([&] { return pair.b.inbox.letters.size() == 1; }));
  const EngineStats a = pair.a->stats();
  const EngineStats b = pair.b->stats();
  CHECK(a.transfers_completed == 2);
  CHECK(a.transfers_failed == 1);
  CHECK(a.transfers_started == a.transfers_completed + a.transfers_failed);
  CHECK(a.bytes_put == 500'000);
  CHECK(a.bytes_got == 1000);
  CHECK(a.messages_sent == 1);
  CHECK(b.messages_received == 1);
  CHECK(a.registered_bytes >= 500'000);
  CHECK(b.peers.at(0).grants_made == 1);
  CHECK(a.peers.at(0).transfers_active == 0);
  if (harness.abilities().transport != "onesided") CHECK(b.bytes_landed == 500'000);
  CHECK_THAT(pair.a->explain(), Catch::Contains(std::string(harness.abilities().transport)));
}

BACKEND_TEST_CASE("options that contradict each other are invalid", "[contract][peers]") {
  const auto made = backend.make();
  Harness& harness = *made;
  const auto create = [&](EngineOptions options) {
    std::vector<std::unique_ptr<Transport>> transports;
    transports.push_back(harness.make_transport("x"));
    return Engine::create(std::move(options), std::move(transports)).status();
  };
  EngineOptions credentials = harness.options();
  credentials.credentials.key_file = "/does/not/exist";
  CHECK(create(credentials).code() == StatusCode::invalid);
  credentials.security = SecurityPolicy::insecure;
  CHECK_THAT(std::string(create(credentials).message()), Catch::Contains("insecure"));
  EngineOptions slow = harness.options();
  slow.keepalive = slow.peer_timeout;
  CHECK(create(slow).code() == StatusCode::invalid);
  EngineOptions long_name = harness.options();
  long_name.name = std::string(65, 'n');
  CHECK(create(long_name).code() == StatusCode::invalid);
  CHECK(create(harness.options()).ok());
}

BACKEND_TEST_CASE("without the insecure policy only loopback is spoken to", "[contract][peers]") {
  const auto made = backend.make();
  Harness& harness = *made;
  std::vector<std::unique_ptr<Transport>> transports;
  transports.push_back(harness.make_transport("x"));
  EngineOptions options = harness.options();
  options.security = SecurityPolicy::loopback_only;
  const auto engine = Engine::create(options, std::move(transports));
  REQUIRE(engine.ok());
  for (const Address& address : {Address{"192.0.2.1", 7}, Address{"0.0.0.0", 0}, Address{"", 0}, Address{"example.com", 7}}) {
    CAPTURE(address.to_string());
    CHECK(engine.value()->listen(address).status().code() == StatusCode::refused);
    if (!address.host.empty()) CHECK(engine.value()->connect(address).status().code() == StatusCode::refused);
  }
}

BACKEND_TEST_CASE("a full engine takes no more peers, and says so", "[contract][peers]") {
  const auto made = backend.make();
  Harness& harness = *made;
  EngineOptions options = harness.options();
  options.max_peers = 1;
  Node& b = harness.start("b", options);
  Pair first = harness.connect(harness.start("a"), b);
  Node& c = harness.start("c");
  Outcome outcome;
  REQUIRE(c->connect(b.address, outcome.into()).ok());
  REQUIRE(harness.run([&] { return outcome.calls > 0; }));
  INFO(outcome.status.to_string());
  CHECK_FALSE(outcome.status.ok());
  CHECK(b->connect(c.address).status().code() == StatusCode::exhausted);
  CHECK(first.to_b.state() == PeerState::ready);
}

BACKEND_TEST_CASE("an idle pair stays connected", "[contract][peers]") {
  const auto made = backend.make();
  Harness& harness = *made;
  Pair pair = harness.connected_pair();
  harness.run_for(harness.options().peer_timeout * 2);
  CHECK(pair.a.inbox.closed.empty());
  CHECK(pair.b.inbox.closed.empty());
  CHECK(pair.to_b.state() == PeerState::ready);
}

BACKEND_TEST_CASE("many peers of one engine come and go", "[contract][peers]") {
  const auto made = backend.make();
  Harness& harness = *made;
  Node& hub = harness.start("hub");
  const Buffer target = allocate(hub, 100'000);
  for (int i = 0; i < 12; ++i) {
    Node& leaf = harness.start("leaf" + std::to_string(i));
    Pair pair = harness.connect(leaf, hub);
    const Buffer local = allocate_filled(leaf, 100'000, static_cast<uint64_t>(i));
    const RemoteBuffer remote = grant(pair.to_a, target.slice());
    finish_ok(harness, pair.to_b.put(local.slice(), remote.slice()));
    CHECK(same(local.bytes(), target.bytes()));
    if (i % 3 == 0) pair.to_b.close();
    if (i % 3 == 1) harness.stop(leaf);
  }
  REQUIRE(harness.run([&] { return hub.inbox.closed.size() == 8; }));
  CHECK(hub->peers().size() == 4);
}

size_t open_descriptors() {
  const std::filesystem::directory_iterator begin("/proc/self/fd");
  return static_cast<size_t>(std::distance(begin, std::filesystem::directory_iterator()));
}

void come_and_go(const Backend& backend) {
  PeerOptions options;
  options.lanes = 3;
  const auto made = backend.make();
  Harness& harness = *made;
  Pair pair = harness.connected_pair(options);
  const Buffer local = allocate_filled(pair.a, 300'000, 1);
  const Buffer target = allocate(pair.b, 300'000);
  const RemoteBuffer remote = grant(pair.to_a, target.slice());
  finish_ok(harness, pair.to_b.put(local.slice(), remote.slice()));
  const Transfer unfinished = pair.to_b.put(local.slice(), remote.slice());
}

BACKEND_TEST_CASE("no file descriptor is left behind", "[contract][peers]") {
  come_and_go(backend);  // what is opened once for all
  const size_t before = open_descriptors();
  for (int i = 0; i < 5; ++i) come_and_go(backend);
  CHECK(open_descriptors() == before);
}

BACKEND_TEST_CASE("an idle engine sleeps, and wake() ends its sleep", "[contract][peers]") {
  const auto made = backend.make();
  Harness& harness = *made;
  if (skip_unless(!harness.abilities().virtual_time, "waiting in real time")) return;
  EngineOptions options = harness.options();
  options.keepalive = 900ms;
  Pair pair = harness.connect(harness.start("a", options), harness.start("b", options));
  harness.run_for(50ms);
  const TimePoint end = harness.clock().now() + 500ms;
  int returns = 0;
  while (harness.clock().now() < end) {
    pair.a->wait(100ms);
    ++returns;
  }
  CHECK(returns < 40);

  std::atomic<bool> woken{false};
  std::thread waker([&] {
    woken = true;
    pair.a->wake();
  });
  const TimePoint limit = harness.clock().now() + 20s;
  while (!woken && harness.clock().now() < limit) pair.a->wait(20s);
  waker.join();
  CHECK(harness.clock().now() < limit);
}

/// As a foreign event loop does it: an engine is polled only when its descriptor is readable.
bool run_by_descriptor(Harness& harness, std::vector<Engine*> engines, const std::function<bool()>& until) {
  const TimePoint end = harness.clock().now() + harness.patience();
  std::vector<pollfd> ready;
  for (const Engine* engine : engines) ready.push_back({engine->wakeup_fd(), POLLIN, 0});
  while (!until()) {
    if (harness.clock().now() >= end) return false;
    constexpr int pause_ms = 1000;
    ::poll(ready.data(), ready.size(), pause_ms);
    for (size_t i = 0; i < engines.size(); ++i) {
      if ((ready[i].revents & POLLIN) != 0) engines[i]->poll();
    }
  }
  return true;
}

BACKEND_TEST_CASE("a foreign loop needs the descriptor only", "[contract][peers]") {
  const auto made = backend.make();
  Harness& harness = *made;
  if (skip_unless(!harness.abilities().virtual_time, "descriptors that become readable")) return;
  Pair pair = harness.connected_pair();
  const Buffer local = allocate_filled(pair.a, 5'000'000, 1);
  const Buffer target = allocate(pair.b, 5'000'000);
  const RemoteBuffer remote = grant(pair.to_a, target.slice());
  TransferOptions options;
  options.notify = bytes_of("placed");
  const Transfer put = pair.to_b.put(local.slice(), remote.slice(), options);
  const Transfer get = pair.to_b.get(local.slice(0, 1000), remote.slice(0, 1000));
  REQUIRE(run_by_descriptor(harness, {pair.a.engine.get(), pair.b.engine.get()},
                            [&] { return put.done() && get.done() && !pair.b.inbox.letters.empty(); }));
  CHECK(put.status().ok());
  CHECK(get.status().ok());
  TransferOptions late;
  late.timeout = 100ms;
  pair.b.stalled = true;
  const Transfer stuck = pair.to_b.put(local.slice(), remote.slice(), late);
  REQUIRE(run_by_descriptor(harness, {pair.a.engine.get()}, [&] { return stuck.done(); }));
  CHECK(is_one_of(stuck.status(), {StatusCode::timed_out, StatusCode::peer_lost}));
}

}  // namespace
}  // namespace haul::contract
