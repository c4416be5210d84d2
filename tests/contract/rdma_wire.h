// Two bare rdma transports over fake devices, joined, with memory on both sides.
#pragma once

#include "contract/fixture.h"
#include "contract/transport_rig.h"
#include "rdma/rdma_transport.h"

namespace haul::contract {

inline constexpr size_t arena_bytes = 1'000'000;
inline constexpr auto untouched = std::byte{0xee};

/// Two bare transports, x with a key of y's memory.
struct Wire {
  RdmaHarness harness;
  Rig rig{harness};
  Rig::Link link = rig.connect();
  const MemoryRegion& local = rig.region(rig.x, arena_bytes, 1);
  const MemoryRegion& target = rig.region(rig.y, arena_bytes, 2);
  LocalGrant granted = rig.grant(rig.y, link.at_y, target);

  explicit Wire(const verbs::FabricOptions& devices = {}, const rdma::Options& options = {}) : harness(1, devices, options) {
    std::fill(target.bytes().begin(), target.bytes().end(), untouched);
  }
  Operation write(uint64_t offset, uint32_t length) {
    Operation operation;
    operation.id = rig.next_id();
    operation.local = &local;
    operation.local_offset = offset;
    operation.remote = &granted.remote;
    operation.remote_offset = offset;
    operation.length = length;
    return operation;
  }
  /// Puts one large write on the wire and runs until some of it, but not all, is placed.
  uint64_t start_long_write() {
    const Operation operation = write(0, 900'000);
    rig.post_all(rig.x, link.at_x, std::span(&operation, 1));
    REQUIRE(rig.run([&] { return target.bytes()[0] != untouched; }));
    REQUIRE(target.bytes()[899'999] == untouched);
    return operation.id;
  }
  /// From now on nothing lands.
  void check_quiet() {
    std::fill(target.bytes().begin(), target.bytes().end(), untouched);
    harness.fabric().hold("x", false);
    rig.run_for(3s);
    CHECK(all_bytes_are(target.bytes(), untouched));
  }
};

}  // namespace haul::contract
