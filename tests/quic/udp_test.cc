// UDP sockets.
#include "quic/udp.h"

#include <arpa/inet.h>

#include <catch2/catch.hpp>
#include <cstring>

namespace haul::quic {
namespace {

using namespace std::chrono_literals;

TEST_CASE("a socket tells how late it has become", "[quic]") {
  net::Endpoint local;
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  std::memcpy(&local.storage, &address, sizeof(address));
  local.bytes = sizeof(address);
  const auto socket = open_udp(local, false, 65536);
  REQUIRE(socket.ok());
  const TimePoint now = system_clock().now();
  CHECK((*socket)->time(now - 1s) >= now);
  CHECK((*socket)->time(now + 1h) == now + 1h);  // never back
}

}  // namespace
}  // namespace haul::quic
