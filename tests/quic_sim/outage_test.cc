// Ways that fall silent: for a while, for good, and peers that are gone.
#include <catch2/catch.hpp>
#include <vector>

#include "quic_sim/scene.h"

namespace haul::quic_sim {
namespace {

using namespace std::chrono_literals;
using Kind = Traffic::Kind;

Scene::Options options_of(uint64_t seed) {
  LinkOptions links;
  links.rate_bytes_s = 12'500'000;
  links.delay = 10ms;
  return {.seed = seed, .links = links};
}

void cut(Scene& scene) { scene.network().cut(scene.x_host(), scene.y_host()); }
void heal(Scene& scene) { scene.network().heal(scene.x_host(), scene.y_host()); }

TEST_CASE("a transfer outlives every outage below dead_after, and goes on soon after it", "[quic_sim]") {
  for (const Kind kind : {Kind::writes, Kind::reads, Kind::small, Kind::messages}) {
    for (const Duration outage : {Duration(300ms), Duration(2s), Duration(9500ms)}) {
      CAPTURE(static_cast<int>(kind), outage.count());
      Scene scene(options_of(1));
      Traffic from_x(scene, true, kind, 1'500'000, 1);
      Traffic from_y(scene, false, kind, 300'000, 2);
      scene.later(40ms, [&] { cut(scene); });
      scene.later(40ms + outage, [&] { heal(scene); });
      // The library's probes double their distance: the next one may be as far away as the outage was long.
      finish(scene, {&from_x, &from_y}, 2 * outage + 2s);
    }
  }
}

TEST_CASE("an outage one way only is outlived, too", "[quic_sim]") {
  for (const bool from_x_to_y : {true, false}) {
    CAPTURE(from_x_to_y);
    Scene scene(options_of(2));
    Traffic from_x(scene, true, Kind::mixed, 1'500'000, 1);
    Traffic from_y(scene, false, Kind::mixed, 1'500'000, 2);
    const LinkOptions whole = options_of(2).links;
    LinkOptions silent = whole;
    silent.loss = 1;
    const std::string from = from_x_to_y ? scene.x_host() : scene.y_host();
    const std::string to = from_x_to_y ? scene.y_host() : scene.x_host();
    scene.later(50ms, [&] { scene.network().set_link(from, to, silent); });
    scene.later(3s, [&] { scene.network().set_link(from, to, whole); });
    finish(scene, {&from_x, &from_y}, 12s);
  }
}

TEST_CASE("an outage without end is told on both sides, with all that was under way", "[quic_sim]") {
  Scene scene(options_of(3));
  Traffic from_x(scene, true, Kind::writes, 1'500'000, 1);
  Traffic from_y(scene, false, Kind::reads, 1'500'000, 2);
  scene.later(40ms, [&] { cut(scene); });
  const auto both_closed = [&] {
    from_x.pump();
    from_y.pump();
    return scene.rig.x.closed(scene.link.at_x) && scene.rig.y.closed(scene.link.at_y);
  };
  // Within about twice the time (haul/quic.h).
  REQUIRE(scene.run(both_closed, 25s));
  CHECK(scene.now() - TimePoint(1000s) >= 10s);
  for (const Status& status : {*scene.rig.x.closed(scene.link.at_x), *scene.rig.y.closed(scene.link.at_y)}) {
    INFO(status.to_string());
    CHECK(status.code() == StatusCode::peer_lost);
    CHECK(status.message().find("silent") != std::string_view::npos);
  }
  CHECK(scene.rig.x.record->operations_outstanding == 0);
  CHECK(scene.rig.y.record->operations_outstanding == 0);
}

TEST_CASE("a connection without traffic outlives a day, and notices an outage", "[quic_sim]") {
  Scene scene(options_of(4));
  for (int hour = 0; hour < 24; ++hour) {
    scene.run_for(std::chrono::hours(1));
    REQUIRE_FALSE(scene.rig.x.closed(scene.link.at_x).has_value());
    REQUIRE_FALSE(scene.rig.y.closed(scene.link.at_y).has_value());
  }
  Traffic from_x(scene, true, Kind::mixed, 300'000, 1);
  Traffic from_y(scene, false, Kind::mixed, 300'000, 2);
  finish(scene, {&from_x, &from_y}, 5s);
  cut(scene);
  CHECK(scene.run([&] { return scene.rig.x.closed(scene.link.at_x) && scene.rig.y.closed(scene.link.at_y); }, 25s));
}

TEST_CASE("whoever has forgotten a connection tells so at once", "[quic_sim]") {
  Scene scene(options_of(5));
  Traffic from_x(scene, true, Kind::mixed, 300'000, 1);
  finish(scene, {&from_x}, 5s);
  cut(scene);
  scene.rig.y.transport->close(scene.link.at_y, CloseMode::abort, scene.now());
  scene.run_for(2s);
  REQUIRE_FALSE(scene.rig.x.closed(scene.link.at_x).has_value());
  heal(scene);
  REQUIRE(scene.rig.x.transport->send(scene.link.at_x, std::vector<std::byte>(100), scene.now()));
  REQUIRE(scene.run([&] { return scene.rig.x.closed(scene.link.at_x).has_value(); }, 100ms));
  INFO(scene.rig.x.closed(scene.link.at_x)->to_string());
  CHECK(scene.rig.x.closed(scene.link.at_x)->code() == StatusCode::peer_lost);
  CHECK(scene.rig.x.closed(scene.link.at_x)->message().find("does not know the connection") != std::string_view::npos);
}

TEST_CASE("where nobody answers, the time-out tells what to look at", "[quic_sim]") {
  Scene scene(options_of(6));
  cut(scene);
  ConnectOptions options;
  options.address = scene.rig.address;
  options.timeout = 3s;
  const auto opened = scene.rig.x.transport->open(options, scene.now());
  REQUIRE(opened.ok());
  REQUIRE(scene.rig.x.transport->join(opened->connection, {}, scene.now()).ok());
  const TimePoint began = scene.now();
  REQUIRE(scene.run([&] { return scene.rig.x.closed(opened->connection).has_value(); }, 5s));
  CHECK(scene.now() - began == Duration(3s));
  CHECK(scene.rig.x.closed(opened->connection)->code() == StatusCode::unavailable);
}

}  // namespace
}  // namespace haul::quic_sim
