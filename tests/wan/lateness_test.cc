// What spoils a measurement: an emulator that is late or loses packets, or a path that is not what it claims to be.
#include "wan/lateness.h"

#include <catch2/catch.hpp>
#include <cmath>

#include "wan/calibration.h"
#include "wan/one_way.h"

using namespace std::chrono_literals;
using Catch::Matchers::Contains;
using wan::Lateness;

TEST_CASE("lateness is counted by packet, with its mean, percentiles and maximum") {
  Lateness lateness;
  lateness.record(100us, 98);
  lateness.record(-5us, 1);
  lateness.record(4ms, 1);
  CHECK(lateness.packets() == 100);
  CHECK(lateness.mean_us() == Approx(138));
  CHECK(lateness.max_us() == 4000);
  CHECK(lateness.quantile_us(0.5) == Approx(100).epsilon(0.01));
  CHECK(Lateness().mean_us() == 0);
  CHECK(Lateness().quantile_us(0.99) == 0);
}

TEST_CASE("a thread that was kept from reading shows, whether it slept or watched") {
  constexpr haul::TimePoint empty{10s};
  CHECK(wan::coming(empty + 100us, empty, true).at == empty + 50us);
  CHECK(wan::coming(empty + 100us, empty, true).off == 50us);
  CHECK(wan::coming(empty + 100us, empty, false).at == empty + 100us);
  CHECK(wan::coming(empty + 100us, empty, false).off == 100us);
  for (const bool slept : {false, true}) {
    Lateness reading;
    for (int i = 0; i < 98; ++i) reading.record(wan::coming(empty + 100us, empty, slept).off, 1);
    CHECK(wan::rejection({}, reading, 0).empty());
    for (int i = 0; i < 2; ++i) reading.record(wan::coming(empty + 6ms, empty, slept).off, 1);
    CHECK_THAT(wan::rejection({}, reading, 0), Contains("took packets late"));
  }
}

TEST_CASE("a run counts only while the emulator kept up") {
  Lateness on_time;
  on_time.record(80us, 1000);
  CHECK(wan::rejection(on_time, on_time, 0).empty());
  CHECK(wan::rejection({}, {}, 0).empty());
  CHECK_THAT(wan::rejection(on_time, on_time, 3), Contains("lost 3 packets"));

  Lateness late;
  late.record(600us, 1000);
  CHECK_THAT(wan::rejection(late, on_time, 0), Contains("sent packets late"));
  CHECK_THAT(wan::rejection(on_time, late, 0), Contains("took packets late"));

  Lateness hiccups = on_time;
  hiccups.record(20ms, 8);
  CHECK(wan::rejection(hiccups, on_time, 0).empty());
  hiccups.record(20ms, 5);
  CHECK_THAT(wan::rejection(hiccups, on_time, 0), Contains("99 %"));
}

TEST_CASE("a calibration tells what is off") {
  wan::Calibration calibration;
  calibration.delay_wanted = calibration.delay_forward = calibration.delay_back = 50ms;
  calibration.rate_wanted_bytes_s = calibration.rate_bytes_s = 62.5e6;
  calibration.loss_wanted = calibration.loss = 0.01;
  calibration.loss_tolerance = 0.002;
  CHECK(wan::faults(calibration).empty());
  calibration.delay_forward = 50'199us;
  calibration.delay_back = 49'801us;
  calibration.rate_bytes_s = 62.5e6 * 1.0149;
  calibration.loss = 0.0119;
  CHECK(wan::faults(calibration).empty());
  calibration.delay_forward = 50'201us;
  calibration.delay_back = 49'799us;
  calibration.rate_bytes_s = 62.5e6 * 0.9849;
  calibration.loss = 0.0079;
  CHECK(wan::faults(calibration).size() == 4);
}

TEST_CASE("a delay that is off is told with what was allowed") {
  wan::Calibration calibration;
  calibration.delay_wanted = calibration.delay_forward = 2ms;
  calibration.delay_back = 2201us;
  calibration.rate_wanted_bytes_s = calibration.rate_bytes_s = 62.5e6;
  REQUIRE(wan::faults(calibration).size() == 1);
  CHECK_THAT(wan::faults(calibration).front(), Contains("delay back: 2.201 ms instead of 2.000 ± 0.200"));
}

TEST_CASE("a link without loss may lose nothing at all") {
  const flowsim::Link link;
  CHECK(wan::mean_loss(link) == 0);
  CHECK(wan::loss_tolerance(link, 1000) == 0);
}

TEST_CASE("the tolerance of loss is that of chance, wider for bursts") {
  flowsim::Link link;
  link.loss = 0.01;
  CHECK(wan::mean_loss(link) == Approx(0.01));
  CHECK(wan::loss_tolerance(link, 10'000) == Approx(4 * std::sqrt(0.01 * 0.99 / 10'000)));

  // Against what the bottleneck really does: one run in some thousand may leave four deviations.
  flowsim::Link bursts;
  bursts.rate_bytes_s = 1'000'000'000;
  bursts.buffer_bytes = 1'000'000;
  bursts.burst_loss = flowsim::BurstLoss{0.002, 0.05, 0.5};
  CHECK(wan::mean_loss(bursts) == Approx(0.5 * 0.002 / 0.052));
  constexpr uint64_t packets = 20'000;
  double squares = 0;
  constexpr int runs = 200;
  for (int seed = 1; seed <= runs; ++seed) {
    flowsim::Bottleneck bottleneck(bursts, haul::TimePoint(1s), static_cast<uint64_t>(seed));
    for (uint64_t i = 0; i < packets; ++i) bottleneck.pass(haul::TimePoint(1s) + i * 10us, 1, 1500);
    const double loss = static_cast<double>(bottleneck.lost_packets()) / packets;
    squares += std::pow(loss - wan::mean_loss(bursts), 2) / runs;
  }
  CHECK(4 * std::sqrt(squares) == Approx(wan::loss_tolerance(bursts, packets)).epsilon(0.2));
}
