// An address translator on the way gives the side that dialed another port, or another address, while things move.
#include <catch2/catch.hpp>

#include "quic_sim/scene.h"

namespace haul::quic_sim {
namespace {

using namespace std::chrono_literals;
using Kind = Traffic::Kind;

Scene::Options behind_translator(uint64_t seed) {
  LinkOptions links;
  links.rate_bytes_s = 12'500'000;
  links.delay = 10ms;
  return {.seed = seed, .links = links, .translated = true};
}

struct Change {
  bool moves;  // to another address, not only to another port
  Kind kind;
};

void go_on(const Change& change) {
  CAPTURE(change.moves, static_cast<int>(change.kind));
  Scene scene(behind_translator(1));
  Traffic from_x(scene, true, change.kind, 1'500'000, 1);
  Traffic from_y(scene, false, change.kind, 1'500'000, 2);
  scene.later(60ms, [&] { scene.network().rebind(scene.x_host(), change.moves); });
  finish(scene, {&from_x, &from_y}, 30s);
}

TEST_CASE("a transfer goes on behind another port", "[quic_sim]") {
  for (const Kind kind : {Kind::writes, Kind::reads, Kind::small, Kind::messages}) go_on({false, kind});
}

TEST_CASE("a transfer goes on behind another address", "[quic_sim]") {
  for (const Kind kind : {Kind::writes, Kind::reads, Kind::small, Kind::messages}) go_on({true, kind});
}

TEST_CASE("a side that only receives is found again", "[quic_sim]") {
  Scene scene(behind_translator(2));
  Traffic from_y(scene, false, Kind::writes, 1'500'000, 2);
  scene.later(60ms, [&] { scene.network().rebind(scene.x_host(), true); });
  finish(scene, {&from_y}, 30s);
}

TEST_CASE("a side that moved is found where larger datagrams have begun to vanish", "[quic_sim]") {
  for (const bool moves : {false, true}) {
    CAPTURE(moves);
    auto options = behind_translator(4);
    Scene scene(options);
    Traffic from_y(scene, false, Kind::writes, 1'500'000, 2);
    options.links.most_payload_bytes = 1280;
    scene.later(60ms, [&] {
      scene.network().set_links(options.links);
      scene.network().rebind(scene.x_host(), moves);
    });
    finish(scene, {&from_y}, 5s);
  }
}

TEST_CASE("a side that has nothing to say makes itself heard within a second or two", "[quic_sim]") {
  Scene scene(behind_translator(5));
  Traffic from_y(scene, false, Kind::writes, 1'500'000, 2);
  scene.later(60ms, [&] {
    scene.network().rebind(scene.x_host(), true);
    scene.network().cut(scene.x_host(), scene.y_host());
  });
  scene.later(160ms, [&] { scene.network().heal(scene.x_host(), scene.y_host()); });
  finish(scene, {&from_y}, 2500ms);
}

TEST_CASE("an outage while a side is looked for at its new address is outlived", "[quic_sim]") {
  for (Duration begin = 0ms; begin < 400ms; begin += 40ms) {
    CAPTURE(begin.count());
    auto options = behind_translator(6);
    options.links.rate_bytes_s = 1'000'000;
    Scene scene(options);
    Traffic from_y(scene, false, Kind::writes, 600'000, 2);
    scene.later(60ms, [&] { scene.network().rebind(scene.x_host(), true); });
    scene.later(60ms + begin, [&] { scene.network().cut(scene.x_host(), scene.y_host()); });
    scene.later(5s, [&] { scene.network().heal(scene.x_host(), scene.y_host()); });
    finish(scene, {&from_y}, 20s);
  }
}

TEST_CASE("the last piece is not waited for where it went to the address before", "[quic_sim]") {
  for (uint32_t bytes = 2000; bytes < 50'000; bytes += 500) {
    CAPTURE(bytes);
    const auto options = behind_translator(7);
    Scene scene(options);
    Traffic from_y(scene, false, Kind::writes, 0, 2);
    from_y.add_operation(Op::write, bytes);
    scene.later(15ms, [&] {
      LinkOptions silent = options.links;
      silent.loss = 1;
      scene.network().set_link(scene.y_host(), scene.x_host(), silent);
      scene.network().rebind(scene.x_host(), true);
      scene.rig.x.transport->send(scene.link.at_x, std::vector<std::byte>(100), scene.now());
    });
    scene.later(2s, [&] { scene.network().set_link(scene.y_host(), scene.x_host(), options.links); });
    finish(scene, {&from_y}, 12s);
  }
}

TEST_CASE("a transfer goes on however often the translator changes its mind", "[quic_sim]") {
  for (uint64_t seed = 1; seed <= 10; ++seed) {
    CAPTURE(seed);
    auto options = behind_translator(seed);
    options.links.loss = 0.01;
    Scene scene(options);
    Traffic from_x(scene, true, Kind::mixed, 1'500'000, seed);
    Traffic from_y(scene, false, Kind::mixed, 1'500'000, seed + 1);
    for (int i = 1; i <= 20; ++i) {
      const bool moves = scene.harness.random().chance(0.5);
      scene.later(i * Duration(7ms), [&scene, moves] { scene.network().rebind(scene.x_host(), moves); });
    }
    finish(scene, {&from_x, &from_y}, 60s);
  }
}

/// What y says of where x is.
bool says(const Scene& scene, const std::string& what) {
  return scene.rig.y.transport->describe(scene.link.at_y).find(what) != std::string::npos;
}

TEST_CASE("after a change of address, farewells and lanes find the peer", "[quic_sim]") {
  Scene scene(behind_translator(3));
  CHECK(says(scene, "192.0.2.1:"));
  scene.network().rebind(scene.x_host(), true);
  Traffic from_x(scene, true, Kind::mixed, 500'000, 1);
  finish(scene, {&from_x}, 30s);
  CHECK(says(scene, "192.0.2.2:"));
  const auto lane = scene.rig.join_beside(scene.link);
  scene.rig.y.transport->close(scene.link.at_y, CloseMode::abort, scene.now());
  // Long before anybody would miss the other.
  CHECK(scene.run([&] { return scene.rig.x.closed(scene.link.at_x).has_value(); }, 1s));
  CHECK_FALSE(scene.rig.x.closed(lane.at_x).has_value());
}

}  // namespace
}  // namespace haul::quic_sim
