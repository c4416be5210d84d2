// The search for the largest packets that a path carries.
#include "quic/packet_size.h"

#include <catch2/catch.hpp>
#include <vector>

namespace haul::quic {
namespace {

using namespace std::chrono_literals;

constexpr TimePoint start{1000s};

/// All probes of a search over a path that carries `path_bytes`.
std::vector<size_t> search(PacketSize& size, size_t path_bytes, TimePoint now = start) {
  std::vector<size_t> probes;
  while (const auto probe = size.probe(now)) {
    size.sent(*probe);
    CHECK_FALSE(size.probe(now));  // one at a time
    CHECK(size.is_probe(*probe));
    probes.push_back(*probe);
    if (*probe <= path_bytes) {
      size.acknowledged(*probe);
    } else {
      size.lost(now, *probe);
    }
  }
  return probes;
}

TEST_CASE("the search finds nearly what the path carries, with few probes", "[quic]") {
  for (size_t path = 1200; path <= 9100; path += 50) {
    CAPTURE(path);
    PacketSize size(jumbo_packet_bytes);
    CHECK(size.bytes() == safe_packet_bytes);
    const size_t probes = search(size, path).size();
    CHECK(probes <= 30);
    CHECK(size.bytes() <= path);
    CHECK(size.bytes() + size.bytes() / 16 + 1 >= std::min(path, jumbo_packet_bytes));
  }
}

TEST_CASE("nothing above the limit is tried", "[quic]") {
  for (const size_t most : {1200U, 1300U, 1452U, 8000U, 65000U}) {
    CAPTURE(most);
    PacketSize size(most);
    for (const size_t probe : search(size, SIZE_MAX)) CHECK(probe <= most);
    CHECK(size.bytes() == most);
  }
}

TEST_CASE("a size is tried three times", "[quic]") {
  PacketSize size(ethernet_packet_bytes);
  for (int i = 0; i < 2; ++i) {
    REQUIRE(size.probe(start) == ethernet_packet_bytes);
    size.sent(ethernet_packet_bytes);
    size.lost(start, ethernet_packet_bytes);
  }
  REQUIRE(size.probe(start) == ethernet_packet_bytes);
  size.sent(ethernet_packet_bytes);
  size.acknowledged(ethernet_packet_bytes);
  CHECK(size.bytes() == ethernet_packet_bytes);
}

TEST_CASE("a probe that became shorter counts as what it was", "[quic]") {
  PacketSize size(jumbo_packet_bytes);
  REQUIRE(size.probe(start));
  size.sent(1000);  // no probe
  REQUIRE(size.probe(start));
  size.sent(1400);
  size.lost(start, 1300);  // of another
  CHECK_FALSE(size.probe(start));
  size.acknowledged(1400);
  CHECK(size.bytes() == 1400);
}

TEST_CASE("packets shrink when ten large ones in a row are lost, and grow again", "[quic]") {
  PacketSize size(jumbo_packet_bytes);
  search(size, SIZE_MAX);
  for (int i = 0; i < 9; ++i) size.lost(start, jumbo_packet_bytes);
  size.acknowledged(safe_packet_bytes);
  size.lost(start, safe_packet_bytes);
  CHECK(size.bytes() == jumbo_packet_bytes);
  size.acknowledged(2000);
  for (int i = 0; i < 9; ++i) size.lost(start, jumbo_packet_bytes);
  CHECK(size.bytes() == jumbo_packet_bytes);
  size.lost(start, jumbo_packet_bytes);
  CHECK(size.bytes() == safe_packet_bytes);
  CHECK(size.is_probe(jumbo_packet_bytes));  // what else is lost of them is no sign of congestion
  size.lost(start, jumbo_packet_bytes);
  CHECK_FALSE(size.probe(start + 999ms));
  search(size, 1400, start + 1s);
  CHECK(size.bytes() > 1300);
  CHECK(size.bytes() <= 1400);
}

TEST_CASE("packets shrink after two timeouts", "[quic]") {
  PacketSize size(ethernet_packet_bytes);
  search(size, SIZE_MAX);
  size.timeouts(start, 1);
  CHECK(size.bytes() == ethernet_packet_bytes);
  size.timeouts(start, 2);
  CHECK(size.bytes() == safe_packet_bytes);
}

TEST_CASE("a search that is over begins again, sooner where little was found", "[quic]") {
  PacketSize size(jumbo_packet_bytes);
  search(size, 1300);
  const size_t found = size.bytes();
  CHECK_FALSE(size.probe(start + 59s));
  search(size, 1500, start + 60s);
  CHECK(size.bytes() > found);
  CHECK_FALSE(size.probe(start + 60s + 599s));
  search(size, SIZE_MAX, start + 60s + 600s);
  CHECK(size.bytes() == jumbo_packet_bytes);
}

}  // namespace
}  // namespace haul::quic
