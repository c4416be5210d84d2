// Contract: what one peer says has no effect on the transfers of another.
#include <array>

#include "contract/fixture.h"
#include "engine/codec.h"

namespace haul::contract {
namespace {

/// Connects to `node` as an engine would, and then says anything.
class Meddler {
 public:
  Meddler(Harness& harness, const Node& node) : harness_(harness), transport_(harness.make_transport("meddler")) {
    ConnectOptions options;
    options.address = node.address;
    connection_ = transport_->open(options, now()).value().connection;
    REQUIRE(transport_->join(connection_, {}, now()).ok());
  }
  void say(const engine::Control& message) { static_cast<void>(transport_->send(connection_, engine::encode(message), now())); }
  /// True once connected.
  bool poll() {
    std::array<Event, 64> events;
    const size_t count = transport_->poll(now(), NextPoll::when_woken, events);
    for (size_t i = 0; i < count; ++i) connected_ = connected_ || events[i].kind == Event::Kind::connected;
    return connected_;
  }

 private:
  TimePoint now() const { return harness_.clock().now(); }
  Harness& harness_;
  std::unique_ptr<Transport> transport_;
  ConnectionId connection_ = 0;
  bool connected_ = false;
};

TEST_CASE("a peer cannot answer for another one whether memory is right", "[contract][hostile]") {
  OneSidedHarness harness;
  constexpr uint64_t size = 3'000'000;
  Pair pair = harness.connected_pair();
  Meddler meddler(harness, pair.a);
  REQUIRE(harness.run([&] { return meddler.poll(); }));
  meddler.say(engine::Hello{.max_message_bytes = 8192, .max_lanes = 1, .name = "meddler", .library_version = "0"});
  REQUIRE(harness.run([&] {
    meddler.poll();
    return pair.a.inbox.arrived.size() == 1;
  }));

  const Buffer local = allocate_filled(pair.a, size, 1);
  const Buffer target = allocate(pair.b, size);
  const RemoteBuffer remote = grant(pair.to_a, target.slice());
  const Transfer transfer = pair.to_b.put(local.slice(), remote.slice());
  uint64_t check = 0;
  const bool over = harness.run([&] {
    meddler.poll();
    for (int i = 0; i < 8; ++i) meddler.say(engine::Verified{++check % 64, false, 0});
    return transfer.done();
  });
  REQUIRE(over);
  CHECK(transfer.status().ok());
  CHECK(same(local.bytes(), target.bytes()));
}

}  // namespace
}  // namespace haul::contract
