// The simulated transport on bad links and with dying peers.
#include <algorithm>
#include <catch2/catch.hpp>

#include "sim/network.h"
#include "sim_transport_harness.h"

namespace haul::sim::test {
namespace {

using Kind = Event::Kind;

LinkOptions bad_link() {
  LinkOptions link;
  link.loss = 0.05;
  link.reorder = 0.1;
  link.duplicate = 0.05;
  link.mtu_bytes = 3000;
  return link;
}

TEST_CASE("content survives loss, reordering and duplication, whatever the seed", "[sim][transport]") {
  uint64_t retransmits = 0;
  for (uint64_t seed = 1; seed <= 150; ++seed) {
    CAPTURE(seed);
    Pair pair(seed, bad_link(), {}, 300'000);
    REQUIRE(pair.move(Op::write, 50'000));
    REQUIRE(same(pair.far, pair.near));
    REQUIRE(pair.b.count(Kind::landed) == 6);
    retransmits += pair.a.transport().sample(pair.from_a).retransmits;

    pair.far = pattern(pair.far.size(), seed + 1000);
    pair.far_region = pair.b.memory(pair.far);
    pair.remote = pair.b.grant(pair.from_b, *pair.far_region);
    pair.a.events.clear();
    REQUIRE(pair.move(Op::read, 70'000));
    REQUIRE(same(pair.far, pair.near));
  }
  CHECK(retransmits > 150);
}

TEST_CASE("messages stay in order on a bad link", "[sim][transport]") {
  for (uint64_t seed = 1; seed <= 50; ++seed) {
    CAPTURE(seed);
    Pair pair(seed, bad_link());
    std::vector<std::string> sent;
    for (size_t i = 0; i < 60; ++i) sent.push_back(std::to_string(i) + std::string(i * 97, 'x'));
    size_t next = 0;
    REQUIRE(pair.run([&] {
      while (next < sent.size() && pair.a.transport().send(pair.from_a, as_bytes(sent[next]), pair.a.now())) ++next;
      return pair.b.messages.size() >= sent.size();
    }));
    pair.a.transport().close(pair.from_a, CloseMode::drain, pair.a.now());
    REQUIRE(pair.run([&] { return pair.a.count(Kind::closed) == 1 && pair.b.count(Kind::closed) == 1; }));
    REQUIRE(pair.b.messages == sent);
    REQUIRE(pair.a.first(Kind::closed).status.ok());
    REQUIRE(pair.b.first(Kind::closed).status.ok());
  }
}

TEST_CASE("connections open on links that lose every second packet", "[sim][transport]") {
  LinkOptions link;
  link.loss = 0.5;
  link.duplicate = 0.5;
  for (uint64_t seed = 1; seed <= 30; ++seed) {
    CAPTURE(seed);
    Pair pair(seed, link);
    settle(pair.world, {&pair.a, &pair.b}, seconds(2));
    REQUIRE(pair.b.count(Kind::accepted) == 1);
    REQUIRE(pair.a.count(Kind::connected) == 1);
    REQUIRE(pair.a.count(Kind::closed) + pair.b.count(Kind::closed) == 0);
  }
}

uint64_t trace_of(uint64_t seed) {
  Pair pair(seed, bad_link(), {}, 200'000);
  REQUIRE(pair.move(Op::write, 20'000));
  REQUIRE(pair.a.transport().send(pair.from_a, as_bytes("end"), pair.a.now()));
  pair.a.transport().close(pair.from_a, CloseMode::drain, pair.a.now());
  REQUIRE(pair.run([&] { return pair.a.count(Kind::closed) == 1; }));
  return pair.world.trace_hash();
}

TEST_CASE("the same seed gives the same trace, another seed another", "[sim][transport]") {
  const uint64_t first = trace_of(77);
  CHECK(first == trace_of(77));
  CHECK(first != trace_of(78));
}

TEST_CASE("every packet's fate can be seen", "[sim][transport]") {
  std::vector<std::string> lines;
  Pair pair(14, bad_link());
  pair.world.set_trace([&](std::string_view line) { lines.emplace_back(line); });
  const uint64_t before = pair.world.packets();
  REQUIRE(pair.move(Op::write, 256U << 10));
  CHECK(pair.world.packets() > before);
  CHECK(lines.size() >= pair.world.packets() - before);
  const auto has = [&](std::string_view fate) {
    return std::any_of(lines.begin(), lines.end(), [&](const std::string& line) { return line.ends_with(fate); });
  };
  for (const char* fate : {"sent", "lost", "held back", "duplicated", "arrived"}) CHECK(has(fate));
}

TEST_CASE("a full queue drops, and the transfer still ends", "[sim][transport]") {
  LinkOptions link;
  link.queue_bytes = 40'000;
  Pair pair(15, link, {}, 4U << 20);
  REQUIRE(pair.move(Op::write, 256U << 10));
  CHECK(same(pair.far, pair.near));
  CHECK(pair.a.transport().sample(pair.from_a).retransmits > 0);
}

TEST_CASE("rate, delay and size give the time a transfer takes", "[sim][transport]") {
  LinkOptions link;
  link.rate_bytes_s = 10'000'000;
  link.delay = milliseconds(10);
  Pair pair(16, link, {}, 1'000'000);
  const TimePoint begin = pair.a.now();
  REQUIRE(pair.move(Op::write, 250'000));
  const Duration took = pair.a.now() - begin;
  CHECK(took > milliseconds(120));
  CHECK(took < milliseconds(300));
}

TEST_CASE("a pace set by the core is kept", "[sim][transport]") {
  Pair pair(17);
  pair.a.transport().set_limits(pair.from_a, Limits{.window_bytes = std::nullopt, .rate_bytes_s = 1'000'000});
  const TimePoint begin = pair.a.now();
  REQUIRE(pair.move(Op::write, 256U << 10));
  CHECK(pair.a.now() - begin > milliseconds(1000));
  CHECK(pair.a.now() - begin < milliseconds(1200));
}

TEST_CASE("corruption passes the links and is seen by checksums", "[sim][transport]") {
  LinkOptions link;
  link.corrupt = 1;
  Pair pair(18, link, {}, 20'000);
  SECTION("of a write, by its receiver") {
    REQUIRE(pair.move(Op::write, 20'000));
    CHECK(pair.a.completion(1).status.code() == StatusCode::corrupt);
  }
  SECTION("of a read, by its requester") {
    REQUIRE(pair.move(Op::read, 20'000));
    CHECK(pair.a.completion(1).status.ok());
    CHECK(pair.a.completion(1).crc32c.has_value());
  }
  CHECK_FALSE(same(pair.far, pair.near));
  CHECK(pair.a.transport().send(pair.from_a, as_bytes("messages are never changed"), pair.a.now()));
  REQUIRE(pair.run([&] { return pair.b.messages == std::vector<std::string>{"messages are never changed"}; }));
}

TEST_CASE("a partition ends as peer_lost within dead_after, a shorter one is survived", "[sim][transport]") {
  TransportOptions options;
  options.dead_after = seconds(2);
  Pair pair(19, {}, options);
  uint64_t next = 0;
  pair.post_all(Op::write, 128U << 10, next, 8);
  settle(pair.world, {&pair.a, &pair.b}, milliseconds(1));
  pair.world.partition("a", "b");
  SECTION("healed") {
    settle(pair.world, {&pair.a, &pair.b}, milliseconds(1500));
    pair.world.heal("b", "a");
    REQUIRE(pair.run([&] { return pair.a.count(Kind::completed) == 8; }));
    for (uint64_t id = 1; id <= 8; ++id) CHECK(pair.a.completion(id).status.ok());
    CHECK(same(pair.far, pair.near));
  }
  SECTION("not healed") {
    const TimePoint begin = pair.a.now();
    REQUIRE(pair.run([&] { return pair.a.count(Kind::closed) == 1; }));
    CHECK(pair.a.now() - begin <= options.dead_after);
    CHECK(pair.a.first(Kind::closed).status.code() == StatusCode::peer_lost);
    CHECK(pair.a.events.back().kind == Kind::closed);
    for (uint64_t id = 1; id <= 8; ++id) CHECK_FALSE(pair.a.completion(id).status.code() == StatusCode::cancelled);
  }
}

TEST_CASE("a peer that dies while only its answer is missing is noticed", "[sim][transport]") {
  TransportOptions options;
  options.dead_after = seconds(2);
  Pair pair(20, {}, options);
  pair.b.answers = false;
  CHECK(pair.a.post(pair.from_a, 1, Op::write, *pair.near_region, pair.remote, 0, 1000));
  settle(pair.world, {&pair.a, &pair.b}, seconds(10));
  CHECK(pair.a.count(Kind::completed) == 0);
  pair.world.crash("b");
  const TimePoint begin = pair.a.now();
  REQUIRE(pair.run([&] { return pair.a.count(Kind::closed) == 1; }));
  CHECK(pair.a.completion(1).status.code() == StatusCode::peer_lost);
  CHECK(pair.a.now() - begin <= options.dead_after * 3 / 2);
}

TEST_CASE("a crashed node is silent; after its restart it knows nothing", "[sim][transport]") {
  Pair pair(21);
  uint64_t next = 0;
  pair.post_all(Op::write, 128U << 10, next, 8);
  settle(pair.world, {&pair.a, &pair.b}, milliseconds(1));
  pair.world.crash("b");
  const auto far_then = pair.far;
  settle(pair.world, {&pair.a, &pair.b}, seconds(1));
  CHECK(same(pair.far, far_then));
  CHECK(pair.a.count(Kind::closed) == 0);

  pair.world.restart("b");
  End again(pair.world, "b");
  REQUIRE(pair.run([&] { return pair.a.count(Kind::closed) == 1; }, seconds(2)));
  CHECK(pair.a.first(Kind::closed).status.code() == StatusCode::peer_lost);
  CHECK(pair.a.count(Kind::completed) == 8);

  const Address address = again.transport().listen(Address{"b", 0}).value();
  pair.a.connect(address);
  REQUIRE(run(pair.world, {&pair.a, &again}, [&] { return again.count(Kind::accepted) == 1; }));
  CHECK_FALSE(pair.b.transport().listen(Address{"b", 0}).ok());
}

TEST_CASE("an inbox that nobody empties loses packets, not memory", "[sim][transport]") {
  size_t full = 0;
  Pair pair(22);
  pair.world.set_trace([&](std::string_view line) { full += line.ends_with("receiver full") ? 1 : 0; });
  const Address address = pair.b.transport().listen(Address{"b", 0}).value();
  constexpr uint64_t connections = 200;
  std::vector<ConnectionId> ids;
  for (uint64_t i = 0; i < connections; ++i) ids.push_back(pair.a.connect(address));
  REQUIRE(pair.run([&] { return pair.a.count(Kind::connected) == connections + 1; }));
  for (uint64_t i = 0; i < connections; ++i) {
    for (int k = 0; k < 20; ++k) REQUIRE(pair.a.transport().send(ids[i], as_bytes("once"), pair.a.now()));
  }
  settle(pair.world, {&pair.a}, seconds(1));
  CHECK(full > 0);
  REQUIRE(pair.run([&] { return pair.b.messages.size() == connections * 20; }));
  settle(pair.world, {&pair.a, &pair.b}, seconds(2));
  CHECK(pair.b.messages.size() == connections * 20);
}

}  // namespace
}  // namespace haul::sim::test
