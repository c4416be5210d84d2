// From the kernel's sums to the samples that controllers take.
#include <linux/tcp.h>

#include <catch2/catch.hpp>

#include "tcp/kernel_cc/reader.h"

using namespace haul;
using haul::LaneReport;
using haul::tcp::KernelSamples;
using haul::tcp::SampleReader;

namespace {

constexpr uint64_t ms = 1'000'000;
constexpr uint64_t packet = 1000;

// A path of 100 ms on which `rate` bytes arrive each millisecond, all of what is in flight.
struct Path {
  KernelSamples samples{};
  SampleReader reader;
  uint64_t rate = packet;

  void ack(uint64_t bytes, uint64_t lost = 0) {
    samples.acks += 1;
    samples.time_ns += ms;
    samples.mss = packet;
    samples.delivered_bytes += bytes;
    samples.lost_bytes += lost;
    samples.rates += 1;
    samples.rate_delivered_bytes = std::min(samples.delivered_bytes, 100 * rate);
    samples.rate_interval_us = 100'000;
    samples.delivered_at_send = samples.delivered_bytes - samples.rate_delivered_bytes;
    samples.round_trips += 1;
    samples.rtt_us = 100'000;
    samples.in_flight_bytes = 100 * rate;
  }
  LaneReport report() {
    const auto report = reader.read(samples);
    REQUIRE(report);
    return *report;
  }
};

}  // namespace

TEST_CASE("kernel samples: nothing new is no report", "[tcp][kernel-cc]") {
  Path path;
  CHECK_FALSE(path.reader.read(path.samples));
  path.ack(packet);
  CHECK(path.reader.read(path.samples));
  CHECK_FALSE(path.reader.read(path.samples));
}

