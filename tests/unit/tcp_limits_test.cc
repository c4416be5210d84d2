// What becomes of a congestion controller's limits: the options of the lane's socket, and what waits in it.
#include <algorithm>

#include "tcp_sockets.h"
#include "tcp_support.h"

using namespace haul;
using namespace haul::tcp::test;
using haul::tcp::Io;

TEST_CASE("tcp: a paced lane takes what leaves within 20 ms", "[tcp]") {
  Pair pair(Io::epoll);
  const int fd = socket_to(pair.address.port);
  const auto usual = option_of<uint64_t>(fd, SOL_SOCKET, SO_MAX_PACING_RATE);
  CHECK(most_unsent(fd) == 0);
  const auto limit = [&](std::optional<uint64_t> rate) {
    pair.a.transport->set_limits(pair.at_a, {.window_bytes = {}, .rate_bytes_s = rate});
  };
  limit(62'500'000);
  CHECK(option_of<uint64_t>(fd, SOL_SOCKET, SO_MAX_PACING_RATE) == 62'500'000);
  CHECK(most_unsent(fd) == 1'250'000);
  limit(3'000'000);
  CHECK(most_unsent(fd) == 128U << 10);
  limit({});
  CHECK(option_of<uint64_t>(fd, SOL_SOCKET, SO_MAX_PACING_RATE) == usual);
  CHECK(most_unsent(fd) == 0);
}

TEST_CASE("tcp: what a paced lane can't send yet waits outside of its socket", "[tcp]") {
  const Io io = GENERATE(Io::uring, Io::epoll);
  Pair pair(io);
  const int fd = socket_to(pair.address.port);
  constexpr uint64_t rate = 3'000'000;
  pair.a.transport->set_limits(pair.at_a, {.window_bytes = {}, .rate_bytes_s = rate});
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
