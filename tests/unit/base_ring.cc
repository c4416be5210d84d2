// Unit tests of base::Ring.
#include <catch2/catch.hpp>
#include <deque>
#include <memory>

#include "base/random.h"
#include "base/ring.h"

namespace haul::base {
namespace {

TEST_CASE("a ring gives back in order what it took", "[base][ring]") {
  Ring<int> ring(3);
  CHECK(ring.empty());
  CHECK(ring.capacity() == 3);
  CHECK(ring.push(1));
  CHECK(ring.push(2));
  CHECK(ring.push(3));
  CHECK(ring.full());
  CHECK(ring.front() == 1);
  CHECK(ring[2] == 3);
  CHECK(ring.pop() == 1);
  CHECK(ring.pop() == 2);
  CHECK(ring.pop() == 3);
  CHECK(ring.empty());
}

TEST_CASE("a full ring refuses and stays as it is", "[base][ring]") {
  Ring<int> ring(2);
  REQUIRE(ring.push(1));
  REQUIRE(ring.push(2));
  CHECK_FALSE(ring.push(3));
  CHECK(ring.size() == 2);
  CHECK(ring.pop() == 1);
  CHECK(ring.push(3));
  CHECK(ring[0] == 2);
  CHECK(ring[1] == 3);
}

TEST_CASE("a ring without capacity is empty and full", "[base][ring]") {
  Ring<int> ring(0);
  CHECK(ring.empty());
  CHECK(ring.full());
  CHECK_FALSE(ring.push(1));
}

TEST_CASE("a ring keeps nothing alive that was popped", "[base][ring]") {
  Ring<std::shared_ptr<int>> ring(2);
  auto held = std::make_shared<int>(7);
  REQUIRE(ring.push(held));
  CHECK(held.use_count() == 2);
  CHECK(ring.pop() == held);
  CHECK(held.use_count() == 1);
}

TEST_CASE("a ring agrees with a deque under random use", "[base][ring]") {
  const uint64_t seed = GENERATE(1U, 2U, 3U, 4U);
  CAPTURE(seed);
  Random random(seed);
  const size_t capacity = 1 + random.below(17);
  Ring<uint64_t> ring(capacity);
  std::deque<uint64_t> model;
  for (int step = 0; step < 5000; ++step) {
    if (random.chance(0.55)) {
      const uint64_t value = random.next();
      const bool taken = ring.push(value);
      REQUIRE(taken == (model.size() < capacity));
      if (taken) model.push_back(value);
    } else if (!model.empty()) {
      REQUIRE(ring.pop() == model.front());
      model.pop_front();
    }
    REQUIRE(ring.size() == model.size());
    for (size_t i = 0; i < model.size(); ++i) REQUIRE(std::as_const(ring)[i] == model[i]);
  }
}

}  // namespace
}  // namespace haul::base
