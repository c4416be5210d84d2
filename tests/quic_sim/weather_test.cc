// Transfers complete and are intact, whatever the links do to single datagrams.
#include <catch2/catch.hpp>

#include "quic_sim/scene.h"

namespace haul::quic_sim {
namespace {

using namespace std::chrono_literals;
using Kind = Traffic::Kind;

LinkOptions wide(Duration delay) {
  LinkOptions links;
  links.rate_bytes_s = 25'000'000;
  links.delay = delay;
  return links;
}

struct Weather {
  const char* name;
  void (*change)(LinkOptions& links);
};

constexpr std::array weathers = {
    Weather{"clear", [](LinkOptions&) {}},
    Weather{"0.1 % loss", [](LinkOptions& links) { links.loss = 0.001; }},
    Weather{"1 % loss", [](LinkOptions& links) { links.loss = 0.01; }},
    Weather{"10 % loss", [](LinkOptions& links) { links.loss = 0.1; }},
    Weather{"bursts of losses",
            [](LinkOptions& links) {
              links.burst = 0.003;
              links.burst_end = 0.05;
            }},
    Weather{"reordering",
            [](LinkOptions& links) {
              links.reorder = 0.05;
              links.reorder_delay = 8ms;
            }},
    Weather{"duplication", [](LinkOptions& links) { links.duplicate = 0.2; }},
    Weather{"corruption", [](LinkOptions& links) { links.corrupt = 0.02; }},
    Weather{"jitter", [](LinkOptions& links) { links.jitter = 15ms; }},
    Weather{"a short queue", [](LinkOptions& links) { links.queue_bytes = 20'000; }},
};

void move(const Weather& weather, Kind kind, Duration delay, uint64_t bytes, uint64_t seed) {
  CAPTURE(weather.name, static_cast<int>(kind), delay.count(), seed);
  LinkOptions links = wide(delay);
  weather.change(links);
  Scene scene({.seed = seed, .links = links});
  Traffic from_x(scene, true, kind, bytes, seed);
  Traffic from_y(scene, false, kind, bytes / 4, seed + 1);
  finish(scene, {&from_x, &from_y}, 120s);
}

TEST_CASE("writes arrive whole in every weather", "[quic_sim]") {
  for (const Weather& weather : weathers) move(weather, Kind::writes, 10ms, 1'500'000, 1);
}

TEST_CASE("reads arrive whole in every weather", "[quic_sim]") {
  for (const Weather& weather : weathers) move(weather, Kind::reads, 10ms, 1'500'000, 2);
}

TEST_CASE("many small operations arrive whole in every weather", "[quic_sim]") {
  for (const Weather& weather : weathers) move(weather, Kind::small, 3ms, 700'000, 3);
}

TEST_CASE("messages arrive whole and in order in every weather", "[quic_sim]") {
  for (const Weather& weather : weathers) move(weather, Kind::messages, 3ms, 700'000, 4);
}

TEST_CASE("all at one time arrives whole in every weather, near and far", "[quic_sim]") {
  for (const Weather& weather : weathers) {
    for (const Duration delay : {Duration(50us), Duration(100ms)}) move(weather, Kind::mixed, delay, 1'000'000, 5);
  }
}

TEST_CASE("a burst of losses ends in time, however few datagrams meet it", "[quic_sim]") {
  Scene scene({.seed = 6, .links = wide(1ms)});
  LinkOptions links = wide(1ms);
  links.burst = 0.5;
  links.burst_end = 0;  // by datagrams: never
  scene.network().set_links(links);
  Traffic from_x(scene, true, Kind::messages, 100, 6);
  finish(scene, {&from_x}, 60s);
}

}  // namespace
}  // namespace haul::quic_sim
