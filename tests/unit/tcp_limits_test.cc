// What becomes of a congestion controller's limits: the options of the lane's socket, and what waits in it.
#include "tcp_sockets.h"
#include "tcp_support.h"
#include "tcp_unsent.h"

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
  a_write_waits_outside(pair, fd);
}
