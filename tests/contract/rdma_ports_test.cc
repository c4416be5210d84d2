// Which ports the rdma backend takes for a connection, and what it does when devices tell of changes.
#include "contract/fixture.h"

#ifdef HAUL_CONTRACT_RDMA

#include "contract/rdma_wire.h"

namespace haul::contract {
namespace {

verbs::FabricOptions two_devices() {
  verbs::FabricOptions options;
  options.devices = {"fake0", "fake1"};
  return options;
}

/// x opens connections to y, over the ports that it chooses.
struct TwoPorts {
  RdmaHarness harness{1, two_devices()};
  Rig rig{harness};

  /// The active side's description and end; the passive one is joined too.
  struct Opened {
    Rig::Link link;
    std::string over;
  };
  Opened open() {
    ConnectOptions active;
    active.address = rig.address;
    active.timeout = 1s;
    const auto at_x = rig.x.transport->open(active, rig.now()).value();
    ConnectOptions passive;
    passive.timeout = 1s;
    passive.peer_endpoint = at_x.bytes;
    const auto at_y = rig.y.transport->open(passive, rig.now()).value();
    REQUIRE(rig.y.transport->join(at_y.connection, at_x.bytes, rig.now()).ok());
    REQUIRE(rig.x.transport->join(at_x.connection, at_y.bytes, rig.now()).ok());
    return {{at_x.connection, at_y.connection}, rig.x.transport->describe(at_x.connection)};
  }
  bool connects(const Opened& opened) {
    const ConnectionId at_x = opened.link.at_x;
    REQUIRE(rig.run([&] { return rig.x.count(Event::Kind::connected, at_x) == 1 || rig.x.closed(at_x).has_value(); }));
    return rig.x.count(Event::Kind::connected, at_x) == 1;
  }
  bool open_over(std::string_view device) {
    const Opened opened = open();
    INFO(opened.over);
    CHECK_THAT(opened.over, Catch::Contains(std::string(device)));
    return connects(opened);
  }
};

TEST_CASE("a port over which nothing came back is avoided for a while, and taken again", "[rdma]") {
  const bool unreachable = GENERATE(false, true);  // the kernel says so, or nothing does
  TwoPorts ports;
  if (unreachable) {
    ports.harness.fabric().fail_connects("x", Status(StatusCode::internal, "no route"));
  } else {
    ports.harness.fabric().silence_port("x", "fake0", true);
  }
  REQUIRE_FALSE(ports.open_over("fake0"));
  ports.harness.fabric().fail_connects("x", Status());
  // Although it has fewer connections, and its turn comes.
  for (int i = 0; i < 3; ++i) CHECK(ports.open_over("fake1"));
  ports.harness.fabric().silence_port("x", "fake0", false);
  ports.rig.run_for(5s);
  for (int i = 0; i < 3; ++i) CHECK(ports.open_over("fake0"));
}

TEST_CASE("a port to be avoided is taken where there is no other", "[rdma]") {
  TwoPorts ports;
  ports.harness.fabric().set_port("x", "fake1", false);
  ports.rig.run_for(10ms);
  ports.harness.fabric().silence_port("x", "fake0", true);
  REQUIRE_FALSE(ports.open_over("fake0"));
  ports.harness.fabric().silence_port("x", "fake0", false);
  CHECK(ports.open_over("fake0"));
  // What came back over it ends that.
  ports.harness.fabric().set_port("x", "fake1", true);
  ports.rig.run_for(10ms);
  CHECK(ports.open_over("fake1"));
  size_t over_fake0 = 0;
  for (int i = 0; i < 2; ++i) {
    const auto opened = ports.open();
    CHECK(ports.connects(opened));
    over_fake0 += opened.over.find("fake0") != std::string::npos ? 1 : 0;
  }
  CHECK(over_fake0 == 1);
}

TEST_CASE("a lane whose write is not acknowledged lets others go first", "[rdma]") {
  TwoPorts ports;
  const auto first = ports.open();
  REQUIRE(ports.connects(first));
  CHECK_THAT(first.over, Catch::Contains("fake0"));
  ports.harness.fabric().silence_port("y", "fake0", true);
  REQUIRE(ports.rig.run([&] { return ports.rig.x.closed(first.link.at_x).has_value(); }));
  for (int i = 0; i < 3; ++i) CHECK(ports.open_over("fake1"));
}

TEST_CASE("where ports reach only their own subnet, lanes end up on those that reach the peer", "[rdma]") {
  verbs::FabricOptions devices = two_devices();
  devices.subnets_apart = true;
  RdmaHarness harness(1, devices);
  Node& a = harness.start("a");
  Node& b = harness.start("b");
  harness.fabric().set_port("b", "fake0", false);
  PeerOptions options;
  options.lanes = 2;
  options.policy.prefer = {"rdma"};
  Pair pair = harness.connect(a, b, options);
  const auto lanes = [&pair](std::string_view text) {
    size_t count = 0;
    for (const LaneStats& lane : pair.to_b.stats().lanes) count += lane.description.find(text) != std::string::npos ? 1 : 0;
    return count;
  };
  CHECK(harness.run([&] { return lanes("rdma over fake1") == 2; }));
  const Buffer local = allocate_filled(a, 100'000, 1);
  Buffer target = allocate(b, 100'000);
  const RemoteBuffer remote = grant(pair.to_a, target.slice());
  finish_ok(harness, pair.to_b.put(local.slice(), remote.slice()));
  CHECK(same(local.bytes(), target.bytes()));
}

TEST_CASE("a port that got another address is reached by it from now on", "[rdma]") {
  TwoPorts ports;
  ports.harness.fabric().set_port("y", "fake1", false);
  ports.harness.fabric().set_port("x", "fake1", false);
  ports.rig.run_for(10ms);
  const auto before = ports.open();
  REQUIRE(ports.connects(before));
  CHECK_THAT(before.over, Catch::Contains("10.0.0."));
  ports.harness.fabric().change_gid("y", "fake0");
  ports.rig.run_for(10ms);
  CHECK(ports.connects(ports.open()));
  CHECK_THAT(ports.rig.y.transport->describe(0), Catch::Contains("10.1.0."));
  // Whoever has the old one finds that nothing comes back.
  REQUIRE(ports.rig.run([&] { return ports.rig.x.closed(before.link.at_x).has_value(); }));
  CHECK(ports.rig.x.closed(before.link.at_x)->code() == StatusCode::peer_lost);
}

TEST_CASE("after a device's fatal error the others go on, also with new memory", "[rdma]") {
  TwoPorts ports;
  const auto over_0 = ports.open();
  const auto over_1 = ports.open();
  REQUIRE(ports.connects(over_0));
  REQUIRE(ports.connects(over_1));
  ports.harness.fabric().remove_device("x", "fake0");
  REQUIRE(ports.rig.run([&] { return ports.rig.x.closed(over_0.link.at_x).has_value(); }));
  CHECK_THAT(std::string(ports.rig.x.closed(over_0.link.at_x)->message()), Catch::Contains("fake0 had a fatal error"));
  CHECK_FALSE(ports.rig.x.closed(over_1.link.at_x));
  for (int i = 0; i < 2; ++i) CHECK(ports.open_over("fake1"));
  const MemoryRegion& local = ports.rig.region(ports.rig.x, 100'000, 1);
  const MemoryRegion& target = ports.rig.region(ports.rig.y, 100'000, 2);
  const LocalGrant granted = ports.rig.grant(ports.rig.y, over_1.link.at_y, target);
  Operation write;
  write.id = ports.rig.next_id();
  write.local = &local;
  write.remote = &granted.remote;
  write.length = 100'000;
  CHECK(ports.rig.finish(ports.rig.x, over_1.link.at_x, write).ok());
}

}  // namespace
}  // namespace haul::contract

#endif
