// Ways that swallow datagrams above a size without a word.
#include <catch2/catch.hpp>

#include "quic_sim/scene.h"

namespace haul::quic_sim {
namespace {

using namespace std::chrono_literals;
using Kind = Traffic::Kind;

LinkOptions way() {
  LinkOptions links;
  links.rate_bytes_s = 12'500'000;
  links.delay = 10ms;
  return links;
}

void move(Scene& scene, Kind kind, Duration limit) {
  Traffic from_x(scene, true, kind, 1'500'000, 1);
  Traffic from_y(scene, false, kind, 1'500'000, 2);
  finish(scene, {&from_x, &from_y}, limit);
}

TEST_CASE("payload fits the way from the start", "[quic_sim]") {
  for (const size_t most : {1200U, 1252U, 1300U, 1399U, 1452U}) {
    CAPTURE(most);
    LinkOptions links = way();
    links.most_payload_bytes = most;
    Scene scene({.links = links});
    move(scene, Kind::mixed, 10s);
  }
}

TEST_CASE("a transfer goes on where larger datagrams begin to vanish", "[quic_sim]") {
  for (const Kind kind : {Kind::writes, Kind::reads, Kind::small, Kind::messages}) {
    for (const size_t most : {1200U, 1350U}) {
      CAPTURE(static_cast<int>(kind), most);
      LinkOptions links = way();
      Scene scene({.links = links});
      links.most_payload_bytes = most;
      scene.later(100ms, [&scene, links] { scene.network().set_links(links); });
      move(scene, kind, 10s);
    }
  }
}

TEST_CASE("a transfer goes on where larger datagrams vanish one way only", "[quic_sim]") {
  for (const bool from_x_to_y : {true, false}) {
    CAPTURE(from_x_to_y);
    Scene scene({.links = way()});
    LinkOptions narrow = way();
    narrow.most_payload_bytes = 1280;
    const std::string from = from_x_to_y ? scene.x_host() : scene.y_host();
    const std::string to = from_x_to_y ? scene.y_host() : scene.x_host();
    scene.later(100ms, [&] { scene.network().set_link(from, to, narrow); });
    move(scene, Kind::mixed, 10s);
  }
}

TEST_CASE("payload that was set by hand, and does not fit, gives way", "[quic_sim]") {
  LinkOptions links = way();
  links.most_payload_bytes = 1452;
  Scene scene({.links = links, .udp_payload_bytes = 8000});
  move(scene, Kind::mixed, 10s);
}

}  // namespace
}  // namespace haul::quic_sim
