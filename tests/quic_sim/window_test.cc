// The library's own window, which must not keep what is lost for ever.
#include <algorithm>
#include <catch2/catch.hpp>

#include "quic_sim/scene.h"

namespace haul::quic_sim {
namespace {

using namespace std::chrono_literals;
using Kind = Traffic::Kind;

/// When the side last sent something large.
TimePoint last_payload(Scene& scene, bool from_x) {
  constexpr size_t large = 1000;
  const uint32_t to = from_x ? 0x0a000002 : 0x0a000001;
  const auto& all = scene.network().recorded();
  const auto last = std::find_if(all.rbegin(), all.rend(),
                                 [&](const links::Seen& seen) { return seen.bytes > large && seen.to.address == to; });
  return last != all.rend() ? last->at : TimePoint();
}

// For a fraction of a second every few the library's controller looks for the lowest round trip, with half the window that it
// had. Until so much less is in flight nothing is sent, and where the last packet that is watched has arrived before, nobody
// would miss what is lost then.
TEST_CASE("what is lost while the library's window shrinks is sent again by either side", "[quic_sim]") {
  for (const bool from_x : {true, false}) {
    for (Duration delay = 40ms; delay < 60ms; delay += 4ms) {
      CAPTURE(from_x, delay.count());
      LinkOptions links;
      links.rate_bytes_s = 1'000'000;
      links.delay = delay;
      Scene scene({.links = links, .arena_bytes = 9U << 20});
      scene.network().record(true);
      Traffic traffic(scene, from_x, Kind::writes, 8'000'000, 1);
      const TimePoint begin = scene.now();
      const auto shrinks = [&] {
        traffic.pump();
        return scene.now() - begin > 3s && scene.now() - last_payload(scene, from_x) > 30ms;
      };
      REQUIRE(scene.run(shrinks, 8s));
      scene.network().cut(scene.x_host(), scene.y_host());
      scene.later(300ms, [&] { scene.network().heal(scene.x_host(), scene.y_host()); });
      const auto done = [&] { return traffic.pump(), traffic.done(); };
      CHECK(scene.run(done, 12s));
      CHECK(scene.network().spins() == 0);
    }
  }
}

}  // namespace
}  // namespace haul::quic_sim
