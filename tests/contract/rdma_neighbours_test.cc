// What only real queue pairs show: the kernel's search for a neighbour that does not answer. Over scripts/soft-roce.sh.
#include "contract/transport_rig.h"

#ifdef HAUL_CONTRACT_RDMA

#include <catch2/catch.hpp>
#include <chrono>

#include "rdma/wire.h"

namespace haul::contract {
namespace {

using namespace std::chrono_literals;

TEST_CASE("other connections go on while the kernel looks for a neighbour that does not answer", "[.][devices][transport]") {
  RdmaDeviceHarness harness;
  Rig rig(harness);
  const Rig::Link link = rig.connect();
  const MemoryRegion& local = rig.region(rig.x, 100'000, 1);
  const MemoryRegion& target = rig.region(rig.y, 100'000, 2);
  const LocalGrant granted = rig.grant(rig.y, link.at_y, target);

  ConnectOptions active;
  active.address = rig.address;
  const auto at_x = rig.x.transport->open(active, rig.now()).value();
  const auto at_y = rig.y.transport->open({}, rig.now()).value();
  auto nobody = rdma::wire::decode_endpoint(at_y.bytes).value();
  nobody.gid = rdma::wire::decode_endpoint(at_x.bytes)->gid;
  nobody.gid.raw[15] = 99;
  const TimePoint start = rig.now();
  REQUIRE(rig.x.transport->join(at_x.connection, rdma::wire::encode(nobody), rig.now()).ok());
  CHECK(rig.now() - start < 100ms);
  for (int i = 0; i < 10; ++i) {
    Operation write;
    write.id = rig.next_id();
    write.local = &local;
    write.remote = &granted.remote;
    write.length = 100'000;
    CHECK(rig.finish(rig.x, link.at_x, write).ok());
  }
  CHECK(rig.now() - start < 500ms);
  CHECK_FALSE(rig.x.closed(at_x.connection));
  REQUIRE(rig.run([&] { return rig.x.closed(at_x.connection).has_value(); }));
  WARN("it was looked for " << (rig.now() - start) / 1ms << " ms: " << rig.x.closed(at_x.connection)->to_string());
  CHECK(rig.x.closed(at_x.connection)->code() == StatusCode::unavailable);
  CHECK(rig.now() - start > 500ms);
  CHECK_THAT(std::string(rig.x.closed(at_x.connection)->message()), Catch::Contains("cannot reach"));
  rig.y.transport->close(at_y.connection, CloseMode::abort, rig.now());
}

}  // namespace
}  // namespace haul::contract

#endif
