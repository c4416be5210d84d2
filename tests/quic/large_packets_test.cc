// When packets shrink, and when they may grow again.
#include "quic/large_packets.h"

#include <catch2/catch.hpp>

namespace haul::quic {
namespace {

using namespace std::chrono_literals;

constexpr size_t large = safe_packet_bytes + 1;
constexpr TimePoint start{1000s};

TEST_CASE("packets shrink when ten large ones in a row are lost", "[quic]") {
  LargePackets packets;
  for (int i = 0; i < 9; ++i) packets.lost(start, large);
  CHECK(packets.allowed(start));
  packets.acknowledged(safe_packet_bytes);
  packets.lost(start, safe_packet_bytes);
  CHECK(packets.allowed(start));
  packets.lost(start, large);
  CHECK_FALSE(packets.allowed(start));
}

TEST_CASE("a large packet that arrived is reason enough for more", "[quic]") {
  LargePackets packets;
  for (int i = 0; i < 9; ++i) packets.lost(start, large);
  packets.acknowledged(large);
  packets.lost(start, large);
  CHECK(packets.allowed(start));
  packets.timeouts(start, 2);
  CHECK_FALSE(packets.allowed(start));
  packets.acknowledged(large);
  CHECK(packets.allowed(start));
}

TEST_CASE("once shrunk, one a second is tried, and all after a minute", "[quic]") {
  LargePackets packets;
  packets.timeouts(start, 1);
  CHECK(packets.allowed(start));
  packets.timeouts(start, 2);
  packets.acknowledged(safe_packet_bytes);
  CHECK_FALSE(packets.try_one(start + 999ms));
  CHECK(packets.try_one(start + 1s));
  CHECK_FALSE(packets.try_one(start + 1s));
  packets.timeouts(start + 30s, 3);
  CHECK_FALSE(packets.allowed(start + 59s));
  CHECK(packets.allowed(start + 60s));
  CHECK(packets.allowed(start + 60s));
}

TEST_CASE("between two tries a smaller packet has to arrive", "[quic]") {
  LargePackets packets;
  packets.timeouts(start, 2);
  CHECK_FALSE(packets.try_one(start + 1s));
  packets.acknowledged(safe_packet_bytes);
  CHECK(packets.try_one(start + 1s));
  packets.lost(start + 2s, large);
  CHECK_FALSE(packets.try_one(start + 2s));
  packets.acknowledged(safe_packet_bytes);
  CHECK(packets.try_one(start + 2s));
}

}  // namespace
}  // namespace haul::quic
