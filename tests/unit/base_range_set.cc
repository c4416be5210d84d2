// Unit tests of base::RangeSet, by example and against a model.
#include <algorithm>
#include <catch2/catch.hpp>
#include <vector>

#include "base/random.h"
#include "base/range_set.h"

namespace haul::base {
namespace {

TEST_CASE("adding counts only what is new", "[base][range_set]") {
  RangeSet set;
  CHECK(set.empty());
  CHECK(set.add(10, 20) == 10);
  CHECK(set.add(10, 20) == 0);
  CHECK(set.add(15, 25) == 5);
  CHECK(set.add(5, 30) == 10);
  CHECK(set.count() == 25);
  CHECK(set.ranges() == 1);
}

TEST_CASE("ranges that touch become one", "[base][range_set]") {
  RangeSet set;
  set.add(0, 10);
  set.add(20, 30);
  CHECK(set.ranges() == 2);
  CHECK(set.add(10, 20) == 10);
  CHECK(set.ranges() == 1);
  CHECK(set.contains(0, 30));
}

TEST_CASE("empty and reversed ranges add nothing", "[base][range_set]") {
  RangeSet set;
  CHECK(set.add(5, 5) == 0);
  CHECK(set.add(9, 3) == 0);
  CHECK(set.empty());
  CHECK(set.contains(4, 4));
  CHECK_FALSE(set.contains(4));
}

TEST_CASE("containing means the whole range", "[base][range_set]") {
  RangeSet set;
  set.add(0, 10);
  set.add(11, 20);
  CHECK(set.contains(0, 10));
  CHECK_FALSE(set.contains(0, 11));
  CHECK_FALSE(set.contains(5, 15));
  CHECK_FALSE(set.contains(10));
  CHECK(set.contains(11));
  CHECK_FALSE(set.contains(20));
  set.clear();
  CHECK(set.count() == 0);
  CHECK_FALSE(set.contains(0));
}

TEST_CASE("large values do not wrap", "[base][range_set]") {
  RangeSet set;
  const uint64_t top = UINT64_MAX;
  CHECK(set.add(top - 10, top) == 10);
  CHECK(set.contains(top - 1));
  CHECK_FALSE(set.contains(top - 11));
  CHECK(set.add(0, top) == top - 10);
  CHECK(set.count() == top);
  // No half-open range ends beyond the largest value, so no set has it.
  CHECK_FALSE(set.contains(top));
  CHECK_FALSE(RangeSet().contains(top));
}

size_t runs_in(const std::vector<bool>& model) {
  size_t runs = 0;
  for (size_t i = 0; i < model.size(); ++i) runs += static_cast<size_t>(model[i] && (i == 0 || !model[i - 1]));
  return runs;
}

TEST_CASE("a range set agrees with a vector of bits", "[base][range_set]") {
  const uint64_t seed = GENERATE(11U, 12U, 13U, 14U, 15U);
  CAPTURE(seed);
  Random random(seed);
  constexpr uint64_t limit = 200;
  RangeSet set;
  std::vector<bool> model(limit, false);
  for (int step = 0; step < 400; ++step) {
    const uint64_t begin = random.below(limit);
    const uint64_t end = std::min(limit, begin + random.below(12));
    uint64_t fresh = 0;
    for (uint64_t i = begin; i < end; ++i) {
      fresh += static_cast<uint64_t>(!model[i]);
      model[i] = true;
    }
    REQUIRE(set.add(begin, end) == fresh);
    REQUIRE(set.count() == static_cast<uint64_t>(std::count(model.begin(), model.end(), true)));
    REQUIRE(set.ranges() == runs_in(model));
    for (uint64_t i = 0; i < limit; ++i) REQUIRE(set.contains(i) == model[i]);
    const uint64_t from = random.below(limit);
    const uint64_t to = from + random.below(limit - from);
    const bool all = std::find(model.begin() + static_cast<ptrdiff_t>(from), model.begin() + static_cast<ptrdiff_t>(to),
                               false) == model.begin() + static_cast<ptrdiff_t>(to);
    REQUIRE(set.contains(from, to) == all);
    if (random.chance(0.01)) {
      set.clear();
      model.assign(limit, false);
    }
  }
}

}  // namespace
}  // namespace haul::base
