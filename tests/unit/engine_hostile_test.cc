// Peers that speak the engine's messages well, and abuse them.
#include <array>
#include <catch2/catch.hpp>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "engine/codec.h"
#include "haul/engine.h"
#include "haul/sim.h"
#include "transfer/landing.h"

namespace haul {
namespace {

using namespace std::chrono_literals;

/// An engine, and bare transports that connect to it.
struct Scene {
  sim::World world{1};
  std::vector<Peer> arrived;
  std::vector<Status> closed;
  std::vector<std::string> letters;
  std::vector<std::string> log;
  std::unique_ptr<Engine> engine;  // goes first: its end is logged

  explicit Scene(EngineOptions options = {}) {
    world.add_node("engine");
    world.add_node("hostile");
    world.link("engine", "hostile", {});
    options.security = SecurityPolicy::insecure;
    options.clock = &world.clock();
    options.seed = 1;
    options.on_peer = [this](Peer peer) { arrived.push_back(peer); };
    options.on_peer_closed = [this](Peer, const Status& why) { closed.push_back(why); };
    options.on_message = [this](Peer, const Message& message) {
      letters.emplace_back(reinterpret_cast<const char*>(message.payload.data()), message.payload.size());
    };
    options.log = [this](const LogRecord& line) { log.emplace_back(line.text); };
    std::vector<std::unique_ptr<Transport>> transports;
    transports.push_back(world.make_transport("engine"));
    engine = Engine::create(std::move(options), std::move(transports)).value();
    REQUIRE(engine->listen({"engine", 1}).ok());
  }
};

class Hostile {
 public:
  explicit Hostile(Scene& scene) : scene_(scene), transport_(scene.world.make_transport("hostile")) {
    ConnectOptions options;
    options.address = Address{"engine", 1};
    connection_ = transport_->open(options, now()).value().connection;
    REQUIRE(transport_->join(connection_, {}, now()).ok());
    REQUIRE(run([this] { return connected_; }));
  }

  TimePoint now() const { return scene_.world.clock().now(); }
  void say(const engine::Control& message) {
    const auto bytes = engine::encode(message);
    static_cast<void>(transport_->send(connection_, bytes, now()));
    poll();
  }
  void greet(const std::string& name = "hostile") {
    say(engine::Hello{.incarnation = 5, .max_message_bytes = 8192, .max_lanes = 64, .name = name, .library_version = "0"});
  }
  bool run(const std::function<bool()>& until, Duration limit = 1s) {
    Engine* const engines[] = {scene_.engine.get()};
    return scene_.world.run(
        engines,
        [&] {
          poll();
          return until();
        },
        limit);
  }
  bool met() {
    greet();
    return run([this] { return heard<engine::Hello>() != nullptr; });
  }
  template <typename T>
  const T* heard() const {
    for (const auto& message : messages_) {
      if (const auto* found = std::get_if<T>(&message)) return found;
    }
    return nullptr;
  }
  /// The engine threw this peer out for breaking the protocol.
  bool thrown_out() {
    return run([this] { return !scene_.closed.empty(); }) && scene_.closed.back().code() == StatusCode::protocol;
  }

 private:
  void poll() {
    std::array<Event, 64> events;
    const size_t count = transport_->poll(now(), NextPoll::when_woken, events);
    for (size_t i = 0; i < count; ++i) {
      connected_ = connected_ || events[i].kind == Event::Kind::connected;
      if (events[i].kind == Event::Kind::message) messages_.push_back(engine::decode(events[i].payload).value());
    }
  }

