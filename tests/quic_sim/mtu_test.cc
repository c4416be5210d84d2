// Ways that swallow datagrams above a size without a word.
#include <algorithm>
#include <catch2/catch.hpp>
#include <functional>
#include <string>

#include "quic_sim/scene.h"

namespace haul::quic_sim {
namespace {

using namespace std::chrono_literals;
using Kind = Traffic::Kind;

LinkOptions jumbo_way() {
  LinkOptions links = way();
  links.most_payload_bytes = 8972;
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

TEST_CASE("what was lost is not sent again in packets whose size is only being tried", "[quic_sim]") {
  for (Duration begin = 20ms; begin < 120ms; begin += 5ms) {
    CAPTURE(begin.count());
    LinkOptions links = way();
    links.most_payload_bytes = 1300;
    Scene scene({.links = links});
    Traffic messages(scene, false, Kind::messages, 250'000, 1);
    Traffic reads(scene, true, Kind::reads, 1'000'000, 2);
    scene.later(begin, [&] { scene.network().cut(scene.x_host(), scene.y_host()); });
    scene.later(begin + 200ms, [&] { scene.network().heal(scene.x_host(), scene.y_host()); });
    finish(scene, {&messages, &reads}, 2s);
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

size_t packet_bytes(Scene& scene, bool of_x) {
  const contract::End& end = of_x ? scene.rig.x : scene.rig.y;
  const ConnectionId connection = of_x ? scene.link.at_x : scene.link.at_y;
  const std::string text = end.transport->describe(connection);
  const size_t at = text.find(" bytes a packet");
  REQUIRE(at != std::string::npos);
  return static_cast<size_t>(std::stoi(text.substr(text.rfind(' ', at - 1))));
}

TEST_CASE("the largest packets that the way carries are found with few that vanish", "[quic_sim]") {
  struct Way {
    size_t mtu;
    size_t least;
  };
  for (const Way each : {Way{1280, 1200}, Way{1500, 1445}, Way{4000, 3700}, Way{9000, 8940}, Way{65535, 8940}}) {
    constexpr size_t headers = 28;
    CAPTURE(each.mtu);
    LinkOptions links = way();
    links.most_payload_bytes = each.mtu - headers;
    Scene scene({.links = links, .arena_bytes = 16U << 20});
    scene.network().record(true);
    Traffic from_x(scene, true, Kind::writes, 12'000'000, 1);
    Traffic from_y(scene, false, Kind::writes, 12'000'000, 2);
    finish(scene, {&from_x, &from_y}, 10s);
    for (const bool of_x : {true, false}) {
      CHECK(packet_bytes(scene, of_x) >= each.least);
      CHECK(packet_bytes(scene, of_x) <= each.mtu - headers);
    }
    const auto& all = scene.network().recorded();
    const auto vanished =
        std::count_if(all.begin(), all.end(), [&](const links::Seen& seen) { return seen.bytes > each.mtu - headers; });
    CHECK(vanished <= 60);
  }
}

TEST_CASE("packets of a handshake are small", "[quic_sim]") {
  for (const uint32_t most : {0U, 65000U}) {
    Scene scene({.links = way(), .udp_payload_bytes = most});
    scene.network().record(true);
    scene.rig.connect();
    REQUIRE(scene.network().datagrams() > 5);
    for (const links::Seen& seen : scene.network().recorded()) CHECK(seen.bytes <= 1200);
  }
}

TEST_CASE("no packet is larger than what was asked for", "[quic_sim]") {
  for (const uint32_t most : {1200U, 1452U, 5000U}) {
    CAPTURE(most);
    Scene scene({.links = jumbo_way(), .udp_payload_bytes = most});
    scene.network().record(true);
    move(scene, Kind::mixed, 10s);
    size_t largest = 0;
    for (const links::Seen& seen : scene.network().recorded()) largest = std::max(largest, seen.bytes);
    CHECK(largest <= most);
    CHECK(largest + 8 > most);
  }
}

TEST_CASE("where jumbo frames begin to vanish packets shrink to what is carried", "[quic_sim]") {
  LinkOptions links = jumbo_way();
  Scene scene({.links = links, .arena_bytes = 32U << 20});
  scene.later(800ms, [&] {
    CHECK(packet_bytes(scene, true) > 8900);
    links.most_payload_bytes = 1472;
    scene.network().set_links(links);
  });
  Traffic traffic(scene, true, Kind::writes, 30'000'000, 1);
  finish(scene, {&traffic}, 10s);
  CHECK(packet_bytes(scene, true) > 1440);
  CHECK(packet_bytes(scene, true) <= 1472);
}

TEST_CASE("packets and controller start anew with another address of the peer, and not with another port", "[quic_sim]") {
  for (const bool moves : {true, false}) {
    CAPTURE(moves);
    Scene scene({.links = jumbo_way(), .translated = true, .arena_bytes = 32U << 20});
    Traffic traffic(scene, false, Kind::writes, 30'000'000, 1);
    const auto describe = [&] { return scene.rig.y.transport->describe(scene.link.at_y); };
    const auto starting = [&] { return describe().find("(startup)") != std::string::npos; };
    const auto pumped = [&](const std::function<bool()>& until) {
      return scene.run([&] { return traffic.pump(), until(); }, 5s);
    };
    REQUIRE(pumped([&] { return packet_bytes(scene, false) > 8900 && !starting(); }));
    scene.network().rebind(scene.x_host(), moves);
    const std::string before = describe().substr(0, describe().find(','));
    REQUIRE(pumped([&] { return describe().substr(0, describe().find(',')) != before; }));
    CHECK(starting() == moves);
    CHECK((packet_bytes(scene, false) == 1200) == moves);
    finish(scene, {&traffic}, 10s);
    CHECK(packet_bytes(scene, false) > 8900);
  }
}

}  // namespace
}  // namespace haul::quic_sim
