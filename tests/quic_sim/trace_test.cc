// A failure is a seed: the same seed gives the same datagrams at the same times.
#include <catch2/catch.hpp>

#include "quic_sim/scene.h"

namespace haul::quic_sim {
namespace {

using namespace std::chrono_literals;

std::vector<links::Seen> trace(uint64_t seed) {
  LinkOptions links;
  links.rate_bytes_s = 12'500'000;
  links.delay = 5ms;
  links.jitter = 1ms;
  links.loss = 0.02;
  links.burst = 0.001;
  links.reorder = 0.02;
  links.duplicate = 0.02;
  links.corrupt = 0.02;
  Scene scene({.seed = seed, .links = links, .translated = true});
  scene.network().record(true);
  scene.later(50ms, [&] { scene.network().rebind(scene.x_host(), true); });
  Traffic from_x(scene, true, Traffic::Kind::mixed, 1'000'000, seed);
  Traffic from_y(scene, false, Traffic::Kind::mixed, 1'000'000, seed + 1);
  finish(scene, {&from_x, &from_y}, 120s);
  return scene.network().recorded();
}

TEST_CASE("the same seed gives the same datagrams at the same times", "[quic_sim]") {
  for (uint64_t seed = 1; seed <= 5; ++seed) {
    CAPTURE(seed);
    const auto first = trace(seed);
    const auto again = trace(seed);
    const auto [one, other] = std::mismatch(first.begin(), first.end(), again.begin(), again.end());
    INFO("the same for " << one - first.begin() << " of " << first.size() << " datagrams");
    CHECK((one == first.end() && other == again.end()));
    CHECK(first.size() > 1000);
  }
  CHECK(trace(1) != trace(2));
}

}  // namespace
}  // namespace haul::quic_sim
