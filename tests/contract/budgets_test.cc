// Contract: rates that the application set hold over every backend. Measured in virtual time.
#include "contract/rates.h"

namespace haul::contract {

BACKEND_TEST_CASE("a rate limit holds, and changes while bytes move", "[contract][budgets]") {
  const auto made = backend.make();
  Harness& harness = *made;
  if (cannot_measure(harness)) return;
  Node& a = start_limited(harness, "a", 10 * MB);
  Node& b = harness.start("b");
  PeerOptions two_lanes;
  two_lanes.lanes = 2;
  Pair pair = harness.connect(a, b, two_lanes);
  for (const bool put : {true, false}) {
    CAPTURE(put);
    Moving moving(harness, pair, 40 * MB, put);
    CHECK(rate_over(harness, a, 1s) == Approx(10.0 * MB).epsilon(0.15));
    CHECK(pair.to_b.explain().find("rate limit: no bound for this peer, 10000000 bytes/s for all") != std::string::npos);
    a->limit_rate(5 * MB);
    harness.run_for(300ms);
    CHECK(rate_over(harness, a, 1s) == Approx(5.0 * MB).epsilon(0.25));
    pair.to_b.limit_rate(2 * MB);
    harness.run_for(300ms);
    CHECK(rate_over(harness, a, 2s) == Approx(2.0 * MB).epsilon(0.3));
    pair.to_b.limit_rate(std::nullopt);
    a->limit_rate(std::nullopt);
    const TimePoint from = harness.clock().now();
    finish_ok(harness, moving.transfer);
    CHECK(harness.clock().now() - from < 1s);
    CHECK(same(moving.source.bytes(), moving.target.bytes()));
    a->limit_rate(10 * MB);
  }
}

BACKEND_TEST_CASE("peers share the engine's rate", "[contract][budgets]") {
  const auto made = backend.make();
  Harness& harness = *made;
  if (cannot_measure(harness)) return;
  Node& a = start_limited(harness, "a", 12 * MB);
  Pair to_b = harness.connect(a, harness.start("b"));
  Pair to_c = harness.connect(a, harness.start("c"));
  Moving first(harness, to_b, 60 * MB, true);
  Moving second(harness, to_c, 60 * MB, true);
  CHECK(rate_over(harness, a, 3s) == Approx(12.0 * MB).epsilon(0.15));
  CHECK(static_cast<double>(first.done()) == Approx(static_cast<double>(second.done())).epsilon(0.2));
  a->limit_rate(std::nullopt);
  finish_ok(harness, first.transfer);
  finish_ok(harness, second.transfer);
}

BACKEND_TEST_CASE("peers share the engine's rate by bytes, however small their operations", "[contract][budgets]") {
  const auto made = backend.make();
  Harness& harness = *made;
  if (cannot_measure(harness)) return;
  Node& a = start_limited(harness, "a", 12 * MB);
  Pair to_b = harness.connect(a, harness.start("b"));
  Pair to_c = harness.connect(a, harness.start("c"));
  constexpr uint64_t small = 16'000;
  constexpr size_t count = 2000;
  const Buffer source = allocate_filled(a, small * count, 1);
  const Buffer target = allocate(to_b.b, small * count);
  const RemoteBuffer remote = grant(to_b.to_a, target.slice());
  std::vector<Piece> pieces;
  for (size_t i = 0; i < count; ++i) pieces.push_back({source.slice(i * small, small), remote.slice(i * small, small)});
  Moving large(harness, to_c, 60 * MB, true);
  harness.run_for(1s);  // alone: what it takes now is not held against it later, nor saved up for the other one
  const uint64_t before = large.done();
  const Transfer batch = to_b.to_b.put_batch(pieces);
  harness.run_for(3s);
  const auto one = static_cast<double>(batch.progress().bytes_done);
  const auto other = static_cast<double>(large.done() - before);
  CHECK(one == Approx(other).epsilon(0.2));
  CHECK(one + other == Approx(36.0 * MB).epsilon(0.15));
  a->limit_rate(std::nullopt);
  finish_ok(harness, batch);
  finish_ok(harness, large.transfer);
}

BACKEND_TEST_CASE("a peer held back by its own rate is owed nothing of the engine's", "[contract][budgets]") {
  const auto made = backend.make();
  Harness& harness = *made;
  if (cannot_measure(harness)) return;
  Node& a = start_limited(harness, "a", 12 * MB);
  Pair to_b = harness.connect(a, harness.start("b"));
  Pair to_c = harness.connect(a, harness.start("c"));
  to_b.to_b.limit_rate(1 * MB);
  Moving bounded(harness, to_b, 30 * MB, true);
  Moving other(harness, to_c, 90 * MB, true);
  harness.run_for(5s);
  CHECK(static_cast<double>(bounded.done()) == Approx(5.0 * MB).epsilon(0.25));
  CHECK(static_cast<double>(bounded.done() + other.done()) == Approx(60.0 * MB).epsilon(0.1));
  to_b.to_b.limit_rate(std::nullopt);
  const uint64_t bounded_before = bounded.done();
  const uint64_t other_before = other.done();
  harness.run_for(2s);
  CHECK(static_cast<double>(bounded.done() - bounded_before) == Approx(12.0 * MB).epsilon(0.25));
  CHECK(static_cast<double>(other.done() - other_before) == Approx(12.0 * MB).epsilon(0.25));
  a->limit_rate(std::nullopt);
  finish_ok(harness, bounded.transfer);
  finish_ok(harness, other.transfer);
}

BACKEND_TEST_CASE("a rate of nothing holds everything back, and nobody is lost for it", "[contract][budgets]") {
  const auto made = backend.make();
  Harness& harness = *made;
  if (cannot_measure(harness)) return;
  Pair pair = harness.connected_pair();
  pair.to_b.limit_rate(0);
  const Buffer source = allocate_filled(pair.a, 4 * MB, 1);
  const Buffer target = allocate(pair.b, 4 * MB);
  const RemoteBuffer remote = grant(pair.to_a, target.slice());
  const Transfer put = pair.to_b.put(source.slice(), remote.slice());
  harness.run_for(5s);  // more than twice peer_timeout
  CHECK(put.progress().bytes_done == 0);
  CHECK_FALSE(put.done());
  CHECK(pair.to_b.state() == PeerState::ready);
  pair.to_b.limit_rate(std::nullopt);
  finish_ok(harness, put);
}

}  // namespace haul::contract
