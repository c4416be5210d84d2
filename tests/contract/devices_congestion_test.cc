// Congestion control over this machine's RDMA devices, whose cables the surroundings made long or narrow: hidden cases for
// tests/guest/congestion.sh.
#include <catch2/catch.hpp>
#include <iostream>

#include "contract/fixture.h"

#ifdef HAUL_CONTRACT_RDMA

namespace haul::contract {
namespace {

constexpr uint64_t MiB = 1U << 20;

struct Seen {
  double bytes_s = 0;
  double mean_in_flight = 0;
  PathStats path;
};

PathStats way_out(const Peer& peer) {
  for (const auto stats = peer.stats(); const PathStats& path : stats.paths) {
    if (path.transport == "rdma" && path.direction == "out") return path;
  }
  FAIL("nobody controls what goes out over rdma");
  return {};
}

/// Writes for a while to let the controller find the path, then measures.
Seen measure(RdmaDeviceHarness& harness, Duration settle, Duration time) {
  EngineOptions options = harness.options();
  options.congestion.controller = "hub";
  options.peer_timeout = 10s;
  Node& a = harness.start("a", options);
  Node& b = harness.start("b", options);
  PeerOptions peer;
  // A queue pair of soft-RoCE has some 256 KiB on the way at most.
  peer.lanes = 9;
  peer.policy.require = {"rdma"};
  Pair pair = harness.connect(a, b, peer);
  const Buffer source = allocate_filled(pair.a, 32 * MiB, 1);
  const Buffer target = allocate(pair.b, 32 * MiB);
  const RemoteBuffer remote = grant(pair.to_a, target.slice());
  std::vector<Transfer> puts;
  uint64_t samples = 0;
  Seen seen;
  const auto keep_busy = [&](bool counts) {
    std::erase_if(puts, [](const Transfer& put) { return put.done(); });
    while (puts.size() < 2) puts.push_back(pair.to_b.put(source.slice(), remote.slice()));
    if (!counts) return false;
    seen.mean_in_flight += static_cast<double>(way_out(pair.to_b).in_flight_bytes);
    ++samples;
    return false;
  };
  harness.run([&] { return keep_busy(false); }, settle);
  const uint64_t before = a->stats().bytes_put;
  const TimePoint from = harness.clock().now();
  harness.run([&] { return keep_busy(true); }, time);
  const Duration took = harness.clock().now() - from;
  seen.bytes_s = static_cast<double>(a->stats().bytes_put - before) / (static_cast<double>(took.count()) * 1e-9);
  seen.mean_in_flight /= static_cast<double>(std::max<uint64_t>(samples, 1));
  seen.path = way_out(pair.to_b);
  std::cout << pair.to_b.explain() << "moved " << seen.bytes_s / 1e6 << " MB/s with " << seen.mean_in_flight / 1e6
            << " MB in flight\n";
  for (const Transfer& put : puts) finish_ok(harness, put);
  CHECK(same(source.bytes(), target.bytes()));
  return seen;
}

}  // namespace

TEST_CASE("the window grows to what a long cable holds", "[.][devices][long-cable]") {
  RdmaDeviceHarness harness;
  // 100 Mbit/s, 80 ms there and back: a megabyte, and a rate that an emulated processor keeps up with.
  const Seen seen = measure(harness, 6s, 6s);
  // One operation at a time would be 0.8 MB/s. An emulated processor on a busy host delays answers by more than the queue
  // that is aimed at, which costs up to a third.
  CHECK(seen.bytes_s > 0.5 * 12.5e6);
  CHECK(seen.mean_in_flight > 0.5e6);
  CHECK(seen.mean_in_flight < 3e6);
}

TEST_CASE("a narrow cable with a short queue is used and not flooded", "[.][devices][narrow-cable]") {
  RdmaDeviceHarness harness;
  // 100 Mbit/s, 8 ms there and back, and 1.6 MB of queue: lanes' own windows would overflow it five times.
  const Seen seen = measure(harness, 4s, 6s);
  CHECK(seen.bytes_s > 0.5 * 12.5e6);  // as above
  CHECK(seen.bytes_s < 1.02 * 12.5e6);
  CHECK(seen.mean_in_flight < 1.6e6);
}

}  // namespace haul::contract

#endif
