// Keys that are renewed while data flows (RFC 9001 section 6).
#include <algorithm>
#include <catch2/catch.hpp>
#include <cstdlib>
#include <string>
#include <string_view>

#include "quic_sim/scene.h"

namespace haul::quic_sim {
namespace {

using namespace std::chrono_literals;
using Kind = Traffic::Kind;

/// What both ends say of it, where they agree.
int renewals(const Scene& scene) {
  const auto told = [](const contract::End& end, ConnectionId connection) {
    const std::string text = end.transport->describe(connection);
    constexpr std::string_view before = "keys renewed ";
    const size_t at = text.find(before);
    return at == std::string::npos ? 0 : std::stoi(text.substr(at + before.size()));
  };
  const int x = told(scene.rig.x, scene.link.at_x);
  const int y = told(scene.rig.y, scene.link.at_y);
  CAPTURE(x, y);
  // Each counts a renewal when the next may begin, one a little before the other.
  CHECK(std::abs(x - y) <= 1);
  return std::min(x, y);
}

TEST_CASE("data outlives several renewals of keys, and the peer follows each", "[quic_sim]") {
  for (const bool from_x : {true, false}) {
    CAPTURE(from_x);
    Scene scene({.links = way(), .arena_bytes = 16U << 20, .renew_keys_bytes = 300'000});
    Traffic traffic(scene, from_x, Kind::writes, 12'000'000, 1);
    finish(scene, {&traffic}, 5s);
    CHECK(renewals(scene) >= 4);
  }
}

TEST_CASE("both sides may want new keys at once", "[quic_sim]") {
  LinkOptions links = way();
  links.loss = 0.02;
  links.reorder = 0.05;
  Scene scene({.links = links, .arena_bytes = 8U << 20, .renew_keys_bytes = 100'000});
  Traffic from_x(scene, true, Kind::mixed, 6'000'000, 1);
  Traffic from_y(scene, false, Kind::mixed, 6'000'000, 2);
  finish(scene, {&from_x, &from_y}, 20s);
  CHECK(renewals(scene) >= 4);
}

TEST_CASE("keys are renewed by age, also of connections that say little", "[quic_sim]") {
  Scene scene({.links = way(), .renew_keys_after = 10s});
  scene.run_for(65s);
  CHECK(renewals(scene) >= 4);
  Traffic traffic(scene, true, Kind::mixed, 300'000, 1);
  finish(scene, {&traffic}, 5s);
}

TEST_CASE("keys last where nothing asks for others", "[quic_sim]") {
  Scene scene({.links = way()});
  Traffic traffic(scene, true, Kind::writes, 1'500'000, 1);
  finish(scene, {&traffic}, 5s);
  CHECK(renewals(scene) == 0);
}

}  // namespace
}  // namespace haul::quic_sim
