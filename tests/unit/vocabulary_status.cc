// Unit tests of Status and Result.
#include <catch2/catch.hpp>
#include <cerrno>
#include <memory>
#include <set>
#include <string>

#include "haul/status.h"

namespace haul {
namespace {

TEST_CASE("a default status is ok and says nothing", "[vocabulary][status]") {
  const Status status;
  CHECK(status.ok());
  CHECK(status.code() == StatusCode::ok);
  CHECK(status.message().empty());
  CHECK(status.system_error() == 0);
  CHECK(status.to_string() == "ok");
}

TEST_CASE("a status keeps its code, message and system error", "[vocabulary][status]") {
  const Status status(StatusCode::refused, "grant 7 was revoked", 13);
  CHECK_FALSE(status.ok());
  CHECK(status.code() == StatusCode::refused);
  CHECK(status.message() == "grant 7 was revoked");
  CHECK(status.system_error() == 13);
  CHECK(status.to_string() == "refused: grant 7 was revoked");
  CHECK(Status(StatusCode::busy, "").to_string() == "busy");
}

TEST_CASE("copies share the message and outlive the original", "[vocabulary][status]") {
  auto original = std::make_unique<Status>(StatusCode::corrupt, std::string(100, 'x'));
  const Status copy = *original;
  CHECK(copy.message().data() == original->message().data());
  original.reset();
  CHECK(copy.message() == std::string(100, 'x'));
}

TEST_CASE("an errno's text is appended", "[vocabulary][status]") {
  const Status status = Status::from_errno(StatusCode::unavailable, ECONNREFUSED, "connecting to 127.0.0.1:9");
  CHECK(status.code() == StatusCode::unavailable);
  CHECK(status.system_error() == ECONNREFUSED);
  CHECK(status.message() == "connecting to 127.0.0.1:9: Connection refused");
}

TEST_CASE("every code has a name of its own", "[vocabulary][status]") {
  std::set<std::string_view> names;
  for (uint8_t code = 0; code <= static_cast<uint8_t>(StatusCode::internal); ++code) {
    const auto name = to_string(static_cast<StatusCode>(code));
    CHECK(name != "unknown");
    names.insert(name);
  }
  CHECK(names.size() == static_cast<size_t>(StatusCode::internal) + 1);
  CHECK(to_string(static_cast<StatusCode>(200)) == "unknown");
  CHECK(to_string(StatusCode::peer_lost) == "peer_lost");
}

TEST_CASE("a result holds a value or the reason why not", "[vocabulary][status]") {
  Result<std::string> good = std::string("there");
  CHECK(good.ok());
  CHECK(static_cast<bool>(good));
  CHECK(good.status().ok());
  CHECK(good.value() == "there");
  CHECK(good->size() == 5);
  CHECK(*std::move(good) == "there");

  const Result<std::string> bad = Status(StatusCode::invalid, "no name");
  CHECK_FALSE(bad.ok());
  CHECK(bad.status().code() == StatusCode::invalid);
  CHECK(bad.status().message() == "no name");
}

TEST_CASE("a result may hold what can only be moved", "[vocabulary][status]") {
  Result<std::unique_ptr<int>> made = std::make_unique<int>(3);
  REQUIRE(made.ok());
  const std::unique_ptr<int> taken = std::move(made).value();
  CHECK(*taken == 3);
}

}  // namespace
}  // namespace haul
