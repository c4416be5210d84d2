// A write over a lane whose rate is bounded: it waits in the transport, not in the socket.
#pragma once

#include <algorithm>
#include <vector>

#include "unit/tcp_sockets.h"
#include "unit/tcp_support.h"

namespace haul::tcp::test {

/// From a to b, over the lane whose socket at a is `fd` and whose rate is set to so little that it bears 128 KiB unsent.
inline void a_write_waits_outside(Pair& pair, int fd) {
  constexpr uint32_t length = 1U << 20;
  const Memory source(pair.a, length, 1);
  const Memory target(pair.b, length, 2);
  const LocalGrant grant = grant_all(pair.b, pair.at_b, target);
  const std::vector<Operation> operations(1, operation(Op::write, 1, source, 0, grant.remote, 0, length));
  REQUIRE(pair.a.transport->post(pair.at_a, operations, Side::now()) == 1);
  int most = 0;
  REQUIRE(pair.run_until([&] {
    most = std::max(most, unsent(fd));
    return pair.a.completed(1) != nullptr;
  }));
  CHECK(target.data == source.data);
  // The kernel looks before each piece that it takes, which is at most 64 KiB.
  CHECK(most <= (128 << 10) + (64 << 10));
  CHECK(most > 0);
}

}  // namespace haul::tcp::test
