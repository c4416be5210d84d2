// What becomes of a congestion controller's limits: the options of the lane's socket, and what waits in it.
#include <algorithm>
#include <fstream>

#include "tcp/socket.h"
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
  const Io io = GENERATE(from_range(haul::test::ways_of_io()));
  Pair pair(io);
  const int fd = socket_to(pair.address.port);
  constexpr uint64_t rate = 3'000'000;
  pair.a.transport->set_limits(pair.at_a, {.window_bytes = {}, .rate_bytes_s = rate});
  a_write_waits_outside(pair, fd);
}

TEST_CASE("tcp: a window is opened to what the kernel allows, and still grows by itself", "[tcp]") {
  Pair pair(Io::epoll);
  const int fd = socket_to(pair.address.port);
  const auto room = [fd] { return option_of<int>(fd, SOL_SOCKET, SO_RCVBUF); };
  std::ifstream limits("/proc/sys/net/ipv4/tcp_rmem");
  int least = 0;
  int usual = 0;
  int most = 0;
  REQUIRE(limits >> least >> usual >> most);
  const int before = room();
  haul::tcp::open_window(fd);
  // How much of a buffer is window, kernels differ in.
  CHECK(room() >= std::max(before, most / 2));
  CHECK(room() <= std::max(before, most));
  // A reader that really waited for so much would never be woken.
  CHECK(option_of<int>(fd, SOL_SOCKET, SO_RCVLOWAT) == 1);

  // Where the buffer's size was asked for, it stays.
  const int asked = 65536;
  REQUIRE(setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &asked, sizeof(asked)) == 0);
  const int fixed = room();
  haul::tcp::open_window(fd);
  CHECK(room() == fixed);
}
