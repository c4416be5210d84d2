// What a known peer may take: connections, messages, grants, notifications.
#include <fmt/format.h>

#include "puppet.h"

namespace haul::hostile {
namespace {

struct Played {
  explicit Played(EngineOptions options = {})
      : bob(parties().bob, with_io(tcp::Io::epoll), std::move(options)), alice(parties().alice, bob) {
    alice.greet(bob.listen());
  }
  /// Bob ended it because of what alice did.
  void check_ended(StatusCode code, const std::string& words) {
    REQUIRE(alice.run_until([&] { return !bob.closed.empty() && alice.ended(); }));
    INFO(bob.closed[0].to_string());
    CHECK(bob.closed[0].code() == code);
    CHECK_THAT(std::string(bob.closed[0].message()), Catch::Contains(words));
  }
  Host bob;
  Puppet alice;
};

TEST_CASE("one identity has so many connections and no more", "[hostile][limits]") {
  EngineOptions options;
  options.max_peers_per_identity = 2;
  Host bob(parties().bob, with_io(tcp::Io::epoll), options);
  const Address address = bob.listen();
  Host alice(parties().alice, with_io(tcp::Io::epoll), {});
  Host carol(parties().carol, with_io(tcp::Io::epoll), {});
  const auto connect = [&](Host& who) {
    Peer peer = who.connect(address);
    REQUIRE(run({bob.engine.get(), alice.engine.get(), carol.engine.get()}, [&] { return who.decided(); }));
    return peer;
  };
  Peer first = connect(alice);
  CHECK(alice.ready.ok());
  connect(alice);
  CHECK(alice.ready.ok());
  connect(alice);
  INFO(alice.ready.to_string());
  CHECK(alice.ready.code() == StatusCode::exhausted);
  CHECK_THAT(std::string(alice.ready.message()), Catch::Contains("max_peers_per_identity"));
  connect(carol);
  CHECK(carol.ready.ok());
  first.close();
  REQUIRE(run({bob.engine.get(), alice.engine.get(), carol.engine.get()}, [&] { return !bob.closed.empty(); }));
  connect(alice);
  CHECK(alice.ready.ok());
}

TEST_CASE("connections that do not introduce themselves count, and end in time", "[hostile][limits]") {
  EngineOptions options;
  options.max_peers_per_identity = 2;
  options.handshake_timeout = 500ms;
  Host bob(parties().bob, with_io(tcp::Io::epoll), options);
  const Address address = bob.listen();
  Puppet one(parties().alice, bob);
  Puppet two(parties().alice, bob);
  Puppet three(parties().alice, bob);
  one.dial(address);
  two.dial(address);
  three.dial(address);
  REQUIRE(three.run_until([&] { return three.find<engine::Goodbye>() != nullptr; }));
  CHECK(three.find<engine::Goodbye>()->code == StatusCode::exhausted);
  REQUIRE(one.run_until([&] { return one.ended(); }, 10s));
  REQUIRE(two.run_until([&] { return two.ended(); }, 10s));
  CHECK(bob.arrived.empty());
}

TEST_CASE("a message above the limit ends the peer", "[hostile][limits]") {
  EngineOptions options;
  options.max_message_bytes = 1000;
  Played played(options);
  const std::vector<std::byte> message(1000);
  played.alice.send(engine::UserMessage{message});
  REQUIRE(played.alice.run_until([&] { return played.bob.letters.size() == 1; }));
  const std::vector<std::byte> larger(1001);
  SECTION("alone") { played.alice.send(engine::UserMessage{larger}); }
  SECTION("as a notification") { played.alice.send(engine::Notify{1, 0, larger}); }
  played.check_ended(StatusCode::protocol, "longer than this side allows");
  CHECK(played.bob.letters.size() == 1);
}

TEST_CASE("more grants than are allowed end the peer", "[hostile][limits]") {
  EngineOptions options;
  options.max_grants_per_peer = 10;
  Played played(options);
  SECTION("the peer's") {
    for (uint64_t id = 1; id <= 11; ++id) played.alice.send(engine::GrantMade{id, 100, Rights::read, {}});
    played.check_ended(StatusCode::protocol, "grants");
  }
  SECTION("one for more lanes than there can be") {
    played.alice.send(engine::GrantMade{1, 100, Rights::read, std::vector<engine::GrantRegion>(65)});
    played.check_ended(StatusCode::protocol, "grants");
  }
  SECTION("ours are refused to our own caller") {
    const Buffer memory = filled(*played.bob.engine, 4096, 1);
    for (int i = 0; i < 10; ++i) REQUIRE(played.bob.arrived[0].grant(memory.slice(), Rights::read).ok());
    const Status refused = played.bob.arrived[0].grant(memory.slice(), Rights::read).status();
    CHECK(refused.code() == StatusCode::busy);
    CHECK_THAT(std::string(refused.message()), Catch::Contains("max_grants_per_peer"));
  }
}

TEST_CASE("notifications without end end the peer", "[hostile][limits]") {
  Played played;
  uint64_t serial = 0;
  SECTION("that are never complete") {
    while (serial < 10'000 && !played.alice.ended()) played.alice.send(engine::Notify{++serial, 1, {}});
  }
  SECTION("that are given up with gaps") {
    while (serial < 20'000 && !played.alice.ended()) played.alice.send(engine::Abandon{serial += 2});
  }
  played.check_ended(StatusCode::protocol, "notified transfers");
}

TEST_CASE("control messages come by one lane", "[hostile][limits]") {
  Played played;
  played.alice.send(engine::LaneOpen{1, "tcp", {}});
  REQUIRE(played.alice.run_until([&] { return played.alice.find<engine::LaneAccept>() != nullptr; }));
  const ConnectionId lane = played.alice.join_lane(played.alice.find<engine::LaneAccept>()->endpoint, {"127.0.0.1", 1});
  REQUIRE(played.alice.run_until([&] { return played.alice.connected(lane); }));
  SECTION("and not by another") {
    played.alice.send(lane, engine::Ping{1});
    played.check_ended(StatusCode::protocol, "lane 1");
  }
  SECTION("which moves only where a lane is") {
    played.alice.send(engine::ControlMove{7});
    played.check_ended(StatusCode::protocol, "not there");
  }
  SECTION("and only when asked") {
    played.alice.send(engine::ControlMoved{1});
    played.check_ended(StatusCode::protocol, "without being asked");
  }
  SECTION("and nothing more comes on the old one after a move") {
    played.alice.send(engine::ControlMove{1});
    REQUIRE(played.alice.run_until([&] { return played.alice.find<engine::ControlMoved>() != nullptr; }));
    CHECK(played.alice.find<engine::ControlMoved>()->lane == 1);
    played.alice.send(engine::Ping{1});
    played.check_ended(StatusCode::protocol, "lane 0");
  }
  SECTION("and the new one's end is the peer's") {
    played.alice.send(engine::ControlMove{1});
    REQUIRE(played.alice.run_until([&] { return played.alice.find<engine::ControlMoved>() != nullptr; }));
    played.alice.send(lane, engine::ControlMoved{1});
    played.alice.send(lane, engine::Ping{5});
    REQUIRE(played.alice.run_until([&] { return played.alice.find<engine::Pong>() != nullptr; }));
    CHECK(played.alice.find<engine::Pong>()->number == 5);
    played.alice.send(lane, engine::LaneClosed{1});
    played.check_ended(StatusCode::protocol, "control lane");
  }
}

}  // namespace
}  // namespace haul::hostile
