// What others wrote, as it is shown.
#include <catch2/catch.hpp>

#include "base/printable.h"

using haul::base::printable;

TEST_CASE("what is not printable is shown as question marks") {
  CHECK(printable("").empty());
  CHECK(printable(" ~Az09") == " ~Az09");
  CHECK(printable(std::string_view("a\0b\n\x1b[31m\x7f", 10)) == "a?b??[31m?");
  CHECK(printable("\xc3\xa4\xff") == "???");
}
