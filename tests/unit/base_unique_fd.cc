// Unit tests of base::UniqueFd.
#include <fcntl.h>

#include <catch2/catch.hpp>

#include "base/unique_fd.h"

namespace haul::base {
namespace {

int open_null() {
  const int fd = ::open("/dev/null", O_RDONLY | O_CLOEXEC);
  REQUIRE(fd >= 0);
  return fd;
}

bool is_open(int fd) { return ::fcntl(fd, F_GETFD) >= 0; }

TEST_CASE("a descriptor is closed with its owner", "[base][unique_fd]") {
  const int fd = open_null();
  {
    const UniqueFd owner(fd);
    CHECK(owner);
    CHECK(owner.get() == fd);
    CHECK(is_open(fd));
  }
  CHECK_FALSE(is_open(fd));
}

TEST_CASE("an empty owner owns nothing", "[base][unique_fd]") {
  UniqueFd owner;
  CHECK_FALSE(owner);
  CHECK(owner.get() == -1);
  owner.reset();
  CHECK(owner.release() == -1);
}

TEST_CASE("moving hands over, and closes what was there", "[base][unique_fd]") {
  const int first = open_null();
  const int second = open_null();
  UniqueFd a(first);
  UniqueFd b(second);
  a = std::move(b);
  CHECK_FALSE(is_open(first));
  CHECK(a.get() == second);
  CHECK_FALSE(b);  // NOLINT(bugprone-use-after-move): empty by promise
  const UniqueFd c(std::move(a));
  CHECK(c.get() == second);
  CHECK(is_open(second));
}

TEST_CASE("moving to itself keeps the descriptor", "[base][unique_fd]") {
  const int fd = open_null();
  UniqueFd owner(fd);
  UniqueFd& same = owner;
  owner = std::move(same);
  CHECK(owner.get() == fd);
  CHECK(is_open(fd));
}

TEST_CASE("release gives up ownership, reset replaces", "[base][unique_fd]") {
  const int first = open_null();
  UniqueFd owner(first);
  CHECK(owner.release() == first);
  CHECK(is_open(first));
  owner.reset(first);
  const int second = open_null();
  owner.reset(second);
  CHECK_FALSE(is_open(first));
  CHECK(owner.get() == second);
}

}  // namespace
}  // namespace haul::base
