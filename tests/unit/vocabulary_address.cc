// Unit tests of Address: parsing, printing, and which hosts are loopback.
#include <fmt/format.h>

#include <catch2/catch.hpp>
#include <string>
#include <string_view>

#include "base/random.h"
#include "haul/address.h"

namespace haul {
namespace {

struct Good {
  const char* text;
  const char* host;
  uint16_t port;
};

TEST_CASE("addresses are parsed and printed back", "[vocabulary][address]") {
  const auto good = GENERATE(Good{"localhost:80", "localhost", 80}, Good{"10.0.0.1:65535", "10.0.0.1", 65535},
                             Good{":0", "", 0}, Good{"[::1]:7", "::1", 7}, Good{"[fe80::1%eth0]:443", "fe80::1%eth0", 443},
                             Good{"node-7:1", "node-7", 1}, Good{"a.example.com:9000", "a.example.com", 9000});
  CAPTURE(good.text);
  const auto parsed = Address::parse(good.text);
  REQUIRE(parsed.ok());
  CHECK(parsed.value().host == good.host);
  CHECK(parsed.value().port == good.port);
  CHECK(parsed.value().to_string() == good.text);
}

TEST_CASE("wrong addresses are refused, with what is wrong", "[vocabulary][address]") {
  static const std::string too_long = fmt::format("{:h>256}:80", "");
  const auto [text, why] = GENERATE(table<std::string_view, std::string_view>({
      {"", "port is missing"},
      {"host", "port is missing"},
      {"[::1]", "port is missing"},
      {"[::1]80", "port is missing"},
      {"host:", "not a number"},
      {"host:port", "not a number"},
      {"host:80x", "not a number"},
      {"host: 80", "not a number"},
      {"host:+80", "not a number"},
      {"host:-1", "not a number"},
      {"host:65536", "up to 65535"},
      {"host:99999999999999999999", "up to 65535"},
      {"::1:80", "brackets"},
      {"fe80::1:80", "brackets"},
      {"[::1:80", "not closed"},
      {"[]:80", "brackets are empty"},
      {"ho st:80", "character"},
      {"[[host]:80", "character"},
      {"ho]st:80", "character"},
      {"host/path:80", "character"},
      {"haul://host:80", "brackets"},
      {"ho\nst:80", "character"},
      {std::string_view("ho\0st:80", 8), "character"},
      {too_long, "longer than 255"},
  }));
  CAPTURE(text);
  const auto parsed = Address::parse(text);
  REQUIRE_FALSE(parsed.ok());
  CHECK(parsed.status().code() == StatusCode::invalid);
  CHECK_THAT(std::string(parsed.status().message()), Catch::Contains(std::string(why)));
}

TEST_CASE("loopback is what cannot leave this machine", "[vocabulary][address]") {
  for (const char* host : {"localhost", "127.0.0.1", "127.255.0.9", "::1", "::ffff:127.0.0.1"}) {
    CAPTURE(host);
    CHECK(Address{host, 1}.is_loopback());
  }
  for (const char* host :
       {"", "0.0.0.0", "::", "10.0.0.1", "128.0.0.1", "fe80::1", "::ffff:10.0.0.1", "localhost.example.com", "Localhost2"}) {
    CAPTURE(host);
    CHECK_FALSE(Address{host, 1}.is_loopback());
  }
}

TEST_CASE("addresses compare by host, then port", "[vocabulary][address]") {
  CHECK(Address{"a", 1} == Address{"a", 1});
  CHECK(Address{"a", 1} != Address{"a", 2});
  CHECK(Address{"a", 2} < Address{"b", 1});
}

TEST_CASE("whatever parses prints to something that parses the same", "[vocabulary][address]") {
  base::Random random(31);
  const std::string alphabet = "a1:.[]% -\x01/0";
  int parsed_count = 0;
  for (int round = 0; round < 60000; ++round) {
    std::string text;
    for (uint64_t length = random.below(12); length > 0; --length) text += alphabet[random.below(alphabet.size())];
    const auto parsed = Address::parse(text);
    if (!parsed.ok()) continue;
    ++parsed_count;
    const auto again = Address::parse(parsed.value().to_string());
    CAPTURE(text, parsed.value().to_string());
    REQUIRE(again.ok());
    CHECK(again.value() == parsed.value());
  }
  CHECK(parsed_count > 100);
}

}  // namespace
}  // namespace haul
