// The simulated transport on a good link: connecting, operations, messages, grants, bad arguments, the close.
#include <algorithm>
#include <catch2/catch.hpp>

#include "base/crc32c.h"
#include "sim_transport_harness.h"

namespace haul::sim::test {
namespace {

using Kind = Event::Kind;

TEST_CASE("a write lands with its tag and checksum, and completes after the answer", "[sim][transport]") {
  Pair pair(1, {}, {}, 200'000);
  pair.b.answers = false;
  REQUIRE(pair.a.post(pair.from_a, 7, Op::write, *pair.near_region, pair.remote, 0, 200'000));
  REQUIRE(pair.run([&] { return pair.b.count(Kind::landed) == 1; }));
  const Event landed = pair.b.first(Kind::landed);
  CHECK(landed.tag == 70);
  CHECK(landed.connection == pair.from_b);
  CHECK(landed.payload.data() == pair.far.data());
  CHECK(landed.payload.size() == 200'000);
  CHECK(landed.crc32c == base::crc32c(pair.near));
  CHECK(same(pair.far, pair.near));

  settle(pair.world, {&pair.a, &pair.b}, seconds(1));
  CHECK(pair.a.count(Kind::completed) == 0);
  pair.b.transport().answer(pair.from_b, landed.id, Status(StatusCode::corrupt, "a reason"), pair.b.now());
  REQUIRE(pair.run([&] { return pair.a.completed(7); }));
  CHECK(pair.a.completion(7).status.code() == StatusCode::corrupt);
  CHECK(pair.a.completion(7).status.message() == "a reason");
}

TEST_CASE("a read brings the owner's bytes and checksum", "[sim][transport]") {
  Pair pair(2, {}, {}, 100'000);
  pair.far = pattern(100'000, 99);
  pair.far_region = pair.b.memory(pair.far);
  pair.remote = pair.b.grant(pair.from_b, *pair.far_region, Rights::read);
  REQUIRE(pair.a.post(pair.from_a, 1, Op::read, *pair.near_region, pair.remote, 0, 100'000));
  REQUIRE(pair.run([&] { return pair.a.completed(1); }));
  CHECK(pair.a.completion(1).status.ok());
  CHECK(pair.a.completion(1).crc32c == base::crc32c(pair.far));
  CHECK(same(pair.near, pair.far));
  CHECK(pair.b.count(Kind::landed) == 0);
}

TEST_CASE("messages arrive whole and in order, both ways", "[sim][transport]") {
  LinkOptions link;
  link.mtu_bytes = 1500;
  Pair pair(3, link);
  std::vector<std::string> sent;
  for (size_t i = 0; i < 40; ++i) sent.push_back(std::string(i * 400 + 1, static_cast<char>('a' + i % 26)));
  size_t from_a = 0;
  size_t from_b = 0;
  REQUIRE(pair.run([&] {
    while (from_a < sent.size() && pair.a.transport().send(pair.from_a, as_bytes(sent[from_a]), pair.a.now())) ++from_a;
    while (from_b < sent.size() && pair.b.transport().send(pair.from_b, as_bytes(sent[from_b]), pair.b.now())) ++from_b;
    return pair.a.messages.size() == sent.size() && pair.b.messages.size() == sent.size();
  }));
  CHECK(pair.a.messages == sent);
  CHECK(pair.b.messages == sent);
}

TEST_CASE("two ends that exchanged their endpoints join", "[sim][transport]") {
  World world(4);
  world.add_node("a");
  world.add_node("b");
  world.link("a", "b", {});
  End a(world, "a");
  End b(world, "b");
  const bool both_know = GENERATE(false, true);
  const LocalEndpoint active = a.transport().open({}, a.now()).value();
  const LocalEndpoint passive = b.transport().open({}, b.now()).value();
  CHECK(active.bytes.size() <= 512);
  const std::span<const std::byte> told = both_know ? std::span<const std::byte>(active.bytes) : std::span<const std::byte>();
  CHECK(b.transport().join(passive.connection, told, b.now()).ok());
  CHECK(a.transport().join(active.connection, passive.bytes, a.now()).ok());
  REQUIRE(run(world, {&a, &b}, [&] { return a.count(Kind::connected) == 1 && b.count(Kind::connected) == 1; }));
  CHECK(a.transport().send(active.connection, as_bytes("over the lane"), a.now()));
  REQUIRE(run(world, {&a, &b}, [&] { return b.messages.size() == 1; }));
  CHECK(b.first(Kind::message).connection == passive.connection);
}

TEST_CASE("an endpoint needs its secret, and must be one", "[sim][transport]") {
  World world(5);
  world.add_node("a");
  world.add_node("b");
  world.link("a", "b", {});
  End a(world, "a");
  End b(world, "b");
  const LocalEndpoint passive = b.transport().open({}, b.now()).value();
  CHECK(b.transport().join(passive.connection, {}, b.now()).ok());
  const LocalEndpoint active = a.transport().open({}, a.now()).value();

  CHECK(a.transport().join(active.connection, as_bytes("garbage"), a.now()).code() == StatusCode::invalid);
  auto forged = passive.bytes;
  forged.back() ^= std::byte{1};
  CHECK(a.transport().join(active.connection, forged, a.now()).ok());
  REQUIRE(run(world, {&a, &b}, [&] { return a.count(Kind::closed) == 1; }));
  CHECK(a.first(Kind::closed).status.code() == StatusCode::unavailable);
  CHECK(b.events.empty());
}

TEST_CASE("addresses where nobody answers", "[sim][transport]") {
  World world(6);
  for (const char* name : {"a", "b", "far"}) world.add_node(name);
  world.link("a", "b", {});
  End a(world, "a");
  End b(world, "b");
  const TimePoint begin = a.now();
  SECTION("at once where the node or the port is not there") {
    a.connect(Address{GENERATE("b", "nowhere"), 1}, seconds(3));
    REQUIRE(run(world, {&a, &b}, [&] { return a.count(Kind::closed) == 1; }));
    CHECK(a.now() - begin < milliseconds(10));
  }
  SECTION("after the timeout where no packet arrives") {
    a.connect(Address{"far", 1}, seconds(3));
    REQUIRE(run(world, {&a, &b}, [&] { return a.count(Kind::closed) == 1; }));
    CHECK(a.now() - begin == seconds(3));
  }
  CHECK(a.first(Kind::closed).status.code() == StatusCode::unavailable);
  CHECK(a.count(Kind::connected) == 0);
}

TEST_CASE("listening: ports in use, other hosts, chosen ports", "[sim][transport]") {
  World world(7);
  world.add_node("a");
  End first(world, "a");
  auto second = std::make_unique<End>(world, "a");
  CHECK(second->transport().listen(Address{"", 80}).value() == Address{"a", 80});
  CHECK(first.transport().listen(Address{"a", 80}).status().code() == StatusCode::unavailable);
  CHECK(first.transport().listen(Address{"b", 81}).status().code() == StatusCode::unavailable);
  const Address chosen = first.transport().listen(Address{"a", 0}).value();
  CHECK(chosen.port != 0);
  CHECK(first.transport().listen(Address{"a", 0}).value() != chosen);
  second.reset();
  CHECK(first.transport().listen(Address{"a", 80}).ok());
}

TEST_CASE("two transports on one node talk", "[sim][transport]") {
  World world(8);
  world.add_node("a");
  End one(world, "a");
  End two(world, "a");
  const Address address = two.transport().listen(Address{"localhost", 0}).value();
  const ConnectionId connection = one.connect(address);
  REQUIRE(run(world, {&one, &two}, [&] { return two.count(Kind::accepted) == 1; }));
  CHECK(one.transport().send(connection, as_bytes("hello"), one.now()));
  REQUIRE(run(world, {&one, &two}, [&] { return two.messages == std::vector<std::string>{"hello"}; }));
}

TEST_CASE("operations that are wrong in themselves complete as invalid", "[sim][transport]") {
  Pair pair(9);
  const RemoteRegion alien{};
  CHECK(pair.a.post(pair.from_a, 1, Op::write, *pair.near_region, pair.remote, 0, 0));
  CHECK(pair.a.post(pair.from_a, 2, Op::read, *pair.near_region, pair.remote, 0, (256U << 10) + 1));
  CHECK(pair.a.post(pair.from_a, 3, Op::write, *pair.near_region, pair.remote, pair.near.size() - 10, 11));
  CHECK(pair.a.post(pair.from_a, 4, Op::write, *pair.near_region, alien, 0, 10));
  REQUIRE(pair.run([&] { return pair.a.count(Kind::completed) == 4; }));
  for (uint64_t id = 1; id <= 4; ++id) CHECK(pair.a.completion(id).status.code() == StatusCode::invalid);
  CHECK(same(pair.far, std::vector<std::byte>(pair.far.size())));
}

TEST_CASE("memory outside a grant, or without the right, is refused and untouched", "[sim][transport]") {
  Pair pair(10);
  const auto part = pair.b.transport().grant(pair.from_b, *pair.far_region, {100, 1000}, Rights::write, pair.b.now());
  const RemoteRegion remote = part.value().remote;
  RemoteRegion unknown = remote;
  unknown.data[3] ^= std::byte{0x40};
  CHECK(pair.a.post(pair.from_a, 1, Op::write, *pair.near_region, remote, 0, 1001));
  CHECK(pair.a.post(pair.from_a, 2, Op::write, *pair.near_region, remote, 1001, 1));
  CHECK(pair.a.post(pair.from_a, 3, Op::read, *pair.near_region, remote, 0, 10));
  CHECK(pair.a.post(pair.from_a, 4, Op::write, *pair.near_region, unknown, 0, 10));
  CHECK(pair.a.post(pair.from_a, 5, Op::read, *pair.near_region, unknown, 0, 10));
  CHECK(pair.a.post(pair.from_a, 6, Op::write, *pair.near_region, remote, 990, 10));
  REQUIRE(pair.run([&] { return pair.a.count(Kind::completed) == 6; }));
  for (uint64_t id = 1; id <= 5; ++id) CHECK(pair.a.completion(id).status.code() == StatusCode::refused);
  CHECK(pair.a.completion(6).status.ok());
  std::vector<std::byte> expected(pair.far.size());
  std::copy_n(pair.near.begin() + 990, 10, expected.begin() + 1090);
  CHECK(same(pair.far, expected));
  CHECK(pair.a.count(Kind::closed) == 0);
  CHECK_FALSE(pair.b.transport().grant(pair.from_b, *pair.far_region, {1, pair.far.size()}, Rights::read, pair.b.now()).ok());
}

TEST_CASE("a grant is of no use on another connection", "[sim][transport]") {
  Pair pair(11);
  const Address address = pair.b.transport().listen(Address{"b", 0}).value();
  const ConnectionId other = pair.a.connect(address);
  REQUIRE(pair.run([&] { return pair.a.count(Kind::connected) == 2; }));
  CHECK(pair.a.post(other, 1, Op::write, *pair.near_region, pair.remote, 0, 10));
  REQUIRE(pair.run([&] { return pair.a.completed(1); }));
  CHECK(pair.a.completion(1).status.code() == StatusCode::refused);
}

TEST_CASE("a drained close finishes what was taken, and is clean on both sides", "[sim][transport]") {
  Pair pair(12);
  uint64_t next = 0;
  pair.post_all(Op::write, 64U << 10, next, 16);
  REQUIRE(next == 16);
  CHECK(pair.a.transport().send(pair.from_a, as_bytes("last words"), pair.a.now()));
  pair.a.transport().close(pair.from_a, CloseMode::drain, pair.a.now());
  CHECK(pair.a.post(pair.from_a, 100, Op::write, *pair.near_region, pair.remote, 0, 10));
  REQUIRE(pair.run([&] { return pair.a.count(Kind::closed) == 1 && pair.b.count(Kind::closed) == 1; }));
  for (uint64_t id = 1; id <= 16; ++id) CHECK(pair.a.completion(id).status.ok());
  CHECK(pair.a.completion(100).status.code() == StatusCode::peer_lost);
  CHECK(same(pair.far, pair.near));
  CHECK(pair.b.messages == std::vector<std::string>{"last words"});
  CHECK(pair.a.events.back().kind == Kind::closed);
  CHECK(pair.a.first(Kind::closed).status.ok());
  CHECK(pair.b.first(Kind::closed).status.ok());
}

TEST_CASE("samples and descriptions tell about the path", "[sim][transport]") {
  Pair pair(13);
  REQUIRE(pair.move(Op::write, 64U << 10));
  const PathSample sample = pair.a.transport().sample(pair.from_a);
  CHECK(sample.rtt_min >= Duration(microseconds(100)));
  CHECK(sample.rtt_smoothed >= sample.rtt_min);
  CHECK(sample.bytes_sent > pair.near.size());
  CHECK(sample.progress_bytes > pair.near.size());
  CHECK(sample.bytes_unsent == 0);
  CHECK(sample.delivery_rate_bytes_s.has_value());
  CHECK(pair.b.transport().sample(pair.from_b).bytes_received == pair.near.size());
  CHECK(pair.a.transport().describe(pair.from_a) == "sim a > b, mtu 9000");
  CHECK(pair.a.transport().describe(12345).empty());
  CHECK(pair.a.transport().wakeup_fd() == -1);
}

}  // namespace
}  // namespace haul::sim::test
