// World::run with real engines over the simulated transport.
#include <algorithm>
#include <array>
#include <catch2/catch.hpp>
#include <utility>

#include "haul/engine.h"
#include "sim_transport_harness.h"

namespace haul::sim::test {
namespace {

std::unique_ptr<Engine> make_engine(World& world, const std::string& node, EngineOptions options) {
  options.name = node;
  options.clock = &world.clock();
  options.security = SecurityPolicy::insecure;
  options.seed = 1;
  std::vector<std::unique_ptr<Transport>> transports;
  transports.push_back(world.make_transport(node));
  return std::move(Engine::create(std::move(options), std::move(transports))).value();
}

/// Puts 2 MB from a to b over a bad link; returns the trace hash and the time it took.
std::pair<uint64_t, Duration> put_once(uint64_t seed) {
  World world(seed);
  world.add_node("a");
  world.add_node("b");
  LinkOptions link;
  link.loss = 0.01;
  link.reorder = 0.02;
  link.corrupt = 0.002;
  world.link("a", "b", link);
  Peer accepted;
  EngineOptions options;
  options.on_peer = [&](Peer peer) { accepted = peer; };
  const auto b = make_engine(world, "b", options);
  const auto a = make_engine(world, "a", {});
  const std::array<Engine*, 2> engines{a.get(), b.get()};
  const Address address = b->listen(Address{"b", 7000}).value();
  Peer peer = a->connect(address).value();
  REQUIRE(world.run(
      engines, [&] { return peer.state() == PeerState::ready && accepted.state() == PeerState::ready; }, seconds(5)));

  const auto content = pattern(2'000'000, seed);
  Buffer source = a->allocate(content.size()).value();
  std::copy(content.begin(), content.end(), source.bytes().begin());
  Buffer destination = b->allocate(content.size()).value();
  const RemoteBuffer remote = accepted.grant(destination.slice(), Rights::write).value();
  const TimePoint begin = world.clock().now();
  Transfer transfer = peer.put(source.slice(), remote.slice());
  REQUIRE(world.run(
      engines, [&] { return transfer.done(); }, seconds(20)));
  CHECK(transfer.status().to_string() == "ok");
  CHECK(std::equal(content.begin(), content.end(), destination.bytes().begin()));
  return {world.trace_hash(), world.clock().now() - begin};
}

TEST_CASE("engines put over a bad link in virtual time, the same every time", "[sim][run]") {
  const auto first = put_once(5);
  CHECK(first.second > milliseconds(16));  // 2 MB at 1 Gbit/s
  CHECK(first == put_once(5));
  CHECK(first.first != put_once(6).first);
}

TEST_CASE("running stops exactly at the limit, and at once where nothing is to wait for", "[sim][run]") {
  World world(1);
  const TimePoint begin = world.clock().now();
  CHECK(begin > TimePoint{});
  CHECK_FALSE(world.run(
      {}, [] { return false; }, milliseconds(7)));
  CHECK(world.clock().now() - begin == milliseconds(7));
  CHECK(world.run(
      {}, [] { return true; }, seconds(1)));
  CHECK(world.clock().now() - begin == milliseconds(7));

  world.add_node("a");
  const auto idle = make_engine(world, "a", {});
  const std::array<Engine*, 1> engines{idle.get()};
  CHECK_FALSE(world.run(
      engines, [] { return false; }, seconds(3)));
  CHECK(world.clock().now() - begin == seconds(3) + milliseconds(7));
}

}  // namespace
}  // namespace haul::sim::test
