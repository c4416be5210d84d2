// Unit tests of quantities as people write them.
#include <catch2/catch.hpp>

#include "base/quantities.h"

namespace haul::base {
namespace {

using namespace std::chrono_literals;

TEST_CASE("a rate is bits per second, in bytes per second", "[base][quantities]") {
  CHECK(parse_rate("500M") == 62'500'000);
  CHECK(parse_rate("2G") == 250'000'000);
  CHECK(parse_rate("1.5G") == 187'500'000);
  CHECK(parse_rate("64 K") == 8'000);
  CHECK(parse_rate("8") == 1);
  for (const char* wrong : {"", "M", "fast", "0", "7", "-5M", "500MB", "500m", "1e14", "inf", "nan", "100T", "5M5"}) {
    CAPTURE(wrong);
    CHECK_FALSE(parse_rate(wrong));
  }
}

TEST_CASE("times, sizes and fractions have their units", "[base][quantities]") {
  CHECK(parse_duration("1.5ms") == 1500us);
  CHECK(parse_duration("2s") == 2s);
  CHECK(parse_size("4MB") == 4'000'000);
  CHECK(parse_size("64KiB") == 65536);
  CHECK(parse_fraction("1%") == 0.01);
  CHECK(parse_fraction("0.5") == 0.5);
  CHECK(parse_number("1e3") == 1000.0);
  CHECK_FALSE(parse_duration("5"));
  CHECK_FALSE(parse_size("4ms"));
  CHECK_FALSE(parse_fraction("150%"));
  CHECK_FALSE(parse_number("3 apples"));
}

}  // namespace
}  // namespace haul::base
