// Random schedules of weather, outages, translators and narrow ways: whatever comes together, all arrives whole.
#include <catch2/catch.hpp>
#include <cstdlib>
#include <sstream>
#include <utility>

#include "quic_sim/scene.h"

namespace haul::quic_sim {
namespace {

using namespace std::chrono_literals;

Duration milliseconds_below(base::Random& random, uint64_t bound) { return std::chrono::milliseconds(random.below(bound)); }

LinkOptions any_links(base::Random& random) {
  LinkOptions links;
  links.rate_bytes_s = 500'000 * (1 + random.below(200));
  links.delay = std::chrono::microseconds(20 + random.below(random.chance(0.5) ? 2000 : 80'000));
  links.queue_bytes = 20'000 + random.below(500'000);
  if (random.chance(0.4)) links.jitter = milliseconds_below(random, 20);
  if (random.chance(0.4)) links.loss = 0.0002 * static_cast<double>(random.below(300));
  if (random.chance(0.2)) links.burst = 0.002;
  if (random.chance(0.3)) links.reorder = 0.0005 * static_cast<double>(random.below(100));
  links.reorder_delay = 1ms + milliseconds_below(random, 20);
  if (random.chance(0.3)) links.duplicate = 0.05;
  if (random.chance(0.3)) links.corrupt = 0.01;
  return links;
}

void one(uint64_t seed) {
  CAPTURE(seed);
  base::Random random(seed);
  const LinkOptions links = any_links(random);
  Scene scene({.seed = seed, .links = links, .translated = random.chance(0.5), .arena_bytes = 600'000});
  auto kind = [&] { return static_cast<Traffic::Kind>(random.below(5)); };
  Traffic from_x(scene, true, kind(), random.below(500'000), seed);
  Traffic from_y(scene, false, kind(), random.below(500'000), seed + 1);
  for (uint64_t i = random.below(4); i > 0; --i) {
    const bool moves = random.chance(0.5);
    scene.later(milliseconds_below(random, 2000), [&scene, moves] { scene.network().rebind(scene.x_host(), moves); });
  }
  for (uint64_t i = random.below(3); i > 0; --i) {
    const Duration begin = milliseconds_below(random, 2000);
    scene.later(begin, [&scene] { scene.network().cut(scene.x_host(), scene.y_host()); });
    scene.later(begin + milliseconds_below(random, 3000), [&scene] { scene.network().heal(scene.x_host(), scene.y_host()); });
  }
  if (random.chance(0.3)) {
    LinkOptions narrow = any_links(random);
    narrow.most_payload_bytes = 1200 + random.below(260);
    scene.later(milliseconds_below(random, 1500), [&scene, narrow] { scene.network().set_links(narrow); });
  }
  scene.later(6s, [&scene] { scene.network().heal(scene.x_host(), scene.y_host()); });
  finish(scene, {&from_x, &from_y}, 300s);
}

// HAUL_QUIC_SEEDS=FIRST:COUNT runs others than these.
std::pair<uint64_t, uint64_t> seeds_asked_for() {
  const char* text = std::getenv("HAUL_QUIC_SEEDS");
  std::pair<uint64_t, uint64_t> seeds{1, 79};
  if (text == nullptr) return seeds;
  std::istringstream in(text);
  char colon = 0;
  REQUIRE((in >> seeds.first >> colon >> seeds.second && colon == ':'));
  return seeds;
}

TEST_CASE("whatever comes together, all arrives whole", "[quic_sim]") {
  const auto [first, count] = seeds_asked_for();
  for (uint64_t seed = first; seed < first + count; ++seed) one(seed);
}

TEST_CASE("schedules that failed once pass", "[quic_sim]") {
  for (const uint64_t seed : {84U, 235U, 286U, 437U, 456U, 841U, 855U, 928U, 1279U, 1363U, 2767U}) one(seed);
}

}  // namespace
}  // namespace haul::quic_sim
