// Grants in the hands of a peer that does not keep to them.
#include <fmt/format.h>

#include "puppet.h"

namespace haul::hostile {
namespace {

constexpr uint64_t bytes = 100'000;
constexpr auto untouched = std::byte{0xee};

/// Bob grants a range to alice, who is played by hand.
struct Scene {
  explicit Scene(tcp::Io io) : bob(parties().bob, with_io(io), {}), address(bob.listen()), alice(parties().alice, bob) {
    alice.greet(address);
    std::fill(memory.bytes().begin(), memory.bytes().end(), untouched);
  }
  RemoteRegion granted(Puppet& peer, size_t number, Rights rights, GrantOptions options = {}) {
    const size_t before = peer.count<engine::GrantMade>();
    remote = bob.arrived[number].grant(memory.slice(1000, 50'000), rights, options).value();
    REQUIRE(peer.run_until([&] { return peer.count<engine::GrantMade>() > before; }));
    return peer.find<engine::GrantMade>(before)->regions.at(0).region;
  }
  Status use(Op op, const RemoteRegion& region, uint64_t offset, uint32_t length) {
    const uint64_t id = ++last_id;
    const Operation wanted = tcp::test::operation(op, id, local, 0, region, offset, length);
    REQUIRE(alice.side().transport->post(alice.first(), std::span(&wanted, 1), alice.side().now()) == 1);
    REQUIRE(alice.run_until([&] { return alice.side().completed(id) != nullptr; }));
    return alice.side().completed(id)->status;
  }
  bool memory_is_untouched() const {
    return std::all_of(memory.bytes().begin(), memory.bytes().end(), [](std::byte each) { return each == untouched; });
  }

  Host bob;
  Address address;
  Puppet alice;
  Buffer memory = filled(*bob.engine, bytes, 1);
  tcp::test::Memory local{alice.side(), bytes, 2};
  RemoteBuffer remote;
  uint64_t last_id = 0;
};

TEST_CASE("use of what was never granted ends the peer, and its owner is told", "[hostile][grants]") {
  Scene scene(GENERATE(from_range(haul::test::ways_of_io())));
  const uint32_t length = GENERATE(100U, 40'000U);  // in a bundle, and in a frame of its own
  CAPTURE(length);
  Status status;
  SECTION("writing what may be read") { status = scene.use(Op::write, scene.granted(scene.alice, 0, Rights::read), 0, length); }
  SECTION("reading what may be written") {
    status = scene.use(Op::read, scene.granted(scene.alice, 0, Rights::write), 0, length);
  }
  SECTION("beyond the range, within the buffer") {
    status = scene.use(Op::write, scene.granted(scene.alice, 0, Rights::read_write), 50'001 - length, length);
  }
  SECTION("before the range") {
    status = scene.use(Op::read, scene.granted(scene.alice, 0, Rights::read_write), UINT64_MAX - 10, length);
  }
  SECTION("a key that was guessed") {
    RemoteRegion guessed = scene.granted(scene.alice, 0, Rights::read_write);
    guessed.data[15] ^= std::byte{1};
    status = scene.use(Op::write, guessed, 0, length);
  }
  SECTION("another peer's key") {
    Puppet carol(parties().carol, scene.bob);
    carol.greet(scene.address);
    REQUIRE(carol.run_until([&] { return scene.bob.arrived.size() == 2; }));
    const RemoteRegion of_carol = scene.granted(carol, 1, Rights::read_write);
    status = scene.use(Op::write, of_carol, 0, length);
    CHECK(scene.bob.arrived[1].state() == PeerState::ready);
  }
  CHECK((status.code() == StatusCode::refused || status.code() == StatusCode::peer_lost));
  REQUIRE(scene.alice.run_until([&] { return !scene.bob.closed.empty() && scene.alice.ended(); }));
  INFO(scene.bob.closed[0].to_string());
  CHECK(scene.bob.closed[0].code() == StatusCode::refused);
  CHECK_THAT(std::string(scene.bob.closed[0].message()), Catch::Contains("was not granted"));
  CHECK(scene.memory_is_untouched());
}

/// What was revoked may be asked for by one who did not hear of it yet: that is refused, and no more.
TEST_CASE("a revoked or expired key is refused at once, and the peer lives on", "[hostile][grants]") {
  Scene scene(GENERATE(from_range(haul::test::ways_of_io())));
  const bool expires = GENERATE(true, false);
  GrantOptions options;
  if (expires) options.expires_after = 50ms;
  const RemoteRegion region = scene.granted(scene.alice, 0, Rights::read_write, options);
  bool gone = false;
  if (!expires) {
    REQUIRE(scene.bob.arrived[0].revoke(scene.remote, [&] { gone = true; }).ok());
    // Bob has not said so to alice yet: not a byte passes all the same.
    CHECK(scene.use(Op::write, region, 0, 40'000).code() == StatusCode::refused);
  }
  REQUIRE(scene.alice.run_until([&] { return scene.alice.find<engine::GrantRevoked>() != nullptr && (expires || gone); }));
  for (const Op op : {Op::write, Op::read}) {
    for (const uint32_t length : {100U, 40'000U}) CHECK(scene.use(op, region, 0, length).code() == StatusCode::refused);
  }
  CHECK(scene.memory_is_untouched());
  CHECK(scene.bob.closed.empty());
  CHECK(scene.use(Op::write, scene.granted(scene.alice, 0, Rights::write), 0, 40'000).ok());
}

TEST_CASE("keys of grants do not repeat", "[hostile][grants]") {
  Scene scene(tcp::Io::epoll);
  std::vector<std::vector<std::byte>> keys;
  for (int i = 0; i < 200; ++i) {
    const RemoteRegion region = scene.granted(scene.alice, 0, Rights::read);
    keys.emplace_back(region.bytes().begin(), region.bytes().end());
    CHECK(keys.back().size() == 16);
  }
  std::sort(keys.begin(), keys.end());
  CHECK(std::adjacent_find(keys.begin(), keys.end()) == keys.end());
  // Nor does any of their bits stand still.
  for (size_t bit = 0; bit < 128; ++bit) {
    const auto set = std::count_if(keys.begin(), keys.end(), [&](const auto& key) {
      return (key[bit / 8] & static_cast<std::byte>(1U << (bit % 8))) != std::byte{0};
    });
    CHECK(set > 20);
    CHECK(set < 180);
  }
}

}  // namespace
}  // namespace haul::hostile
