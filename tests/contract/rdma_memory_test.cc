// Memory of the rdma backend: registrations in pieces, shared and bounded; windows of bounded size; device memory.
#include "contract/fixture.h"

#ifdef HAUL_CONTRACT_RDMA

#include "contract/rdma_wire.h"
#include "contract/verbs/device_memory.h"

namespace haul::contract {
namespace {

TEST_CASE("large regions are registered in pieces, and moved and granted across their borders", "[rdma]") {
  rdma::Options options;
  options.registration_piece_bytes = 128U << 10;
  Wire wire({}, options);
  REQUIRE(wire.harness.fabric().registrations() > 10);
  REQUIRE(wire.rig.finish(wire.rig.x, wire.link.at_x, wire.write(1, 900'000)).ok());
  CHECK(same(wire.local.bytes().subspan(1, 900'000), wire.target.bytes().subspan(1, 900'000)));
  Operation read = wire.write(5, 800'000);
  read.op = Op::read;
  read.crc32c = 0;
  CHECK(wire.rig.finish(wire.rig.x, wire.link.at_x, read).ok());
}

TEST_CASE("a range inside registered memory shares its registration, until that ends", "[rdma]") {
  RdmaHarness harness;
  const auto transport = harness.make_transport("x");
  std::vector<std::byte> memory(100'000);
  auto whole = transport->register_memory(memory, MemoryKind::host).value();
  CHECK(harness.fabric().registrations() == 1);
  const auto part = transport->register_memory(std::span(memory).subspan(1000, 5000), MemoryKind::host).value();
  CHECK(harness.fabric().registrations() == 1);
  whole.reset();  // the memory may be mapped anew now: what was registered says nothing about it
  const auto again = transport->register_memory(memory, MemoryKind::host).value();
  CHECK(harness.fabric().registrations() == 2);
}

TEST_CASE("too little lockable memory names the limit and the remedy", "[rdma]") {
  verbs::FabricOptions devices;
  devices.lock_limit_bytes = 1'000'000;
  RdmaHarness harness(1, devices);
  const auto transport = harness.make_transport("x");
  std::vector<std::byte> memory(2'000'000);
  const auto region = transport->register_memory(memory, MemoryKind::host);
  CHECK(region.status().code() == StatusCode::exhausted);
  CHECK_THAT(std::string(region.status().message()), Catch::Contains("RLIMIT_MEMLOCK") && Catch::Contains("ulimit -l"));
}

TEST_CASE("grants are cut into windows that the device can bind, and refused where that takes too many", "[rdma]") {
  verbs::FabricOptions devices;
  devices.max_window_bytes = 200'000;  // windows are powers of two: 128 KiB
  RdmaHarness harness(1, devices);
  Rig rig(harness);
  const Rig::Link link = rig.connect();
  const MemoryRegion& local = rig.region(rig.x, arena_bytes, 1);
  const MemoryRegion& target = rig.region(rig.y, 2 * arena_bytes, 2);
  const auto all = rig.y.transport->grant(link.at_y, target, {0, 2 * arena_bytes}, Rights::read_write, rig.now());
  CHECK(all.status().code() == StatusCode::unsupported);
  CHECK_THAT(std::string(all.status().message()), Catch::Contains("smaller ranges"));
  const auto part = rig.y.transport->grant(link.at_y, target, {300'000, 700'000}, Rights::read_write, rig.now());
  REQUIRE(part.ok());
  Operation write;
  write.id = rig.next_id();
  write.local = &local;
  write.remote = &part.value().remote;
  write.length = 700'000;
  REQUIRE(rig.finish(rig.x, link.at_x, write).ok());
  CHECK(same(local.bytes().first(700'000), target.bytes().subspan(300'000, 700'000)));
}

TEST_CASE("memory is registered for on-demand paging where that is asked for, and there", "[rdma]") {
  std::vector<std::byte> memory(100'000);
  verbs::FabricOptions devices;
  devices.on_demand_paging = true;
  rdma::Options options;
  options.on_demand_paging = true;
  RdmaHarness harness(1, devices, options);
  const auto transport = harness.make_transport("x");
  REQUIRE(transport->register_memory(memory, MemoryKind::host).ok());
  CHECK(harness.fabric().on_demand_registrations() == 1);
  RdmaHarness plain;
  options.rails = {{"fake0"}};
  const auto without = rdma::RdmaTransport::make(plain.fabric().make_verbs("y"), options);
  CHECK(without.status().code() == StatusCode::unsupported);
}

TEST_CASE("device memory is moved and granted by its dma-buf, never read by the processor", "[rdma]") {
  verbs::FabricOptions devices;
  devices.dma_buf = true;
  rdma::Options options;
  verbs::Cards cards;
  options.export_device_memory = cards.exporter();
  RdmaHarness harness(1, devices, options);
  Rig rig(harness);
  const Rig::Link link = rig.connect();
  REQUIRE(rig.x.transport->capabilities().handles_device_memory);
  const verbs::DeviceMemory& here = cards.allocate(100'000);
  const verbs::DeviceMemory& there = cards.allocate(100'000);
  fill_pattern(here.seen(), 1);
  const auto local = rig.x.transport->register_memory(here.addresses(), MemoryKind::device).value();
  const auto target = rig.y.transport->register_memory(there.addresses(), MemoryKind::device).value();
  const LocalGrant granted = rig.grant(rig.y, link.at_y, *target);
  CHECK(harness.fabric().dma_bufs() > 0);
  const auto operation = [&](Op op, uint32_t length, std::optional<uint32_t> crc32c) {
    Operation made;
    made.op = op;
    made.id = rig.next_id();
    made.local = local.get();
    made.remote = &granted.remote;
    made.length = length;
    made.crc32c = crc32c;
    return made;
  };
  // Small enough to be copied into a request, which the processor would do.
  REQUIRE(rig.finish(rig.x, link.at_x, operation(Op::write, 100, {})).ok());
  REQUIRE(rig.finish(rig.x, link.at_x, operation(Op::write, 100'000, {})).ok());
  CHECK(same(here.seen(), there.seen()));
  REQUIRE(rig.finish(rig.x, link.at_x, operation(Op::read, 100'000, {})).ok());
  CHECK(rig.finish(rig.x, link.at_x, operation(Op::write, 100, 1)).code() == StatusCode::unsupported);
  CHECK(rig.finish(rig.x, link.at_x, operation(Op::read, 100, 0)).code() == StatusCode::unsupported);
  // From host memory, which has a checksum: its owner says that it can't compare it.
  const MemoryRegion& host = rig.region(rig.x, 1000, 3);
  Operation checked = operation(Op::write, 1000, 1);
  checked.local = &host;
  CHECK_FALSE(rig.finish(rig.x, link.at_x, checked).ok());
  CHECK_FALSE(rig.x.closed(link.at_x));
}

TEST_CASE("device memory is refused where it can't be had, or has no windows", "[rdma]") {
  std::vector<std::byte> memory(100'000);
  RdmaHarness plain;
  CHECK(plain.make_transport("x")->register_memory(memory, MemoryKind::device).status().code() == StatusCode::unsupported);
  verbs::FabricOptions devices;
  devices.dma_buf = true;
  rdma::Options options;
  options.rights_by = rdma::RightsBy::windows;
  verbs::Cards cards;
  options.export_device_memory = cards.exporter();
  RdmaHarness harness(1, devices, options);
  Rig rig(harness);
  const Rig::Link link = rig.connect();
  const auto target = rig.y.transport->register_memory(cards.allocate(100'000).addresses(), MemoryKind::device).value();
  const auto granted = rig.y.transport->grant(link.at_y, *target, {0, 100}, Rights::write, rig.now());
  CHECK(granted.status().code() == StatusCode::unsupported);
}

}  // namespace
}  // namespace haul::contract

#endif
