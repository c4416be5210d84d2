// What a connection's controller learned of a path is what the next one begins with.
#include <catch2/catch.hpp>

#include "contract/fixture.h"

namespace haul::quic_sim {
namespace {

using namespace std::chrono_literals;
using contract::Node;
using contract::Pair;

// The line of 200 Mbit/s is filled after a second or so.
constexpr uint64_t few_bytes = 8'000'000;
constexpr uint64_t many_bytes = 60'000'000;

/// Connects, puts, and closes. How long the put took.
Duration put_once(contract::QuicSimHarness& harness, Node& a, Node& b, uint64_t bytes) {
  Pair pair = harness.connect(a, b, {});
  const Buffer source = contract::allocate_filled(a, bytes, 1);
  const Buffer target = contract::allocate(b, bytes);
  const RemoteBuffer remote = contract::grant(pair.to_a, target.slice());
  const TimePoint begin = harness.clock().now();
  contract::finish_ok(harness, pair.to_b.put(source.slice(), remote.slice()));
  const Duration took = harness.clock().now() - begin;
  CHECK(contract::same(source.bytes(), target.bytes()));
  pair.to_b.close();
  REQUIRE(harness.run([&] { return pair.to_b.state() == PeerState::closed && b->peers().empty(); }));
  return took;
}

}  // namespace

TEST_CASE("remembered paths over quic: the next connection does not start from ten packets, unless the path has changed") {
  contract::QuicSimHarness harness(1);
  links::LinkOptions way;
  way.rate_bytes_s = 25'000'000;
  way.delay = 50ms;
  harness.network().set_links(way);
  EngineOptions options = harness.options();
  options.wall_clock_s = [] { return int64_t{5000}; };
  Node& a = harness.start("a", options);
  Node& b = harness.start("b", options);
  const Duration cold = put_once(harness, a, b, few_bytes);
  put_once(harness, a, b, many_bytes);
  const Duration warm = put_once(harness, a, b, few_bytes);
  CAPTURE(cold / 1ms, warm / 1ms);
  CHECK(warm < cold * 3 / 4);

  way.delay = 100ms;
  harness.network().set_links(way);
  const Duration elsewhere = put_once(harness, a, b, few_bytes);
  CAPTURE(elsewhere / 1ms);
  CHECK(elsewhere > cold * 3 / 2);
}

}  // namespace haul::quic_sim