  Scene& scene_;
  std::unique_ptr<Transport> transport_;
  ConnectionId connection_ = 0;
  bool connected_ = false;
  std::vector<engine::Control> messages_;
};

}  // namespace

TEST_CASE("who was refused is not let in by a second hello") {
  EngineOptions options;
  options.max_peers = 1;
  Scene scene(options);
  Hostile first(scene);
  REQUIRE(first.met());
  Hostile second(scene);
  second.greet();
  REQUIRE(second.run([&] { return second.heard<engine::Goodbye>() != nullptr; }));
  CHECK(second.heard<engine::Goodbye>()->code == StatusCode::exhausted);
  CHECK(second.heard<engine::Hello>() == nullptr);
  CHECK(scene.arrived.size() == 1);
}

TEST_CASE("strangers who introduce themselves together do not exceed the number of peers") {
  EngineOptions options;
  options.max_peers = 1;
  Scene scene(options);
  Hostile first(scene);
  Hostile second(scene);
  REQUIRE(first.met());
  second.greet();
  REQUIRE(second.run([&] { return second.heard<engine::Goodbye>() != nullptr; }));
  CHECK(second.heard<engine::Goodbye>()->code == StatusCode::exhausted);
  CHECK(scene.engine->stats().peers.size() == 1);
}

TEST_CASE("who sent something else than a hello is not let in by a hello") {
  Scene scene;
  Hostile hostile(scene);
  hostile.say(engine::Ping{1});
  hostile.greet();
  REQUIRE(hostile.run([&] { return hostile.heard<engine::Goodbye>() != nullptr; }));
  hostile.run([] { return false; }, 100ms);
  CHECK(scene.arrived.empty());
}

TEST_CASE("checksums of memory are not told where they travel with the data") {
  // A write-only grant would otherwise be readable, four bytes at a time.
  Scene scene;
  Hostile hostile(scene);
  REQUIRE(hostile.met());
  const Buffer memory = scene.engine->allocate(4096).value();
  const RemoteBuffer granted = scene.arrived[0].grant(memory.slice(), Rights::write).value();
  hostile.say(engine::Verify{1, granted.grant_id(), 0, 4});
  CHECK(hostile.thrown_out());
  CHECK(hostile.heard<engine::Verified>() == nullptr);
}

TEST_CASE("messages longer than this side allows are not delivered") {
  EngineOptions options;
  options.max_message_bytes = 100;
  Scene scene(options);
  Hostile hostile(scene);
  REQUIRE(hostile.met());
  const std::vector<std::byte> most(100);
  hostile.say(engine::UserMessage{most});
  REQUIRE(hostile.run([&] { return scene.letters.size() == 1; }));
  const std::vector<std::byte> more(101);
  SECTION("by itself") { hostile.say(engine::UserMessage{more}); }
  SECTION("as a notification") { hostile.say(engine::Notify{1, 0, more}); }
  CHECK(hostile.thrown_out());
  CHECK(scene.letters.size() == 1);
}

TEST_CASE("notifications whose writes never come do not pile up") {
  Scene scene;
  Hostile hostile(scene);
  REQUIRE(hostile.met());
  const bool abandons = GENERATE(false, true);
  for (uint64_t serial = 1; serial <= transfer::LandingTracker::max_open + 2 && scene.closed.empty(); ++serial) {
    if (abandons) {
      hostile.say(engine::Abandon{serial * 2});
    } else {
      hostile.say(engine::Notify{serial, 1, {}});
    }
    if (serial % 64 == 0) hostile.run([] { return false; }, 2ms);
  }
  CHECK(hostile.thrown_out());
}

TEST_CASE("the side that connects hears of a peer before it hears from it") {
  Scene scene;
  std::string told;
  EngineOptions options;
  options.security = SecurityPolicy::insecure;
  options.clock = &scene.world.clock();
  options.seed = 2;
  options.on_message = [&told](Peer, const Message&) { told += "message "; };
  std::vector<std::unique_ptr<Transport>> transports;
  transports.push_back(scene.world.make_transport("hostile"));
  const auto connects = Engine::create(std::move(options), std::move(transports)).value();
  PeerOptions peer_options;
  peer_options.on_ready = [&told](Peer, const Status&) { told += "ready "; };
  static_cast<void>(connects->connect({"engine", 1}, std::move(peer_options)));
  Engine* const both[] = {connects.get(), scene.engine.get()};
  REQUIRE(scene.world.run(
      both, [&] { return scene.arrived.size() == 1; }, 1s));
  // The answer to the hello and a message reach it in one poll.
  REQUIRE(scene.arrived[0].send(std::as_bytes(std::span("hello"))).ok());
  Engine* const other[] = {scene.engine.get()};
  scene.world.run(
      other, [] { return false; }, 10ms);
  connects->poll();
  CHECK(told == "ready message ");
}

TEST_CASE("a lane's number is used once") {
  Scene scene;
  Hostile hostile(scene);
  REQUIRE(hostile.met());
  hostile.say(engine::LaneOpen{2, "none", {}});
  REQUIRE(hostile.run([&] { return hostile.heard<engine::LaneRefuse>() != nullptr; }));
  hostile.say(engine::LaneOpen{2, "none", {}});
  CHECK(hostile.thrown_out());
}

TEST_CASE("a peer's words have no control characters") {
  Scene scene;
  Hostile hostile(scene);
  hostile.greet("a\x1b[31mb\r\n");
  REQUIRE(hostile.run([&] { return scene.arrived.size() == 1; }));
  CHECK(scene.arrived[0].name() == "a?[31mb??");
  hostile.say(engine::Goodbye{StatusCode::refused, "x\ny"});
  REQUIRE(hostile.run([&] { return !scene.closed.empty(); }));
  CHECK(scene.closed[0].message().find("x?y") != std::string::npos);
}

TEST_CASE("who opens the lanes does not ask for them") {
  Scene scene;
  Hostile hostile(scene);
  REQUIRE(hostile.met());
  hostile.say(engine::LanesWanted{2});
  CHECK(hostile.thrown_out());
}

}  // namespace haul
