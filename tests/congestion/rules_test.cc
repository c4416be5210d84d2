// Rules that controllers take from standards, one by one, by events written out by hand.
#include <catch2/catch.hpp>

#include "congestion/cubic_window.h"

namespace {

using namespace std::chrono_literals;
using haul::TimePoint;

constexpr TimePoint start(1000s);
constexpr uint32_t packet = 1000;

}  // namespace

// RFC 9438, section 4.8: K is 0, and W_max is the window where congestion avoidance begins. From W segments, after t seconds,
// the window is W + 0.4 t³: not drawn to what it was before the timeout.
TEST_CASE("after a timeout CUBIC does not aim at the window from before") {
  haul::congestion::CubicWindow window(1000.0 * packet, packet);
  window.on_timeout();
  window.set(700.0 * packet);
  for (TimePoint now = start; now < start + 4s; now += 10ms) window.on_ack(now, 7.0 * packet, 1s);
  CHECK(window.bytes() / packet == Approx(700 + 0.4 * 4 * 4 * 4).margin(10));
}
