// Peers of the rdma backend that keep to no rule: their connection ends with a reason, and nothing else suffers.
#include "contract/fixture.h"

#ifdef HAUL_CONTRACT_RDMA

#include "base/bytes.h"
#include "contract/rdma_wire.h"
#include "contract/verbs/raw_peer.h"

namespace haul::contract {
namespace {

namespace wire = rdma::wire;
using verbs::RawPeer;

std::vector<std::byte> empty_bundle() { return std::vector<std::byte>(wire::header_bytes); }

/// y beside a raw peer, which came first, and an honest x, with a key of each for y's memory.
struct Hostile {
  RdmaHarness harness;
  RawPeer raw{harness.fabric(), "z"};
  Rig rig{harness};
  ConnectionId victim = open_victim();
  Rig::Link link = rig.connect();
  const MemoryRegion& local = rig.region(rig.x, arena_bytes, 1);
  const MemoryRegion& target = rig.region(rig.y, arena_bytes, 2);
  LocalGrant honest = rig.grant(rig.y, link.at_y, target);
  LocalGrant granted;
  wire::RemoteKey key;

  explicit Hostile(const verbs::FabricOptions& devices = {}) : harness(1, devices) {}
  ~Hostile() { rig.y.transport->close(victim, CloseMode::abort, rig.now()); }
  Hostile(const Hostile&) = delete;
  Hostile& operator=(const Hostile&) = delete;

