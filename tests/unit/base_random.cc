// Unit tests of base::Random and the system's random numbers.
#include <algorithm>
#include <array>
#include <catch2/catch.hpp>
#include <set>
#include <vector>

#include "base/random.h"

namespace haul::base {
namespace {

TEST_CASE("the same seed gives the same numbers, another seed others", "[base][random]") {
  Random first(42);
  Random second(42);
  Random other(43);
  bool differs = false;
  for (int i = 0; i < 100; ++i) {
    const uint64_t value = first.next();
    REQUIRE(value == second.next());
    differs = differs || value != other.next();
  }
  CHECK(differs);
}

TEST_CASE("seed 0 is as good as any", "[base][random]") {
  Random random(0);
  std::set<uint64_t> seen;
  for (int i = 0; i < 1000; ++i) seen.insert(random.next());
  CHECK(seen.size() == 1000);
}

// Computed by an independent program from the published definitions of splitmix64 and xoshiro256**, seed 1.
TEST_CASE("the sequence is the published one", "[base][random]") {
  Random random(1);
  CHECK(random.next() == 0xb3f2af6d0fc710c5ULL);
  CHECK(random.next() == 0x853b559647364ceaULL);
  CHECK(random.next() == 0x92f89756082a4514ULL);
}

TEST_CASE("below stays below and reaches every value", "[base][random]") {
  Random random(7);
  std::array<int, 6> seen{};
  for (int i = 0; i < 6000; ++i) {
    const uint64_t value = random.below(seen.size());
    REQUIRE(value < seen.size());
    ++seen[value];
  }
  for (const int count : seen) CHECK(count > 800);
  for (int i = 0; i < 10; ++i) CHECK(random.below(1) == 0);
  const uint64_t huge = (uint64_t{1} << 63) + 1;
  for (int i = 0; i < 100; ++i) REQUIRE(random.below(huge) < huge);
}

TEST_CASE("chance keeps to its probability", "[base][random]") {
  Random random(9);
  int hits = 0;
  for (int i = 0; i < 10000; ++i) {
    REQUIRE_FALSE(random.chance(0));
    REQUIRE_FALSE(random.chance(-1));
    REQUIRE(random.chance(1));
    hits += static_cast<int>(random.chance(0.25));
  }
  CHECK(hits > 2200);
  CHECK(hits < 2800);
}

TEST_CASE("fill writes every byte and no other", "[base][random]") {
  const size_t size = GENERATE(0U, 1U, 7U, 8U, 9U, 100U);
  CAPTURE(size);
  Random random(3);
  std::vector<bool> changed(size, false);
  for (int round = 0; round < 20; ++round) {
    std::vector<std::byte> memory(size + 2, std::byte{0xaa});
    random.fill(std::span(memory).subspan(1, size));
    REQUIRE(memory.front() == std::byte{0xaa});
    REQUIRE(memory.back() == std::byte{0xaa});
    for (size_t i = 0; i < size; ++i) changed[i] = changed[i] || memory[i + 1] != std::byte{0xaa};
  }
  CHECK(std::all_of(changed.begin(), changed.end(), [](bool value) { return value; }));
}

TEST_CASE("the system's numbers differ from call to call", "[base][random]") {
  CHECK(system_random_u64() != system_random_u64());
  std::array<std::byte, 64> first{};
  std::array<std::byte, 64> second{};
  system_random(first);
  system_random(second);
  CHECK(first != second);
  system_random({});
}

}  // namespace
}  // namespace haul::base