TEST_CASE("kernel samples: several acknowledgements are one sample, of the newest", "[tcp][kernel-cc]") {
  Path path;
  path.ack(packet);
  path.report();
  path.ack(2 * packet);
  path.samples.marked_bytes += packet;
  path.ack(3 * packet);
  const LaneReport report = path.report();
  CHECK(report.at == TimePoint(std::chrono::milliseconds(3)));
  CHECK(report.packet_bytes == packet);
  CHECK_FALSE(report.timed_out);
  CHECK_FALSE(report.loss);
  REQUIRE(report.ack);
  CHECK(report.ack->acked_bytes == 5 * packet);
  CHECK(report.ack->delivered_bytes == 6 * packet);
  CHECK(report.ack->marked_bytes == packet);
  CHECK(report.ack->in_flight_bytes == 100 * packet);
  CHECK(report.ack->delivered_at_send == 0);
  CHECK(report.ack->delivery_rate == 60'000);  // 6 packets in 100 ms
  CHECK(report.ack->rtt == std::chrono::milliseconds(100));
  CHECK_FALSE(report.ack->app_limited);
}

TEST_CASE("kernel samples: a rate or a round trip that was told once is not told again", "[tcp][kernel-cc]") {
  Path path;
  path.ack(packet);
  path.report();
  path.samples.acks += 1;
  path.samples.delivered_bytes += packet;
  const LaneReport report = path.report();
  REQUIRE(report.ack);
  CHECK(report.ack->acked_bytes == packet);
  CHECK(report.ack->delivery_rate == 0);
  CHECK(report.ack->rtt == Duration::zero());
}

TEST_CASE("kernel samples: an acknowledgement that delivers nothing tells its loss only", "[tcp][kernel-cc]") {
  Path path;
  path.ack(packet);
  path.report();
  path.ack(0, 3 * packet);
  const LaneReport report = path.report();
  CHECK_FALSE(report.ack);
  REQUIRE(report.loss);
  CHECK(report.loss->lost_bytes == 3 * packet);
}

TEST_CASE("kernel samples: losses come before what the same acknowledgement delivered", "[tcp][kernel-cc]") {
  Path path;
  for (int i = 0; i < 300; ++i) {
    path.ack(packet);
    path.report();
  }
  path.ack(packet, 2 * packet);
  const LaneReport report = path.report();
  REQUIRE(report.loss);
  CHECK(report.loss->lost_bytes == 2 * packet);
  CHECK(report.loss->in_flight_bytes == 101 * packet);
  CHECK(report.loss->delivered_bytes == 300 * packet);
  CHECK(report.loss->lost_since_send == 2 * packet);
  CHECK(report.loss->in_flight_at_send == 102 * packet);
  CHECK(report.loss->sent_at == report.at - std::chrono::milliseconds(100));
  CHECK_FALSE(report.loss->in_silence);
}

TEST_CASE("kernel samples: what was lost during a packet's flight is told for a round trip, and no longer",
          "[tcp][kernel-cc]") {
  Path path;
  for (int i = 0; i < 300; ++i) {
    path.ack(packet);
    path.report();
  }
  path.ack(packet, 5 * packet);
  path.report();
  uint64_t told_ms = 0;
  for (int i = 0; i < 300; ++i) {
    path.ack(packet);
    const LaneReport report = path.report();
    REQUIRE(report.ack);
    const bool told = report.ack->lost_since_send != 0;
    if (told) {
      CHECK(told_ms == static_cast<uint64_t>(i));  // without a gap
      CHECK(report.ack->lost_since_send == 5 * packet);
      CHECK(report.ack->in_flight_at_send == 105 * packet);
      ++told_ms;
    }
  }
  CHECK(told_ms >= 98);
  CHECK(told_ms <= 108);  // a sixteenth of a round trip too long at most
}

TEST_CASE("kernel samples: a reader that begins late does not count what was before", "[tcp][kernel-cc]") {
  Path path;
  path.ack(500 * packet, 70 * packet);
  path.reader = SampleReader(path.samples);
  CHECK_FALSE(path.reader.read(path.samples));
  path.ack(packet);
  const LaneReport report = path.report();
  CHECK_FALSE(report.loss);
  REQUIRE(report.ack);
  CHECK(report.ack->acked_bytes == packet);
  CHECK(report.ack->lost_since_send == 0);
}

TEST_CASE("kernel samples: what the timer takes for lost was lost in silence, and so is what comes of before its end",
          "[tcp][kernel-cc]") {
  Path path;
  for (int i = 0; i < 10; ++i) path.ack(packet);
  path.report();
  path.samples.timeouts += 1;
  path.samples.lost_bytes += 9 * packet;
  path.samples.time_ns += 400 * ms;
  path.samples.in_flight_bytes = 0;
  LaneReport report = path.report();
  CHECK(report.timed_out);
  CHECK_FALSE(report.ack);
  REQUIRE(report.loss);
  CHECK(report.loss->lost_bytes == 9 * packet);
  CHECK(report.loss->in_silence);

  path.samples.time_ns += 100 * ms;
  path.ack(packet, packet);
  report = path.report();
  CHECK_FALSE(report.timed_out);
  REQUIRE(report.loss);
  CHECK(report.loss->in_silence);

  path.samples.time_ns += 300 * ms;
  path.ack(packet, packet);
  report = path.report();
  REQUIRE(report.loss);
  CHECK_FALSE(report.loss->in_silence);
}

TEST_CASE("kernel samples: absurd numbers make no absurd samples", "[tcp][kernel-cc]") {
  Path path;
  path.ack(packet);
  path.samples.rate_delivered_bytes = ~uint64_t{0};
  path.samples.rate_interval_us = 1;
  path.samples.rtt_us = ~uint64_t{0};
  const LaneReport report = path.report();
  REQUIRE(report.ack);
  CHECK(report.ack->delivery_rate > 0);
  CHECK(report.ack->rtt == Duration::zero());
}

TEST_CASE("kernel samples: what receivers add while something is missing is no part of the round trip", "[tcp][kernel-cc]") {
  using namespace std::chrono_literals;
  Path path;
  const auto told = [&path](uint64_t rtt_us, uint32_t state) {
    path.ack(packet);
    path.samples.rtt_us = rtt_us;
    path.samples.state = state;
    return path.report().ack->rtt;
  };
  CHECK(told(100'000, TCP_CA_Open) == 100ms);
  CHECK(told(100'700, TCP_CA_Recovery) == 100ms);
  // What comes on top of it is in the queue.
  CHECK(told(103'700, TCP_CA_Disorder) == 103ms);
  CHECK(told(103'000, TCP_CA_Open) == 103ms);
  CHECK(told(100'700, TCP_CA_CWR) == 100'700us);
  // The lowest with a gap tells how much it is.
  CHECK(told(100'200, TCP_CA_Recovery) == 100ms);
  CHECK(told(103'700, TCP_CA_Recovery) == 103'500us);
}

TEST_CASE("kernel samples: a queue is not taken for what receivers add", "[tcp][kernel-cc]") {
  using namespace std::chrono_literals;
  Path path;
  path.ack(packet);
  path.report();
  path.ack(packet);
  path.samples.state = TCP_CA_Recovery;
  path.samples.rtt_us = 120'000;
  CHECK(path.report().ack->rtt == 119ms);  // at most a millisecond

  Path near;
  near.ack(packet);
  near.samples.rtt_us = 4000;
  near.report();
  near.ack(packet);
  near.samples.state = TCP_CA_Recovery;
  near.samples.rtt_us = 5000;
  CHECK(near.report().ack->rtt == 4800us);  // or a twentieth of the round trip
}

TEST_CASE("kernel samples: sums that wrap go on", "[tcp][kernel-cc]") {
  Path path;
  path.ack(packet);
  path.samples.acks = ~uint64_t{0};
  path.samples.delivered_bytes = path.samples.lost_bytes = path.samples.marked_bytes = ~uint64_t{0} - 2 * packet;
  path.reader = SampleReader(path.samples);
  for (int i = 0; i < 10; ++i) {
    path.samples.marked_bytes += packet;
    path.samples.lost_bytes += packet;
    path.samples.acks += 1;
    path.samples.time_ns += 10 * ms;
    path.samples.delivered_bytes += packet;
    path.samples.delivered_at_send = path.samples.delivered_bytes - packet;
    path.samples.rates += 1;
    const LaneReport report = path.report();
    REQUIRE(report.ack);
    CHECK(report.ack->acked_bytes == packet);
    CHECK(report.ack->marked_bytes == packet);
    CHECK(report.ack->lost_since_send == packet);
    REQUIRE(report.loss);
    CHECK(report.loss->lost_bytes == packet);
  }
}

TEST_CASE("kernel samples: a clock that stands still or goes back loses nothing", "[tcp][kernel-cc]") {
  Path path;
  for (int i = 0; i < 10; ++i) path.ack(packet);
  path.report();
  uint64_t acked = 0;
  for (int i = 0; i < 100; ++i) {
    const uint64_t before = path.samples.time_ns;
    path.ack(packet);
    path.samples.time_ns = i == 50 ? before - 5 * ms : before;
    acked += path.report().ack->acked_bytes;
  }
  CHECK(acked == 100 * packet);
}
