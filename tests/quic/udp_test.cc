// UDP sockets.
#include "quic/udp.h"

#include <arpa/inet.h>

#include <array>
#include <catch2/catch.hpp>
#include <cstring>
#include <thread>
#include <vector>

namespace haul::quic {
namespace {

using namespace std::chrono_literals;

net::Endpoint loopback(int family) {
  net::Endpoint local;
  if (family == AF_INET) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    std::memcpy(&local.storage, &address, sizeof(address));
    local.bytes = sizeof(address);
  } else {
    sockaddr_in6 address{};
    address.sin6_family = AF_INET6;
    address.sin6_addr = in6addr_loopback;
    std::memcpy(&local.storage, &address, sizeof(address));
    local.bytes = sizeof(address);
  }
  return local;
}

TEST_CASE("a socket tells how late it has become", "[quic]") {
  const auto socket = open_udp(loopback(AF_INET), false, 65536);
  REQUIRE(socket.ok());
  const TimePoint now = system_clock().now();
  CHECK((*socket)->time(now - 1s) >= now);
  CHECK((*socket)->time(now + 1h) == now + 1h);  // never back
}

TEST_CASE("a datagram that waited for its reader tells when it came", "[quic]") {
  const auto from = open_udp(loopback(AF_INET), false, 65536);
  const auto to = open_udp(loopback(AF_INET), false, 65536);
  REQUIRE(from.ok());
  REQUIRE(to.ok());
  const std::vector<std::byte> bytes(100);
  // The kernel begins to note the time of coming a little after it was asked to; until then it notes that of reading.
  bool noted = false;
  for (int attempt = 0; attempt < 50 && !noted; ++attempt) {
    CHECK((*to)->receive().bytes.empty());
    const TimePoint before = system_clock().now();
    REQUIRE((*from)->send({.bytes = bytes, .datagram_bytes = bytes.size(), .ecn = 0, .remote = (*to)->local()}));
    std::this_thread::sleep_for(20ms);
    const TimePoint reads = system_clock().now();
    const Burst burst = (*to)->receive();
    REQUIRE(burst.came);
    // Two clocks are compared, one of which may be adjusted meanwhile.
    CHECK(*burst.came >= before - 1ms);
    noted = *burst.came <= reads - 10ms;
  }
  CHECK(noted);
}

TEST_CASE("marks travel with datagrams, one by one and in bursts", "[quic]") {
  for (const int family : {AF_INET, AF_INET6}) {
    CAPTURE(family);
    const auto from = open_udp(loopback(family), false, 1U << 20);
    const auto to = open_udp(loopback(family), false, 1U << 20);
    if (family == AF_INET6 && !from.ok()) continue;  // IPv6 is switched off
    REQUIRE(from.ok());
    REQUIRE(to.ok());
    const std::vector<std::byte> bytes(6000);
    for (const uint8_t ecn : std::array<uint8_t, 5>{2, 3, 0, 1, 2}) {
      for (const size_t sent : {size_t{1200}, bytes.size()}) {
        REQUIRE((*from)->send(
            {.bytes = std::span(bytes).first(sent), .datagram_bytes = 1200, .ecn = ecn, .remote = (*to)->local()}));
      }
    }
    for (const int ecn : {2, 3, 0, 1, 2}) {
      size_t received = 0;
      while (received < 1200 + bytes.size()) {
        const Burst burst = (*to)->receive();
        REQUIRE_FALSE(burst.bytes.empty());
        CHECK(burst.ecn == ecn);
        CHECK(burst.datagram_bytes == 1200);
        received += burst.bytes.size();
      }
    }
  }
}

}  // namespace
}  // namespace haul::quic
