// Contract over real sockets: lanes for what is sent by the side that came, which asks the other one for them.
#include <catch2/catch.hpp>

#include "contract/lane_scene.h"
#include "engine/codec.h"

namespace haul::contract {
namespace {

/// Who is connected to, played by hand: says hello, and whatever a test says. It answers no offer of a lane.
class Puppet {
 public:
  explicit Puppet(TcpHarness& harness) : harness_(harness), transport_(harness.make_transport("puppet")) {
    const auto bound = transport_->listen({"127.0.0.1", 0});
    REQUIRE(bound.ok());
    address = *bound;
  }
  bool run(const std::function<bool()>& until, Duration limit = 10s) {
    return harness_.run([&] { return poll(), until(); }, limit);
  }
  void say(const engine::Control& message) {
    REQUIRE(transport_->send(connection_, engine::encode(message), harness_.clock().now()));
  }

  Address address;
  std::optional<engine::Hello> theirs;
  size_t lanes_offered = 0;

 private:
  void poll() {
    std::array<Event, 64> events;
    const size_t count = transport_->poll(harness_.clock().now(), NextPoll::when_woken, events);
    for (size_t i = 0; i < count; ++i) {
      if (events[i].kind == Event::Kind::accepted) connection_ = events[i].connection;
      if (events[i].kind == Event::Kind::message) hear(engine::decode(events[i].payload).value());
    }
  }
  void hear(const engine::Control& message) {
    if (const auto* hello = std::get_if<engine::Hello>(&message)) {
      theirs = *hello;
      say(engine::Hello{.incarnation = 7, .max_message_bytes = 8192, .max_lanes = 4, .name = "puppet", .library_version = {}});
    } else if (const auto* ping = std::get_if<engine::Ping>(&message)) {
      say(engine::Pong{ping->number});
    } else if (std::holds_alternative<engine::LaneOpen>(message)) {
      ++lanes_offered;
    }
  }

  TcpHarness& harness_;
  std::unique_ptr<Transport> transport_;
  ConnectionId connection_ = 0;
};

/// A peer of an engine, played by hand.
struct Asked {
  explicit Asked(PeerOptions options = {}) : puppet(harness) {
    a = &harness.start("a");
    options.connect_timeout = 20s;
    auto made = (*a)->connect(puppet.address, std::move(options));
    REQUIRE(made.ok());
    peer = *made;
    REQUIRE(puppet.run([&] { return puppet.theirs.has_value(); }));
  }

  TcpHarness harness;
  Puppet puppet;
  Node* a = nullptr;
  Peer peer;
};

}  // namespace

TEST_CASE("what the side that came sends gets more lanes, and loses them again", "[contract][lanes][rates]") {
  const Op op = GENERATE(Op::write, Op::read);
  CAPTURE(op);
  Scene scene(CongestionPolicy{"off", {}});
  Scene::hold_lanes_of(*scene.b);
  scene.connect();
  Stream back = op == Op::write ? scene.stream_back() : scene.stream_of_gets();
  const auto asked = [&] { return scene.pair->to_a.stats().lanes_wanted; };
  REQUIRE(scene.run({&back}, [&] { return asked() >= 3 && scene.b->record->connections.size() >= 3; }));
  CHECK(scene.says("; the peer asks for "));
  CHECK(scene.pair->to_a.explain().find("each is held back by its buffers") != std::string::npos);
  CHECK(scene.wanted() >= 3);

  // The path is the limit now.
  scene.b->record->held_by_buffers = false;
  REQUIRE(scene.run({&back}, [&] { return asked() == 1 && scene.a->record->connections.size() == 1; }));
  CHECK(scene.b->record->connections_lost == 0);
  CHECK(scene.a->record->connections_lost == 0);
  finish_ok(scene.harness, back.put);
  CHECK(same(back.local.bytes(), back.target.bytes()));
  CHECK(scene.a->inbox.closed.empty());
}

TEST_CASE("a number of lanes that was named is not asked to be another", "[contract][lanes]") {
  PeerOptions two;
  two.lanes = 2;
  Scene scene(CongestionPolicy{"off", {}}, two);
  Scene::hold_lanes_of(*scene.b);
  scene.connect();
  Stream back = scene.stream_back();
  const auto later = scene.harness.clock().now() + 3s;
  scene.run({&back}, [&] { return scene.harness.clock().now() >= later; });
  CHECK(scene.a->record->opened == 2);
  CHECK(scene.pair->to_a.stats().lanes_wanted == 0);
  CHECK(scene.a->inbox.closed.empty());
}

TEST_CASE("who asks for lanes gets no more than are allowed", "[contract][lanes]") {
  Asked asked;
  CHECK((asked.puppet.theirs->features & engine::feature_lanes_wanted) != 0);
  asked.puppet.say(engine::LanesWanted{UINT32_MAX});
  REQUIRE(asked.puppet.run([&] { return asked.puppet.lanes_offered == 3; }));  // beside the first one
  asked.puppet.run([&] { return asked.puppet.lanes_offered > 3; }, 500ms);
  CHECK(asked.puppet.lanes_offered == 3);
  CHECK(asked.a->inbox.closed.empty());
}

TEST_CASE("who asks for lanes where their number was named is hung up on", "[contract][lanes]") {
  PeerOptions one;
  one.lanes = 1;
  Asked asked(one);
  CHECK((asked.puppet.theirs->features & engine::feature_lanes_wanted) == 0);
  asked.puppet.say(engine::LanesWanted{2});
  REQUIRE(asked.puppet.run([&] { return !asked.a->inbox.closed.empty(); }));
  CHECK(asked.a->inbox.closed[0].second.code() == StatusCode::protocol);
  CHECK(asked.puppet.lanes_offered == 0);
}

}  // namespace haul::contract
