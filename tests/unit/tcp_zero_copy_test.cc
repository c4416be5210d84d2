// For which peers the tcp backend sends without copying.
#include <catch2/catch.hpp>
#include <string>

#include "tcp/socket.h"

using haul::tcp::Distance;
using haul::tcp::why_copied;
using haul::tcp::ZeroCopy;

TEST_CASE("tcp: zero copy by itself is for the rack, not for loopback and long paths", "[tcp]") {
  CHECK(why_copied(ZeroCopy::automatic, true, Distance::rack) == nullptr);
  CHECK(why_copied(ZeroCopy::automatic, true, Distance::loopback) == std::string("off on loopback"));
  CHECK(why_copied(ZeroCopy::automatic, true, Distance::wan) == std::string("off beyond the rack"));
}

TEST_CASE("tcp: zero copy that is ordered goes everywhere, that is forbidden or missing nowhere", "[tcp]") {
  const Distance distance = GENERATE(Distance::loopback, Distance::rack, Distance::wan);
  CHECK(why_copied(ZeroCopy::always, true, distance) == nullptr);
  CHECK(why_copied(ZeroCopy::off, true, distance) == std::string("off"));
  CHECK(why_copied(ZeroCopy::off, false, distance) == std::string("off"));
  CHECK(why_copied(ZeroCopy::always, false, distance) == std::string("not available"));
  CHECK(why_copied(ZeroCopy::automatic, false, distance) == std::string("not available"));
}
