// Congestion marks (RFC 3168): queues that mark instead of dropping, and ways that spoil marks.
#include <catch2/catch.hpp>
#include <string>
#include <string_view>

#include "quic_sim/scene.h"

namespace haul::quic_sim {
namespace {

using namespace std::chrono_literals;
using Kind = Traffic::Kind;

// The queue is half a bandwidth-delay product long.
LinkOptions short_way() {
  LinkOptions links = way();
  links.queue_bytes = 125'000;
  return links;
}

Scene::Options on(const LinkOptions& links, const std::string& controller = "hub") {
  return {.links = links, .arena_bytes = 16U << 20, .controller = controller};
}

Duration move(Scene& scene, uint64_t bytes) {
  Traffic traffic(scene, true, Kind::writes, bytes, 1);
  const TimePoint begin = scene.now();
  finish(scene, {&traffic}, 20s);
  return scene.now() - begin;
}

TEST_CASE("a queue that marks slows its sender down before it is full", "[quic_sim]") {
  constexpr uint64_t bytes = 12'000'000;
  Scene unmarked(on(short_way(), "cubic"));
  move(unmarked, bytes);
  CHECK(unmarked.network().marked() == 0);
  CHECK(unmarked.network().refused() > 0);

  LinkOptions links = short_way();
  links.mark_above = 2ms;
  for (const char* controller : {"cubic", "hub"}) {
    CAPTURE(controller);
    // The start of hub fills a short queue before anything that was marked can come back.
    links.queue_bytes = controller == std::string_view("hub") ? 500'000 : short_way().queue_bytes;
    Scene marked(on(links, controller));
    const Duration time = move(marked, bytes);
    CHECK(marked.network().refused() == 0);
    CHECK(marked.rig.x.transport->sample(marked.link.at_x).bytes_lost == 0);
    CHECK(marked.network().marked() > 0);
    CHECK(time < 1500ms);  // 960 ms at the link's rate
  }
}

TEST_CASE("ways that spoil marks carry as much as others", "[quic_sim]") {
  for (const links::Marks marks : {links::Marks::kept, links::Marks::bleached, links::Marks::changed, links::Marks::spoilt}) {
    CAPTURE(static_cast<int>(marks));
    LinkOptions links = short_way();
    links.marks = marks;
    Scene scene(on(links));
    CHECK(move(scene, 12'000'000) < 1500ms);
  }
}

TEST_CASE("a way that begins to take marks away goes on carrying", "[quic_sim]") {
  Scene scene(on(short_way()));
  LinkOptions links = short_way();
  links.marks = links::Marks::bleached;
  scene.later(200ms, [&scene, links] { scene.network().set_links(links); });
  CHECK(move(scene, 12'000'000) < 1500ms);
}

}  // namespace
}  // namespace haul::quic_sim
