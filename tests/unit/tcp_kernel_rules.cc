// What the kernel's program decides by itself: transports/tcp/kernel_cc/rules.h, as compiled into it.
#include <catch2/catch.hpp>

#include "tcp/kernel_cc/rules.h"

using namespace haul::tcp::rules;

namespace {

constexpr uint64_t ms = 1'000'000;
constexpr uint32_t no_clamp = ~0U;
constexpr uint32_t infinite = 0x7fffffff;  // TCP_INFINITE_SSTHRESH

Window next(Window window, uint32_t ssthresh, uint32_t acked, bool recovers = false) {
  return next_window(window, ssthresh, acked, window.packets, recovers ? 1 : 0, no_clamp);
}

}  // namespace

TEST_CASE("kernel rules: a command holds from when it was seen first, as long as it says, ten seconds at most",
          "[tcp][kernel-cc]") {
  CHECK(holds(500 * ms, 1000 * ms, 1000 * ms));
  CHECK(holds(500 * ms, 1000 * ms, 1499 * ms));
  CHECK_FALSE(holds(500 * ms, 1000 * ms, 1500 * ms));
  CHECK_FALSE(holds(0, 1000 * ms, 1000 * ms));
  CHECK(holds(~0ULL, 0, 9'999 * ms));
  CHECK_FALSE(holds(~0ULL, 0, 10'000 * ms));
}

TEST_CASE("kernel rules: a commanded window in packets is at least two and never above the kernel's clamp",
          "[tcp][kernel-cc]") {
  CHECK(packets_of(14'480, 1448, no_clamp) == 10);
  CHECK(packets_of(14'479, 1448, no_clamp) == 9);
  CHECK(packets_of(0, 1448, no_clamp) == 2);
  CHECK(packets_of(14'480, 0, no_clamp) == 2);
  CHECK(packets_of(~0ULL, 1, 1000) == 1000);
  CHECK(packets_of(~0ULL, 1, no_clamp) == no_clamp);
}

TEST_CASE("kernel rules: the window doubles in a round trip up to ssthresh, then grows by one", "[tcp][kernel-cc]") {
  Window window{10, 0};
  for (int i = 0; i < 10; ++i) window = next(window, infinite, 1);
  CHECK(window.packets == 20);
  CHECK(next({10, 0}, 15, 10).packets == 15);

  window = {20, 0};
  for (int i = 0; i < 19; ++i) window = next(window, 20, 1);
  CHECK(window.packets == 20);
  window = next(window, 20, 1);
  CHECK(window.packets == 21);
  CHECK(window.count == 0);
}

TEST_CASE("kernel rules: one acknowledgement of many packets does not grow the window by more than one", "[tcp][kernel-cc]") {
  const Window window = next({20, 0}, 20, 45);
  CHECK(window.packets == 21);
  CHECK(window.count == 25);
}

TEST_CASE("kernel rules: a window that is not used does not grow", "[tcp][kernel-cc]") {
  CHECK(next_window({100, 0}, infinite, 10, 49, 0, no_clamp).packets == 100);
  CHECK(next_window({100, 0}, infinite, 10, 50, 0, no_clamp).packets == 110);
}

TEST_CASE("kernel rules: after a loss half of the window, and no growth until it is repaired", "[tcp][kernel-cc]") {
  const uint32_t ssthresh = after_loss(100);
  CHECK(ssthresh == 50);
  CHECK(after_loss(3) == 2);
  CHECK(next({100, 0}, ssthresh, 10, true).packets == 50);
  CHECK(next({30, 0}, ssthresh, 10, true).packets == 30);
  CHECK(next({1, 0}, 2, 1, true).packets == 2);
}

TEST_CASE("kernel rules: without commands it goes on from half of what is in flight, or from ten packets", "[tcp][kernel-cc]") {
  CHECK(after_silence(1000, 600) == 300);
  CHECK(after_silence(400, 600) == 200);
  CHECK(after_silence(1000, 5) == 10);
  CHECK(after_silence(1000, 0) == 10);
}

TEST_CASE("kernel rules: after a pause it begins again with ten packets at most", "[tcp][kernel-cc]") {
  CHECK(after_idle(1000, 201, 200) == 10);
  CHECK(after_idle(1000, 200, 200) == 1000);
  CHECK(after_idle(4, 201, 200) == 4);
  CHECK(after_idle(1000, 0, 0) == 1000);
}

TEST_CASE("kernel rules: nothing was delivered before packets that are older than the sums", "[tcp][kernel-cc]") {
  CHECK(delivered_before(5000, 2000) == 3000);
  CHECK(delivered_before(5000, 5000) == 0);
  CHECK(delivered_before(2000, 5000) == 0);
}

TEST_CASE("kernel rules: the clamp bounds growth", "[tcp][kernel-cc]") {
  CHECK(next_window({95, 0}, infinite, 10, 95, 0, 100).packets == 100);
  CHECK(next_window({100, 99}, 50, 1, 100, 0, 100).packets == 100);
}

TEST_CASE("kernel rules: pacing without commands is the kernel's own: a fifth above the window's rate", "[tcp][kernel-cc]") {
  // 100 packets of 1000 bytes in 100 ms are 1 MB/s.
  CHECK(rate_of(100, 100, 1000, 8 * 100'000) == 1'200'000);
  CHECK(rate_of(100, infinite, 1000, 8 * 100'000) == 2'000'000);
  CHECK(rate_of(100, 100, 1000, 0) == HAUL_UNLIMITED_RATE);
  // The largest of everything does not overflow to something small.
  CHECK(rate_of(1U << 24, 1, 65'535, 8 * 1'000'000) > 1'000'000'000'000);
}
