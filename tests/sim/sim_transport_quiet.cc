// The simulated transport giving memory back: cancel, revoke, abort, back-pressure, teardown.
#include <algorithm>
#include <catch2/catch.hpp>
#include <memory>

#include "base/random.h"
#include "sim_transport_harness.h"

namespace haul::sim::test {
namespace {

using Kind = Event::Kind;

LinkOptions slow_link() {
  LinkOptions link;
  link.rate_bytes_s = 10'000'000;
  link.loss = 0.02;
  link.reorder = 0.05;
  return link;
}

void fill(std::vector<std::byte>& bytes, int value) { std::fill(bytes.begin(), bytes.end(), static_cast<std::byte>(value)); }

TEST_CASE("cancelled operations complete once, and nothing lands afterwards", "[sim][transport]") {
  int cancelled = 0;
  int finished = 0;
  for (uint64_t seed = 1; seed <= 80; ++seed) {
    CAPTURE(seed);
    const Op op = seed % 2 == 0 ? Op::write : Op::read;
    Pair pair(seed, slow_link());
    uint64_t next = 0;
    pair.post_all(op, 64U << 10, next, 16);
    settle(pair.world, {&pair.a, &pair.b}, milliseconds(static_cast<int64_t>(seed % 100)));
    for (uint64_t id = 1; id <= 16; ++id) pair.a.transport().cancel(pair.from_a, id, pair.a.now());
    std::vector<std::byte>& destination = op == Op::write ? pair.far : pair.near;
    REQUIRE(pair.run([&] { return pair.a.count(Kind::completed) == 16; }));
    fill(destination, 0x5a);
    fill(op == Op::write ? pair.near : pair.far, 0xa5);
    settle(pair.world, {&pair.a, &pair.b}, seconds(3));
    REQUIRE(std::all_of(destination.begin(), destination.end(), [](std::byte value) { return value == std::byte{0x5a}; }));
    for (uint64_t id = 1; id <= 16; ++id) {
      const StatusCode code = pair.a.completion(id).status.code();
      REQUIRE((code == StatusCode::cancelled || code == StatusCode::ok));
      ++(code == StatusCode::ok ? finished : cancelled);
    }
    REQUIRE(pair.a.count(Kind::closed) == 0);
    pair.a.events.clear();
    REQUIRE(pair.move(op, 64U << 10));
    REQUIRE(same(pair.far, pair.near));
  }
  CHECK(cancelled > 100);
  CHECK(finished > 100);
}

TEST_CASE("after `revoked` no byte lands or leaves through the grant", "[sim][transport]") {
  int refused = 0;
  for (uint64_t seed = 1; seed <= 60; ++seed) {
    CAPTURE(seed);
    const Op op = seed % 2 == 0 ? Op::write : Op::read;
    Pair pair(seed, slow_link());
    uint64_t next = 0;
    pair.post_all(op, 64U << 10, next, 16);
    settle(pair.world, {&pair.a, &pair.b}, milliseconds(static_cast<int64_t>(seed)));
    pair.b.transport().revoke(pair.from_b, pair.b.last_grant, pair.b.now());
    REQUIRE(pair.run([&] { return pair.b.count(Kind::revoked) == 1; }));
    CHECK(pair.b.first(Kind::revoked).id == pair.b.last_grant);
    // The owner's memory goes away here: ASan sees every later touch.
    pair.far_region.reset();
    std::vector<std::byte>().swap(pair.far);
    REQUIRE(pair.run([&] { return pair.a.count(Kind::completed) == 16; }));
    for (uint64_t id = 1; id <= 16; ++id) {
      const StatusCode code = pair.a.completion(id).status.code();
      REQUIRE((code == StatusCode::refused || code == StatusCode::ok));
      refused += code == StatusCode::refused ? 1 : 0;
    }
    REQUIRE(pair.a.count(Kind::closed) + pair.b.count(Kind::closed) == 0);
  }
  CHECK(refused > 100);
}

TEST_CASE("an aborted close gives everything back at once, on both sides", "[sim][transport]") {
  for (uint64_t seed = 1; seed <= 40; ++seed) {
    CAPTURE(seed);
    Pair pair(seed, slow_link());
    uint64_t next = 0;
    pair.post_all(seed % 2 == 0 ? Op::write : Op::read, 64U << 10, next, 16);
    settle(pair.world, {&pair.a, &pair.b}, milliseconds(static_cast<int64_t>(seed)));
    End& closer = seed % 3 == 0 ? pair.a : pair.b;
    closer.transport().close(seed % 3 == 0 ? pair.from_a : pair.from_b, CloseMode::abort, closer.now());
    REQUIRE(pair.run([&] { return pair.a.count(Kind::closed) == 1; }));
    REQUIRE(pair.a.events.back().kind == Kind::closed);
    REQUIRE(pair.a.count(Kind::completed) == 16);
    for (uint64_t id = 1; id <= 16; ++id) {
      const StatusCode code = pair.a.completion(id).status.code();
      REQUIRE((code == StatusCode::peer_lost || code == StatusCode::ok));
    }
    std::vector<std::byte>().swap(pair.near);
    const bool other_learns = pair.run([&] { return pair.b.count(Kind::closed) == 1; }, seconds(10));
    // Where the reset is lost, an idle other side has nothing to notice it by; an active one has.
    REQUIRE((other_learns || seed % 3 == 0));
    settle(pair.world, {&pair.a, &pair.b}, seconds(1));
    REQUIRE(pair.a.events.back().kind == Kind::closed);
  }
}

TEST_CASE("post pushes back at max_operations, and says when there is room", "[sim][transport]") {
  TransportOptions options;
  options.max_operations = 4;
  Pair pair(30, {}, options);
  std::vector<Operation> operations(10);
  for (size_t i = 0; i < operations.size(); ++i) {
    operations[i].id = i + 1;
    operations[i].local = pair.near_region.get();
    operations[i].remote = &pair.remote;
    operations[i].length = 1000;
  }
  CHECK(pair.a.transport().post(pair.from_a, operations, pair.a.now()) == 4);
  CHECK(pair.a.transport().post(pair.from_a, std::span(operations).subspan(4), pair.a.now()) == 0);
  REQUIRE(pair.run([&] { return pair.a.count(Kind::writable) == 1; }));
  const size_t taken = pair.a.transport().post(pair.from_a, std::span(operations).subspan(4), pair.a.now());
  CHECK(taken >= 1);
  REQUIRE(pair.run([&] { return pair.a.count(Kind::completed) == 4 + taken; }));
}

TEST_CASE("a window set by the core bounds what is outstanding", "[sim][transport]") {
  Pair pair(31);
  pair.a.transport().set_limits(pair.from_a, Limits{.window_bytes = 100'000, .rate_bytes_s = std::nullopt});
  uint64_t next = 0;
  REQUIRE(pair.run([&] {
    pair.post_all(Op::write, 50'000, next, 20);
    const size_t completed = pair.a.count(Kind::completed);
    REQUIRE(next <= completed + 2);
    return completed == 20;
  }));
  CHECK(pair.a.count(Kind::writable) > 0);
}

TEST_CASE("send pushes back when its queue is full, and says when there is room", "[sim][transport]") {
  Pair pair(32);
  const std::string text(1000, 'm');
  size_t sent = 0;
  while (sent < 10'000 && pair.a.transport().send(pair.from_a, as_bytes(text), pair.a.now())) ++sent;
  REQUIRE(sent < 1000);
  CHECK(pair.a.count(Kind::writable) == 0);
  REQUIRE(pair.run([&] { return pair.a.count(Kind::writable) == 1; }));
  CHECK(pair.a.transport().send(pair.from_a, as_bytes(text), pair.a.now()));
  REQUIRE(pair.run([&] { return pair.b.messages.size() == sent + 1; }));
}

TEST_CASE("a small event span loses nothing", "[sim][transport]") {
  Pair pair(33);
  pair.a.span_size = 1;
  pair.b.span_size = 1;
  REQUIRE(pair.move(Op::write, 10'000));
  CHECK(same(pair.far, pair.near));
  for (uint64_t id = 1; id <= 105; ++id) CHECK(pair.a.completion(id).status.ok());
  CHECK(pair.a.transport().post(999, {}, pair.a.now()) == 0);
}

TEST_CASE("operations on a connection that is gone complete as peer_lost", "[sim][transport]") {
  Pair pair(34);
  pair.a.transport().close(pair.from_a, CloseMode::abort, pair.a.now());
  CHECK(pair.a.post(pair.from_a, 1, Op::write, *pair.near_region, pair.remote, 0, 10));
  REQUIRE(pair.run([&] { return pair.a.count(Kind::closed) == 1; }));
  CHECK(pair.a.completion(1).status.code() == StatusCode::peer_lost);
  CHECK(pair.a.events.back().kind == Kind::closed);
  CHECK_FALSE(pair.a.post(pair.from_a, 2, Op::write, *pair.near_region, pair.remote, 0, 10));
  pair.a.transport().close(pair.from_a, CloseMode::drain, pair.a.now());
  CHECK_FALSE(pair.a.transport().send(pair.from_a, as_bytes("x"), pair.a.now()));
}

TEST_CASE("transports may be destroyed with everything under way", "[sim][transport]") {
  World world(35);
  world.add_node("a");
  world.add_node("b");
  LinkOptions link;
  link.loss = 0.01;
  world.link("a", "b", link);
  base::Random random(35);
  for (int round = 0; round < 40; ++round) {
    CAPTURE(round);
    std::vector<std::byte> near(500'000);
    std::vector<std::byte> far(500'000);
    auto a = std::make_unique<End>(world, "a");
    auto b = std::make_unique<End>(world, "b");
    const ConnectionId from_a = a->connect(b->transport().listen(Address{"b", 5}).value());
    REQUIRE(run(world, {a.get(), b.get()}, [&] { return b->count(Kind::accepted) == 1; }));
    const ConnectionId from_b = b->first(Kind::accepted).connection;
    const auto near_region = a->memory(near);
    const auto far_region = b->memory(far);
    const RemoteRegion remote = b->grant(from_b, *far_region);
    for (uint64_t id = 0; id < 4; ++id)
      CHECK(a->post(from_a, id + 1, id % 2 == 0 ? Op::write : Op::read, *near_region, remote, id * 125'000, 125'000));
    settle(world, {a.get(), b.get()}, microseconds(static_cast<int64_t>(random.below(5000))));
    (round % 2 == 0 ? a : b).reset();
    End* left = a ? a.get() : b.get();
    const bool closed = run(
        world, {left}, [&] { return left->count(Kind::closed) == 1; }, seconds(20));
    // The survivor learns it by the reset, or by its own operations; an owner whose reset was lost may not.
    REQUIRE((closed || left == b.get()));
  }
}

}  // namespace
}  // namespace haul::sim::test
