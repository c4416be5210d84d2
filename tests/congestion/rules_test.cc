// Rules that controllers take from standards, one by one, by events written out by hand.
#include <catch2/catch.hpp>

#include "congestion/cubic_window.h"
#include "congestion/numbers.h"
#include "haul/congestion.h"

namespace {

using namespace std::chrono_literals;
using haul::AckSample;
using haul::CongestionController;
using haul::Duration;
using haul::TimePoint;

constexpr TimePoint start(1000s);
constexpr uint32_t packet = 1000;

haul::ControllerOptions options() {
  haul::ControllerOptions options;
  options.packet_bytes = packet;
  return options;
}

/// Drives a controller by round trips: what the window lets through is acknowledged a round trip later.
class Path {
 public:
  explicit Path(CongestionController& controller) : controller_(controller) {}

  TimePoint now() const { return now_; }
  void round(Duration rtt = 100ms) {
    now_ += rtt;
    const uint64_t before = delivered_;
    const uint64_t window = controller_.window_bytes();
    constexpr uint64_t parts = 10;
    for (uint64_t i = 0; i < parts; ++i) {
      AckSample sample;
      sample.acked_bytes = window / parts;
      sample.delivered_at_send = before;
      sample.delivered_bytes = delivered_ += sample.acked_bytes;
      sample.in_flight_bytes = window;
      sample.in_flight_at_send = window;
      sample.rtt = rtt;
      controller_.on_ack(now_, sample);
    }
  }

 private:
  CongestionController& controller_;
  TimePoint now_ = start;
  uint64_t delivered_ = 0;
};

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

// RFC 9406, section 4.3: HyStart++ is for the initial slow start. After a timeout a rising round trip does not end it.
TEST_CASE("after a timeout CUBIC's slow start is a plain one") {
  const auto cubic = haul::congestion::make_cubic(options());
  Path path(*cubic);
  for (int i = 0; i < 3; ++i) path.round();
  CHECK(cubic->window_bytes() == 80 * packet);
  cubic->on_silence(path.now());
  CHECK(cubic->window_bytes() == packet);
  CHECK(cubic->phase() == "slow start");
  for (int i = 0; i < 5; ++i) path.round(100ms + i * 20ms);
  CHECK(cubic->window_bytes() == 32 * packet);
  CHECK(cubic->phase() == "slow start");
  path.round();
  CHECK(cubic->phase() == "avoidance");
  CHECK(cubic->window_bytes() >= 56 * packet);
}

TEST_CASE("the initial window is that of RFC 6928") {
  const auto of = [](uint32_t packet_bytes) {
    haul::ControllerOptions options;
    options.packet_bytes = packet_bytes;
    return haul::congestion::initial_window(options);
  };
  CHECK(of(1000) == 10'000);
  CHECK(of(1448) == 14'480);
  CHECK(of(1460) == 14'600);
  CHECK(of(2000) == 14'600);
  CHECK(of(8948) == 17'896);
  CHECK(of(1 << 20) == 2 << 20);
}

// Section 3.4 of the Swift paper: down to a thousandth of a packet, paced; one acknowledgement below the target ends it.
TEST_CASE("swift's window shrinks to a thousandth of a packet") {
  const auto swift = haul::congestion::make_swift(options());
  Path path(*swift);
  path.round(1ms);
  for (int i = 0; i < 5; ++i) swift->on_silence(path.now());
  REQUIRE(swift->pacing_rate());
  CHECK(*swift->pacing_rate() == packet);  // 0.001 packets in a millisecond
  path.round(1ms);
  CHECK(*swift->pacing_rate() > 900'000);
}
