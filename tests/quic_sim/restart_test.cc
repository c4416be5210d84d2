// A listener that takes the place of one that is gone.
#include <catch2/catch.hpp>
#include <string>

#include "quic_sim/scene.h"

namespace haul::quic_sim {
namespace {

using namespace std::chrono_literals;

/// How x's connection ended, after y's process was gone without a word and another listens there; empty: it did not, for 3 s.
std::string ended(bool resets_across_restarts, bool same_port) {
  Scene scene({.dead_after = 10s, .resets_across_restarts = resets_across_restarts});
  const std::string text = scene.rig.x.transport->describe(scene.link.at_x);
  const std::string before = " to " + scene.y_host() + ":";
  const size_t at = text.find(before);
  REQUIRE(at != std::string::npos);
  const auto port = static_cast<uint16_t>(std::stoi(text.substr(at + before.size())));

  scene.harness.crash("y");
  scene.rig.y.transport = scene.harness.make_transport("y");
  REQUIRE(scene.rig.y.transport->listen({scene.y_host(), port}).ok());
  if (!same_port) {
    scene.harness.crash("y");
    scene.rig.y.transport = scene.harness.make_transport("y");
    REQUIRE(scene.rig.y.transport->listen({scene.y_host(), static_cast<uint16_t>(port + 1)}).ok());
  }
  Traffic traffic(scene, true, Traffic::Kind::writes, 100'000, 1);
  std::string how;
  scene.run(
      [&] {
        traffic.pump();
        for (const auto& seen : scene.rig.x.seen) {
          if (seen.event.kind == Event::Kind::closed) how = seen.event.status.to_string();
        }
        return !how.empty();
      },
      3s);
  return how;
}

TEST_CASE("a listener that was started anew tells peers of the old one that their connections are gone", "[quic_sim]") {
  CHECK(ended(true, true).find("does not know the connection any more") != std::string::npos);
}

TEST_CASE("without a lasting secret, or at another port, they have to find out by themselves", "[quic_sim]") {
  CHECK(ended(false, true).empty());
  CHECK(ended(true, false).empty());
}

}  // namespace
}  // namespace haul::quic_sim
