// What only the rdma backend promises: rights by windows and domains, faults of devices, rails, life beside another transport.
#include "contract/fixture.h"

#ifdef HAUL_CONTRACT_RDMA

#include "contract/rdma_wire.h"

namespace haul::contract {
namespace {

verbs::FabricOptions slow_devices(bool stops_messages) {
  verbs::FabricOptions options;
  options.pieces_a_step = 1;
  options.piece_bytes = 4096;
  options.stops_messages = stops_messages;
  return options;
}

TEST_CASE("a revoke waits for a long write of a peer that plays along", "[rdma]") {
  Wire wire(slow_devices(false));
  const uint64_t id = wire.start_long_write();
  wire.rig.y.transport->revoke(wire.link.at_y, wire.granted.id, wire.rig.now());
  REQUIRE(wire.rig.run([&] { return wire.rig.y.count(Event::Kind::revoked) == 1; }));
  CHECK(wire.rig.x.completed(id).value().ok());
  CHECK_FALSE(wire.rig.y.closed(wire.link.at_y));
  wire.check_quiet();
  // The key is stale: the peer's own backend refuses it, and the connection lives on.
  CHECK(wire.rig.finish(wire.rig.x, wire.link.at_x, wire.write(0, 100)).code() == StatusCode::refused);
  CHECK_FALSE(wire.rig.x.closed(wire.link.at_x));
}

TEST_CASE("a revoke ends the queue pair of a peer that does not, where the device does not stop its write", "[rdma]") {
  Wire wire(slow_devices(false));
  wire.start_long_write();
  wire.harness.fabric().hold("x", true);  // stuck in the middle of its message
  wire.rig.y.transport->revoke(wire.link.at_y, wire.granted.id, wire.rig.now());
  REQUIRE(wire.rig.run([&] { return wire.rig.y.closed(wire.link.at_y).has_value(); }));
  CHECK(wire.rig.y.closed(wire.link.at_y)->code() == StatusCode::peer_lost);
  wire.check_quiet();
}

TEST_CASE("a revoke takes the key where the device stops the write, and both learn of its late use", "[rdma]") {
  Wire wire(slow_devices(true));
  const uint64_t id = wire.start_long_write();
  wire.harness.fabric().hold("x", true);
  wire.rig.y.transport->revoke(wire.link.at_y, wire.granted.id, wire.rig.now());
  REQUIRE(wire.rig.run([&] { return wire.rig.y.count(Event::Kind::revoked) == 1; }));
  wire.check_quiet();
  CHECK(wire.rig.x.completed(id).value().code() == StatusCode::refused);
  REQUIRE(wire.rig.y.closed(wire.link.at_y));
  // It was told in time, or was slow: no reason to part with the peer.
  CHECK(wire.rig.y.closed(wire.link.at_y)->code() == StatusCode::peer_lost);
  CHECK_THAT(std::string(wire.rig.y.closed(wire.link.at_y)->message()), Catch::Contains("still using a revoked grant"));
}

TEST_CASE("the passive side is connected when its hello got through, and not before", "[rdma]") {
  RdmaHarness harness;
  Rig rig(harness);
  ConnectOptions active;
  active.address = rig.address;
  const auto at_x = rig.x.transport->open(active, rig.now()).value();
  ConnectOptions passive;
  passive.peer_endpoint = at_x.bytes;
  const auto at_y = rig.y.transport->open(passive, rig.now()).value();
  harness.fabric().hold("y", true);
  REQUIRE(rig.y.transport->join(at_y.connection, at_x.bytes, rig.now()).ok());
  REQUIRE(rig.x.transport->join(at_x.connection, at_y.bytes, rig.now()).ok());
  // The active side's hello arrives; the answer does not leave.
  REQUIRE(rig.run([&] { return rig.y.transport->sample(at_y.connection).bytes_received > 0; }));
  rig.run_for(300ms);
  CHECK(rig.y.count(Event::Kind::connected) == 0);
  CHECK(rig.x.count(Event::Kind::connected) == 0);
  const MemoryRegion& memory = rig.region(rig.y, 1000, 1);
  const auto early = rig.y.transport->grant(at_y.connection, memory, {0, 1000}, Rights::write, rig.now());
  CHECK(early.status().code() == StatusCode::unavailable);
  harness.fabric().hold("y", false);
  REQUIRE(rig.run([&] { return rig.x.count(Event::Kind::connected) == 1 && rig.y.count(Event::Kind::connected) == 1; }));
}

TEST_CASE("`writable` is told when there is room, and not before", "[rdma]") {
  const bool messages = GENERATE(false, true);
  rdma::Options options;
  options.window_bytes = 500'000;
  Wire wire({}, options);
  wire.harness.fabric().hold("x", true);
  const std::vector<std::byte> message(wire.rig.capabilities().max_message_bytes);
  const auto offer = [&] {
    if (messages) return wire.rig.x.transport->send(wire.link.at_x, message, wire.rig.now());
    const Operation write = wire.write(0, 200'000);
    return wire.rig.x.transport->post(wire.link.at_x, std::span(&write, 1), wire.rig.now()) == 1;
  };
  int taken = 0;
  const auto refused = [&] {
    while (offer()) ++taken;
    return wire.rig.x.record->refused_posts > 0 && taken > 1;
  };
  REQUIRE(refused());
  // What it posted at once made room; then nothing moves.
  wire.rig.run_for(10ms);
  while (offer()) ++taken;
  const size_t told = wire.rig.x.count(Event::Kind::writable);
  wire.rig.run_for(300ms);
  CHECK(wire.rig.x.count(Event::Kind::writable) == told);
  bool room = false;
  wire.rig.x.on_event = [&](const Event& event) { room = room || event.kind == Event::Kind::writable; };
  wire.harness.fabric().hold("x", false);
  REQUIRE(wire.rig.run([&] { return room; }));
  wire.rig.x.on_event = {};  // it would outlive what it looks at
  CHECK(offer());
  CHECK_FALSE(wire.rig.x.closed(wire.link.at_x));
}

TEST_CASE("without windows each connection has a domain, and rights hold all the same", "[rdma]") {
  verbs::FabricOptions devices;
  devices.windows = false;
  Wire wire(devices);
  CHECK_THAT(wire.rig.x.transport->describe(wire.link.at_x), Catch::Contains("protection domains"));
  REQUIRE(wire.rig.finish(wire.rig.x, wire.link.at_x, wire.write(10, 50'000)).ok());
  wire.rig.y.transport->revoke(wire.link.at_y, wire.granted.id, wire.rig.now());
  REQUIRE(wire.rig.run([&] { return wire.rig.y.count(Event::Kind::revoked) == 1; }));
  wire.check_quiet();
}

TEST_CASE("a grant needs rights", "[rdma]") {
  Wire wire;
  const auto granted = wire.rig.y.transport->grant(wire.link.at_y, wire.target, {0, 10}, Rights::none, wire.rig.now());
  CHECK(granted.status().code() == StatusCode::invalid);
}

TEST_CASE("every fault of a queue pair completes every write, with a reason", "[rdma]") {
  const auto outcome = GENERATE(rdma::Outcome::retry_exceeded, rdma::Outcome::receiver_not_ready, rdma::Outcome::remote_error,
                                rdma::Outcome::local_error, rdma::Outcome::fatal);
  Wire wire;
  std::vector<Operation> all;
  for (uint64_t i = 0; i < 10; ++i) all.push_back(wire.write(i * 50'000, 50'000));
  wire.harness.fabric().fail_next("x", outcome);
  wire.rig.post_all(wire.rig.x, wire.link.at_x, all);
  REQUIRE(wire.rig.run([&] { return wire.rig.x.closed(wire.link.at_x).has_value(); }));
  for (const Operation& each : all) {
    const Status status = wire.rig.x.completed(each.id).value();
    CHECK((status.ok() || status.code() == StatusCode::peer_lost));
    if (!status.ok()) CHECK_FALSE(status.message().empty());
  }
  CHECK_THAT(std::string(wire.rig.x.closed(wire.link.at_x)->message()), Catch::Contains("fake0"));
}

TEST_CASE("a queue pair in error and an overrun completion queue end their connection", "[rdma]") {
  const bool overrun = GENERATE(false, true);
  Wire wire;
  const Operation write = wire.write(0, 500'000);
  wire.rig.post_all(wire.rig.x, wire.link.at_x, std::span(&write, 1));
  if (overrun) {
    wire.harness.fabric().overrun("x");
  } else {
    wire.harness.fabric().break_queue_pairs("x");
  }
  REQUIRE(wire.rig.run([&] { return wire.rig.x.closed(wire.link.at_x).has_value(); }));
  CHECK(wire.rig.x.closed(wire.link.at_x)->code() == StatusCode::peer_lost);
  CHECK(wire.rig.x.completed(write.id).value().code() == StatusCode::peer_lost);
  REQUIRE(wire.rig.run([&] { return wire.rig.y.closed(wire.link.at_y).has_value(); }));
}

TEST_CASE("a mistyped device and a port that is down are errors", "[rdma]") {
  RdmaHarness harness;
  rdma::Options options;
  options.rails = {{"fake9"}};
  auto made = rdma::RdmaTransport::make(harness.fabric().make_verbs("x"), options);
  CHECK(made.status().code() == StatusCode::unavailable);
  CHECK_THAT(std::string(made.status().message()), Catch::Contains("fake9"));
  options.rails = {{"fake0", 2}};
  CHECK(rdma::RdmaTransport::make(harness.fabric().make_verbs("x"), options).status().code() == StatusCode::invalid);
  options.rails = {{"fake0", 1, 7}};
  CHECK(rdma::RdmaTransport::make(harness.fabric().make_verbs("x"), options).status().code() == StatusCode::invalid);
  { const auto opened = harness.fabric().make_verbs("x")->open("fake0"); }
  harness.fabric().set_port("x", "fake0", false);
  for (const auto& rails : {std::vector<rdma::Rail>{{"fake0"}}, std::vector<rdma::Rail>{}}) {
    options.rails = rails;
    made = rdma::RdmaTransport::make(harness.fabric().make_verbs("x"), options);
    CHECK(made.status().code() == StatusCode::unavailable);
    CHECK_THAT(std::string(made.status().message()), Catch::Contains("down"));
  }
}

TEST_CASE("authenticated engines use it only where plain links are accepted", "[rdma]") {
  RdmaHarness harness;
  const auto transport = harness.make_transport("x");
  REQUIRE(transport->secure(nullptr, Protection::encrypted).ok());
  CHECK(transport->open({}, harness.clock().now()).status().code() == StatusCode::refused);
  ConnectOptions accepts;
  accepts.protection = Protection::plain;
  const auto endpoint = transport->open(accepts, harness.clock().now());
  REQUIRE(endpoint.ok());
  transport->close(endpoint.value().connection, CloseMode::abort, harness.clock().now());
}

/// Two engines over two rails.
struct Rails {
  RdmaHarness harness;
  Pair pair;
  Buffer local = allocate_filled(pair.a, 8'000'000, 1);
  Buffer target = allocate(pair.b, 8'000'000);
  RemoteBuffer remote = grant(pair.to_a, target.slice());

  explicit Rails(PeerOptions options)
      : harness(1,
                [] {
                  verbs::FabricOptions devices;
                  devices.devices = {"fake0", "fake1"};
                  return devices;
                }()),
        pair(harness.connected_pair(std::move(options))) {}
  size_t lanes_over(std::string_view text) {
    size_t count = 0;
    for (const LaneStats& lane : pair.to_b.stats().lanes) count += lane.description.find(text) != std::string::npos ? 1 : 0;
    return count;
  }
  void put_ok() {
    std::fill(target.bytes().begin(), target.bytes().end(), untouched);
    finish_ok(harness, pair.to_b.put(local.slice(), remote.slice()));
    CHECK(same(local.bytes(), target.bytes()));
  }
};

PeerOptions asking(uint32_t lanes, TransportPolicy policy = {}) {
  PeerOptions options;
  options.lanes = lanes;
  options.policy = std::move(policy);
  return options;
}

TEST_CASE("lanes go over the rails in turn, and over the one that is left", "[rdma]") {
  Rails rails(asking(4, {{"rdma"}, {}, {}}));
  CHECK(rails.lanes_over("fake0 port 1") == 2);
  CHECK(rails.lanes_over("fake1 port 1") == 2);
  rails.put_ok();
  const Transfer put = rails.pair.to_b.put(rails.local.slice(), rails.remote.slice());
  run_rounds(rails.harness, 3);
  rails.harness.fabric().set_port("a", "fake0", false);
  finish_ok(rails.harness, put);
  CHECK(rails.harness.run([&] { return rails.lanes_over("fake1 port 1") == 4; }));
  rails.harness.fabric().set_port("a", "fake0", true);
  rails.put_ok();
  CHECK(rails.pair.a.inbox.closed.empty());
}

TEST_CASE("with no rail left payload goes over the other transport, and comes back", "[rdma]") {
  Rails rails(asking(2));
  CHECK_THAT(rails.pair.to_b.explain(), Catch::Contains("rdma: chosen for payload"));
  const Transfer put = rails.pair.to_b.put(rails.local.slice(), rails.remote.slice());
  run_rounds(rails.harness, 3);
  for (const char* device : {"fake0", "fake1"}) rails.harness.fabric().set_port("a", device, false);
  finish_ok(rails.harness, put);
  CHECK(same(rails.local.bytes(), rails.target.bytes()));
  rails.put_ok();
  CHECK(rails.lanes_over("fake0") + rails.lanes_over("fake1") == 0);
  for (const char* device : {"fake0", "fake1"}) rails.harness.fabric().set_port("a", device, true);
  CHECK(rails.harness.run([&] { return rails.lanes_over("rdma over") == 2; }));
  rails.put_ok();
}

TEST_CASE("a notification goes with the payload, and is delivered once though its lane dies", "[rdma]") {
  for (uint64_t round = 0; round < 12; ++round) {
    CAPTURE(round);
    Rails rails(asking(2));
    TransferOptions options;
    options.notify = bytes_of("all there");
    const Transfer put = rails.pair.to_b.put(rails.local.slice(0, 300'000), rails.remote.slice(0, 300'000), std::move(options));
    run_rounds(rails.harness, 2 + 2 * round);
    rails.harness.fabric().break_queue_pairs(round % 2 == 0 ? "a" : "b");
    finish_ok(rails.harness, put);
    REQUIRE(rails.harness.run([&] { return !rails.pair.b.inbox.letters.empty(); }));
    CHECK(same(rails.local.bytes().first(300'000), rails.target.bytes().first(300'000)));
    rails.harness.run_for(1s);
    REQUIRE(rails.pair.b.inbox.letters.size() == 1);
    CHECK(text_of(rails.pair.b.inbox.letters[0].payload) == "all there");
    rails.pair.to_b.close();
    REQUIRE(rails.harness.run([&] { return !rails.pair.a.inbox.closed.empty(); }));
    CHECK(rails.pair.a.inbox.closed[0].second.ok());
  }
}

TEST_CASE("where rdma is required nothing goes over the other transport", "[rdma]") {
  Rails rails(asking(1, {{"rdma"}, {}, {}}));
  CHECK_THAT(rails.pair.to_b.explain(), Catch::Contains("control: carries the control messages, no payload"));
  const Transfer put = rails.pair.to_b.put(rails.local.slice(), rails.remote.slice());
  run_rounds(rails.harness, 3);
  for (const char* device : {"fake0", "fake1"}) rails.harness.fabric().set_port("a", device, false);
  const Status status = finish(rails.harness, put);
  CHECK(status.code() == StatusCode::peer_lost);
}

TEST_CASE("where rdma can't be had, require fails and prefer goes on, aloud", "[rdma]") {
  const bool required = GENERATE(true, false);
  RdmaHarness harness;
  Node& a = harness.start("a");
  Node& b = harness.start("b");
  harness.fabric().set_port("b", "fake0", false);
  PeerOptions options = asking(1);
  if (required) {
    options.policy.require = {"rdma"};
  } else {
    options.policy.prefer = {"rdma"};
  }
  std::optional<Status> outcome;
  options.on_ready = [&outcome](Peer, const Status& status) { outcome = status; };
  const auto peer = a->connect(b.address, options);
  REQUIRE(peer.ok());
  REQUIRE(harness.run([&] { return outcome.has_value(); }));
  INFO(outcome->to_string());
  if (required) {
    CHECK_FALSE(outcome->ok());
    CHECK_THAT(std::string(outcome->message()), Catch::Contains("rdma"));
  } else {
    CHECK(outcome->ok());
    CHECK_THAT(peer.value().explain(), Catch::Contains("rdma: the peer refuses"));
  }
}

TEST_CASE("a forbidden transport is not used, and rdma alone cannot connect", "[rdma]") {
  RdmaHarness harness;
  Pair pair = harness.connected_pair(asking(1, {{}, {}, {"rdma"}}));
  CHECK_THAT(pair.to_b.explain(), Catch::Contains("rdma: forbidden by policy") && Catch::Contains("control: chosen"));
  const auto alone = pair.a->connect(pair.b.address, asking(1, {{}, {}, {"control"}}));
  CHECK(alone.status().code() == StatusCode::refused);
}

}  // namespace
}  // namespace haul::contract

#endif
