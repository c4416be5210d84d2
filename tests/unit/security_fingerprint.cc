// Fingerprints as text and of bytes.
#include <catch2/catch.hpp>
#include <string>

#include "security/fingerprint.h"

namespace haul::security {
namespace {

const std::string of_abc =
    "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";  // FIPS 180-2 appendix B.1

TEST_CASE("a fingerprint is SHA-256", "[security][fingerprint]") {
  const auto made = Fingerprint::of_public_key(std::as_bytes(std::span("abc", 3)));
  REQUIRE(made.ok());
  CHECK(made->to_string() == of_abc);
  const auto of_nothing = Fingerprint::of_public_key({});
  REQUIRE(of_nothing.ok());
  CHECK(of_nothing->to_string() == "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
}

TEST_CASE("fingerprints are parsed and printed back", "[security][fingerprint]") {
  const auto parsed = Fingerprint::parse(of_abc);
  REQUIRE(parsed.ok());
  CHECK(parsed->bytes.front() == std::byte{0xba});
  CHECK(parsed->bytes.back() == std::byte{0xad});
  CHECK(parsed->to_string() == of_abc);
  std::string upper = of_abc;
  for (size_t i = 7; i < upper.size(); ++i) upper[i] = static_cast<char>(std::toupper(upper[i]));
  const auto again = Fingerprint::parse(upper);
  REQUIRE(again.ok());
  CHECK(*again == *parsed);
  CHECK(Fingerprint{} != *parsed);
}

TEST_CASE("wrong fingerprints are refused, with what is wrong", "[security][fingerprint]") {
  const auto [text, why] = GENERATE(table<std::string, std::string>({
      {"", "does not begin with sha256:"},
      {"sha256", "does not begin with sha256:"},
      {"SHA256:" + of_abc.substr(7), "does not begin with sha256:"},
      {of_abc.substr(7), "does not begin with sha256:"},
      {" " + of_abc, "does not begin with sha256:"},
      {"sha256:", "has 0 digits"},
      {of_abc.substr(0, of_abc.size() - 1), "has 63 digits"},
      {of_abc + "0", "has 65 digits"},
      {of_abc.substr(0, of_abc.size() - 1) + "g", "no hexadecimal digit"},
      {of_abc + " ", "no hexadecimal digit"},
      {"sha256:ba:78", "no hexadecimal digit"},
      {"sha256:" + std::string(64, '\0'), "no hexadecimal digit"},
  }));
  CAPTURE(text);
  const auto parsed = Fingerprint::parse(text);
  REQUIRE_FALSE(parsed.ok());
  CHECK(parsed.status().code() == StatusCode::invalid);
  const std::string message(parsed.status().message());
  CHECK_THAT(message, Catch::Contains(why));
  CHECK_THAT(message, Catch::Contains("expected sha256: and 64 hexadecimal digits"));
  CHECK(message.find('\0') == std::string::npos);
}

}  // namespace
}  // namespace haul::security
