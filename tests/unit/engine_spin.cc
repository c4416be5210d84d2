// When a wait polls before it blocks.
#include <catch2/catch.hpp>
#include <chrono>

#include "engine/spin.h"

namespace haul::engine {
namespace {

using namespace std::chrono_literals;

// Waits that block at once before the next one that polls.
int skipped(AdaptiveSpin& spin) {
  int count = 0;
  while (spin.begin() == Duration::zero() && count < 1000) ++count;
  return count;
}

}  // namespace

TEST_CASE("a wait polls as long as that finds something", "[spin]") {
  AdaptiveSpin spin(50us);
  for (int i = 0; i < 100; ++i) {
    CHECK(spin.begin() == 50us);
    spin.caught();
  }
}

TEST_CASE("polling in vain becomes rare, and one success undoes it", "[spin]") {
  AdaptiveSpin spin(50us);
  for (const int expected : {0, 1, 3, 7, 15, 31, 63, 63, 63}) {
    CHECK(skipped(spin) == expected);
    spin.missed();
  }
  CHECK(skipped(spin) == 63);
  spin.caught();
  CHECK(skipped(spin) == 0);
  spin.missed();
  CHECK(skipped(spin) == 1);
}

TEST_CASE("never and always stay what they are", "[spin]") {
  AdaptiveSpin never(Duration::zero());
  CHECK(never.begin() == Duration::zero());
  AdaptiveSpin always(Duration::max());
  CHECK(always.begin() == Duration::max());
}

}  // namespace haul::engine