  ConnectionId open_victim() {
    ConnectOptions passive;
    const auto endpoint = raw.endpoint();
    passive.peer_endpoint = endpoint;
    const auto opened = rig.y.transport->open(passive, rig.now()).value();
    raw.join(opened.bytes);
    REQUIRE(rig.y.transport->join(opened.connection, endpoint, rig.now()).ok());
    return opened.connection;
  }
  bool run(const std::function<bool()>& until, Duration limit = 30s) {
    return rig.run(
        [&] {
          raw.listen();
          return until();
        },
        limit);
  }
  void shake_hands() {
    raw.say({raw.hello()});
    REQUIRE(run([&] { return rig.y.count(Event::Kind::connected, victim) == 1; }));
  }
  void grant(Rights rights = Rights::read_write) {
    granted = rig.grant(rig.y, victim, target, rights);
    key = wire::decode_key(granted.remote).value();
    REQUIRE(run([&] { return raw.count<wire::GrantsBound>() > 0; }));
  }
  wire::Landing landing(uint32_t operation, uint64_t offset = 0, uint32_t length = 10) const {
    return {operation, key.number, offset, length, 0, {}};
  }
  wire::Question question(uint32_t operation, uint64_t offset = 0, uint32_t length = 10) const {
    return {operation, key.number, offset, length};
  }
  void revoke_standing() {
    rig.y.transport->revoke(victim, granted.id, rig.now());
    REQUIRE(run([&] { return raw.count<wire::Revoke>() == 1; }));
  }
  std::optional<Status> closed() const { return rig.y.closed(victim); }
  /// The victim's end came, for this reason, and the honest pair still works.
  void check_ended(StatusCode code, const std::string& reason) {
    const bool ended = run([&] { return closed().has_value(); });
    REQUIRE(ended);
    INFO(closed()->to_string());
    CHECK(closed()->code() == code);
    CHECK_THAT(std::string(closed()->message()), Catch::Contains(reason));
    check_others();
  }
  void check_others() {
    rig.y.answers = true;
    Operation write;
    write.id = rig.next_id();
    write.local = &local;
    write.remote = &honest.remote;
    write.length = 100'000;
    CHECK(rig.finish(rig.x, link.at_x, write).ok());
    CHECK_FALSE(rig.y.closed(link.at_y));
  }
};

TEST_CASE("a raw peer that keeps to the rules is served", "[rdma]") {
  Hostile scene;
  scene.shake_hands();
  scene.grant();
  scene.raw.access(true, scene.key.address, scene.key.keys[0], 100);
  scene.raw.say({scene.landing(1, 0, 100), scene.question(2)});
  REQUIRE(scene.run([&] { return scene.raw.count<wire::Answer>() == 2; }));
  CHECK(scene.rig.y.count(Event::Kind::landed, scene.victim) == 1);
  CHECK_FALSE(scene.closed());
  CHECK_FALSE(scene.raw.malformed());
}

TEST_CASE("records before the hello, and hellos that are wrong, end a connection", "[rdma]") {
  Hostile scene;
  const int what = GENERATE(range(0, 6));
  const wire::Hello hello = scene.raw.hello();
  const std::array<std::byte, 3> payload{};
  switch (what) {
    case 0: scene.raw.say({wire::Message{payload}}); break;
    case 1: scene.raw.say({wire::Revoke{1}, hello}); break;
    case 2: scene.raw.say({wire::Bye{}}); break;
    case 3: scene.raw.say({hello, scene.landing(1)}); break;
    case 4: scene.raw.say({wire::Hello{hello.secret + 1}}); break;
    default: scene.shake_hands(); scene.raw.say({hello});
  }
  scene.check_ended(StatusCode::protocol, what < 4    ? "records before the hello"
                                          : what == 4 ? "for another connection"
                                                      : "a second hello");
  CHECK(scene.rig.y.count(Event::Kind::connected, scene.victim) == (what < 5 ? 0 : 1));
}

TEST_CASE("bundles that are malformed end a connection", "[rdma]") {
  Hostile scene;
  scene.shake_hands();
  auto bundle = empty_bundle();
  const int what = GENERATE(range(-1, 5));
  switch (what) {
    case -1: bundle.clear(); break;
    case 0: bundle.resize(wire::header_bytes - 1); break;
    case 1: bundle.push_back(std::byte{0}); break;
    case 2: bundle.push_back(std::byte{12}); break;
    case 3: bundle.insert(bundle.end(), {std::byte{2}, std::byte{1}}); break;                   // half a landing
    default: bundle.insert(bundle.end(), {std::byte{5}, std::byte{200}, std::byte{0}}); break;  // a message without its bytes
  }
  scene.raw.say_bytes(bundle);
  scene.check_ended(StatusCode::protocol, "malformed record");
}

TEST_CASE("claims that are false or out of bounds end a connection", "[rdma]") {
  Hostile scene;
  scene.shake_hands();
  scene.grant(Rights::write);
  const auto [record, code, reason] = GENERATE_REF(table<wire::Record, StatusCode, std::string>({
      {scene.landing(1, 0, wire::max_operation_bytes + 1), StatusCode::protocol, "a write that is too long"},
      {scene.landing(1, 0, UINT32_MAX), StatusCode::protocol, "a write that is too long"},
      {scene.question(1, 0, wire::max_operation_bytes + 1), StatusCode::protocol, "a read that is too long"},
      {scene.landing(1, arena_bytes - 9), StatusCode::refused, "not granted"},
      {scene.landing(1, UINT64_MAX - 4), StatusCode::refused, "not granted"},
      {scene.landing(1, 0, 0), StatusCode::refused, "not granted"},
      {scene.question(1), StatusCode::refused, "not granted"},  // it may write only
      {wire::Landing{1, 77, 0, 10, 0, {}}, StatusCode::protocol, "never made"},
      {wire::Landing{1, 0, 0, 10, 0, {}}, StatusCode::protocol, "never made"},
      {wire::Question{1, UINT32_MAX, 0, 10}, StatusCode::protocol, "never made"},
      {wire::Answer{5, StatusCode::ok, 0}, StatusCode::protocol, "an answer to nothing"},
      {wire::Released{1}, StatusCode::protocol, "nobody asked back"},
      {wire::Fence{1}, StatusCode::protocol, "a fence behind a grant that stands"},
      {wire::Fenced{1}, StatusCode::protocol, "an answer to no fence"},
      {wire::Fenced{9}, StatusCode::protocol, "an answer to no fence"},
      {wire::Message{}, StatusCode::protocol, "empty or too long"},
  }));
  scene.raw.say({record});
  scene.check_ended(code, reason);
}

TEST_CASE("what may be said once ends a connection the second time", "[rdma]") {
  Hostile scene;
  scene.shake_hands();
  scene.grant();
  const auto [record, reason] = GENERATE_REF(table<wire::Record, std::string>({
      {scene.landing(1), "a landing told twice"},
      {wire::Revoke{7}, "revoked twice"},
      {wire::Bye{}, "a second bye"},
  }));
  scene.rig.y.answers = false;
  scene.raw.say({record, record});
  scene.check_ended(StatusCode::protocol, reason);
}

TEST_CASE("bounds that shrink end a connection", "[rdma]") {
  Hostile scene;
  scene.shake_hands();
  scene.raw.say({wire::GrantsBound{5}, wire::GrantsBound{4}});
  scene.check_ended(StatusCode::protocol, "unbound");
}

TEST_CASE("a message longer than messages may be ends a connection", "[rdma]") {
  Hostile scene;
  scene.shake_hands();
  const size_t bytes = GENERATE(size_t{wire::max_message_bytes}, wire::max_message_bytes + 1);
  const std::vector<std::byte> payload(bytes);
  scene.raw.say({wire::Message{payload}});
  if (bytes > wire::max_message_bytes) return scene.check_ended(StatusCode::protocol, "too long");
  CHECK(scene.run([&] { return scene.rig.y.count(Event::Kind::message, scene.victim) == 1; }));
  CHECK_FALSE(scene.closed());
}

TEST_CASE("who claims to have received more than was sent is parted with", "[rdma]") {
  Hostile scene;
  scene.shake_hands();
  auto bundle = empty_bundle();
  base::ByteWriter(bundle).put(GENERATE(uint32_t{100}, UINT32_MAX));
  scene.raw.say_bytes(bundle);
  scene.check_ended(StatusCode::protocol, "received more than was sent");
}

TEST_CASE("no more operations than a peer may have wait for their answers", "[rdma]") {
  const bool asks = GENERATE(true, false);
  Hostile scene;
  scene.shake_hands();
  scene.grant();
  scene.rig.y.answers = false;
  std::vector<wire::Record> most;
  for (uint32_t i = 1; i <= wire::max_operations; ++i) {
    most.push_back(asks ? wire::Record(scene.question(i)) : wire::Record(scene.landing(i)));
  }
  scene.raw.say(most);
  REQUIRE(scene.run([&] {
    const size_t answered = scene.raw.count<wire::Answer>();
    return (asks ? answered : scene.rig.y.count(Event::Kind::landed, scene.victim)) == wire::max_operations;
  }));
  CHECK_FALSE(scene.closed());
  if (asks) most.push_back(scene.question(0));
  scene.raw.say(asks ? most : std::vector<wire::Record>{scene.question(0)});
  scene.check_ended(StatusCode::protocol, "more operations unanswered than it may have");
}

TEST_CASE("a flood of fences of one that doesn't listen is bounded", "[rdma]") {
  Hostile scene;
  scene.shake_hands();
  scene.raw.say({wire::Revoke{9}});
  scene.raw.say(std::vector<wire::Record>(3000, wire::Fence{9}));
  scene.raw.say(std::vector<wire::Record>(3000, wire::Fence{9}));
  scene.check_ended(StatusCode::protocol, "asks for more than it listens to");
}

TEST_CASE("immediate data ends a connection, whatever it names", "[rdma]") {
  Hostile scene;
  scene.shake_hands();
  scene.harness.fabric().send_next_as_immediate("z");
  scene.raw.say_bytes(empty_bundle());
  scene.check_ended(StatusCode::protocol, "immediate data");
}

TEST_CASE("a key of another's connection is of no use", "[rdma]") {
  const bool writes = GENERATE(true, false);
  Hostile scene;
  scene.shake_hands();
  const wire::RemoteKey theirs = wire::decode_key(scene.honest.remote).value();
  std::fill(scene.target.bytes().begin(), scene.target.bytes().end(), untouched);
  scene.raw.access(writes, theirs.address, theirs.keys[0], 1000);
  REQUIRE(scene.run([&] { return scene.closed().has_value(); }));
  CHECK(scene.closed()->code() == StatusCode::refused);
  CHECK(all_bytes_are(scene.target.bytes(), untouched));
  scene.check_others();
}

/// y is polled, but takes only a few events at a time.
struct SlowCaller : Hostile {
  size_t messages = 0;
  size_t letters = 0;
  void round(size_t events) {
    std::vector<Event> few(events);
    few.resize(rig.y.transport->poll(rig.now(), NextPoll::at_once, few));
    for (const Event& each : few) {
      if (each.kind == Event::Kind::message) ++(each.connection == victim ? messages : letters);
    }
    rig.x.poll(rig.now());
    raw.listen();
    harness.fabric().step();
    harness.control().advance(1us);
  }
};

TEST_CASE("a flood of messages waits on the wire until they are taken, and holds nobody else up", "[rdma]") {
  SlowCaller scene;
  scene.shake_hands();
  const std::array<std::byte, 1> payload{std::byte{1}};
  const std::vector<wire::Record> flood(8000, wire::Message{payload});
  constexpr size_t a_bundle = (wire::slot_bytes - wire::header_bytes) / 4;
  constexpr uint32_t bundles = 60;
  for (uint32_t i = 0; i < bundles; ++i) scene.raw.say(flood);
  for (int i = 0; i < 300; ++i) scene.round(1);
  // One bundle more than what may wait was looked at; the receives are full of others.
  CHECK(scene.raw.bundles_taken() <= 2 + wire::slots);
  const std::array<std::byte, 2> letter{};
  REQUIRE(scene.rig.x.transport->send(scene.link.at_x, letter, scene.rig.now()));
  // It is behind what waited when it came, and before what follows.
  for (int i = 0; i < 200 && scene.letters == 0; ++i) scene.round(64);
  CHECK(scene.letters == 1);
  CHECK(scene.messages < 4 * a_bundle);
  for (int i = 0; i < 30'000 && scene.messages < bundles * a_bundle && !scene.raw.failed(); ++i) scene.round(64);
  CHECK(scene.messages == bundles * a_bundle);
  scene.check_others();
}

TEST_CASE("who sends more bundles than there are receives fails alone", "[rdma]") {
  Hostile scene;
  scene.shake_hands();
  for (uint32_t i = 0; i < 2 * wire::slots; ++i) scene.raw.say_bytes(empty_bundle());
  // y looks at nothing for as long as a device tries.
  for (int i = 0; i < 2000 && !scene.raw.failed(); ++i) {
    scene.harness.fabric().step();
    scene.harness.control().advance(1ms);
    scene.raw.listen();
  }
  CHECK(scene.raw.failed());
  CHECK(scene.raw.bundles_taken() <= wire::slots + 1);
  REQUIRE(scene.run([&] { return scene.closed().has_value(); }));
  CHECK(scene.closed()->code() == StatusCode::peer_lost);
  scene.check_others();
}

TEST_CASE("a released grant counts as revoked only when what was under way has ended", "[rdma]") {
  verbs::FabricOptions devices;
  devices.windows = GENERATE(true, false);
  devices.stops_messages = false;
  devices.pieces_a_step = 1;
  devices.piece_bytes = 1024;
  Hostile scene(devices);
  scene.shake_hands();
  scene.grant();
  std::fill(scene.target.bytes().begin(), scene.target.bytes().end(), untouched);
  scene.revoke_standing();
  // It says that it let go, and has just begun to write. The next thing that it can say comes behind all of that.
  scene.raw.say({wire::Released{scene.key.number}});
  scene.raw.access(true, scene.key.address, scene.key.keys[0], 900'000);
  scene.raw.say({wire::Fenced{scene.key.number}});
  // y hears of the first in the middle of the second.
  for (int i = 0; i < 1000 && scene.target.bytes()[0] == untouched; ++i) scene.harness.fabric().step();
  REQUIRE(scene.target.bytes()[0] != untouched);
  REQUIRE(scene.target.bytes()[899'999] == untouched);
  REQUIRE(scene.run([&] { return scene.rig.y.count(Event::Kind::revoked) == 1 || scene.closed().has_value(); }));
  std::fill(scene.target.bytes().begin(), scene.target.bytes().end(), untouched);
  scene.run([] { return false; }, 3s);
  CHECK(all_bytes_are(scene.target.bytes(), untouched));
}

TEST_CASE("one that answers no fence is parted with", "[rdma]") {
  verbs::FabricOptions devices;
  devices.windows = GENERATE(true, false);
  devices.stops_messages = false;
  Hostile scene(devices);
  scene.shake_hands();
  scene.grant();
  scene.revoke_standing();
  scene.raw.say({wire::Released{scene.key.number}});
  REQUIRE(scene.run([&] { return scene.raw.count<wire::Fence>() == 1; }));
  CHECK(scene.rig.y.count(Event::Kind::revoked) == 0);
  scene.check_ended(StatusCode::peer_lost, "did not let go");
}

}  // namespace
}  // namespace haul::contract

#endif
