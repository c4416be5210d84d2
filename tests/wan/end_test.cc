// The ends of the path are worlds of their own. Needs root and /dev/net/tun; says so where it can't look.
#include "wan/end.h"

#include <arpa/inet.h>
#include <sys/socket.h>

#include <catch2/catch.hpp>

#include "wan/child.h"

namespace {

/// Listens on a port of the system's choice, or on that one. -1: it can't.
haul::base::UniqueFd listener(uint16_t& port) {
  haul::base::UniqueFd socket(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof(address);
  auto* plain = reinterpret_cast<sockaddr*>(&address);
  if (::bind(socket.get(), plain, size) != 0 || ::listen(socket.get(), 1) != 0 ||
      ::getsockname(socket.get(), plain, &size) != 0) {
    socket.reset();
  }
  port = ntohs(address.sin_port);
  return socket;
}

}  // namespace

TEST_CASE("who listens outside is nobody at an end") {
  const auto end = wan::End::make("10.200.0.1", 1'000'000);
  if (!end && (end.status().code() == haul::StatusCode::refused || end.status().code() == haul::StatusCode::unsupported)) {
    WARN("not tested: " << end.status().to_string());
    return;
  }
  INFO(end.status().to_string());
  REQUIRE(end.ok());
  uint16_t port = 0;
  const auto outside = listener(port);
  REQUIRE(outside);
  CHECK_FALSE(wan::listens(*end, port));
  haul::base::UniqueFd within;
  const haul::Status status = end->inside([&]() -> haul::Status {
    within = listener(port);
    return {};
  });
  REQUIRE(status.ok());
  REQUIRE(within);
  CHECK(wan::listens(*end, port));
}
