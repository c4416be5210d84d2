// What a gate lets leave, and what it tells its controller.
#include "quic/gate.h"

#include <catch2/catch.hpp>
#include <memory>
#include <string_view>

namespace haul::quic {
namespace {

using namespace std::chrono_literals;

constexpr TimePoint start(1000s);
constexpr uint64_t packet = 1000;

class AlwaysTheSame final : public CongestionController {
 public:
  explicit AlwaysTheSame(AckSample& last) : last_(last) {}
  std::string_view name() const noexcept override { return "same"; }
  std::string_view phase() const noexcept override { return "steady"; }
  void on_ack(TimePoint, const AckSample& sample) override { last_ = sample; }
  void on_loss(TimePoint, const LossSample&) override {}
  void on_silence(TimePoint) override {}
  uint64_t window_bytes() const noexcept override { return 100'000'000; }
  std::optional<uint64_t> pacing_rate() const noexcept override { return 100'000'000; }

 private:
  AckSample& last_;
};

/// All that may leave at this time.
uint64_t send_all(Gate& gate, TimePoint now) {
  uint64_t sent = 0;
  for (; gate.open(now); sent += packet) gate.on_sent(now, packet);
  gate.pause(now);
  return sent;
}

TEST_CASE("a loop that is woken late loses nothing of its rate", "[quic]") {
  AckSample last;
  Gate gate(std::make_unique<AlwaysTheSame>(last));
  const auto first = gate.on_sent(start, packet);
  gate.pause(start);
  gate.acknowledged(first, start + 100ms);
  gate.take(start + 100ms);
  TimePoint now = start + 100ms;
  send_all(gate, now);
  uint64_t sent = 0;
  for (int turn = 0; turn < 50; ++turn) {
    now += 2ms;  // eight quanta
    sent += send_all(gate, now);
  }
  CHECK(sent >= 9'900'000);
  CHECK(sent <= 10'100'000);
  CHECK(send_all(gate, now + 1s) < 1'100'000);  // and a pause is no reason for a flood
}

TEST_CASE("packets that are not held back don't keep payload away for long", "[quic]") {
  AckSample last;
  Gate gate(std::make_unique<AlwaysTheSame>(last));
  gate.set_rate_limit(10'000);
  const auto first = gate.on_sent(start, packet);
  gate.pause(start);
  gate.acknowledged(first, start + 20ms);
  gate.take(start + 20ms);
  TimePoint now = start + 20ms;
  for (int i = 0; i < 200; ++i) gate.on_other_sent(now += 100us, packet);  // 20 s at this rate
  REQUIRE(gate.opens());
  CHECK(*gate.opens() - now > 50ms);
  CHECK(*gate.opens() - now < 250ms);
}

TEST_CASE("what a late sender missed for good says nothing of the rate", "[quic]") {
  AckSample last;
  Gate gate(std::make_unique<AlwaysTheSame>(last));
  const auto first = gate.on_sent(start, packet);
  gate.pause(start);
  TimePoint now = start;
  for (int turn = 0; turn < 50; ++turn) {
    now += 2ms;
    send_all(gate, now);
  }
  gate.acknowledged(first, now);
  gate.take(now);
  for (int turn = 0; turn < 10; ++turn) {
    now += 3ms;
    send_all(gate, now);
  }
  CHECK_FALSE(gate.on_sent(now, packet).app_limited);
  gate.pause(now);
  now += 20ms;
  send_all(gate, now);
  CHECK(gate.on_sent(now, packet).app_limited);
}

TEST_CASE("what arrives while the library takes nothing says nothing of the rate", "[quic]") {
  AckSample last;
  Gate gate(std::make_unique<AlwaysTheSame>(last));
  const auto before = gate.on_sent(start, packet);
  gate.on_held_back();
  const auto after = gate.on_sent(start + 1ms, packet);
  gate.acknowledged(before, start + 10ms);
  gate.take(start + 10ms);
  CHECK_FALSE(last.app_limited);
  gate.acknowledged(after, start + 11ms);
  gate.take(start + 11ms);
  CHECK(last.app_limited);
}

TEST_CASE("an end that comes late does not make the path longer", "[quic]") {
  AckSample last;
  Gate gate(std::make_unique<AlwaysTheSame>(last));
  const auto round_trip = [&](TimePoint sent, TimePoint came, Duration ack_delay, TimePoint now) {
    gate.acknowledged(gate.on_sent(sent, packet), came);
    gate.delayed(ack_delay);
    gate.take(now);
    return last.rtt;
  };
  CHECK(round_trip(start, start + 100ms, 0ms, start + 100ms) == 100ms);
  // What was told lay here for 30 ms, and the peer had kept it for 20 ms.
  CHECK(round_trip(start + 1s, start + 1125ms, 20ms, start + 1155ms) == 105ms);
  // A peer that is always late is felt, and what it said once does not count again.
  CHECK(round_trip(start + 2s, start + 2200ms, 90ms, start + 2200ms) == 175ms);
  gate.acknowledged(gate.on_sent(start + 3s, packet), start + 3200ms);
  gate.take(start + 3200ms);
  CHECK(last.rtt == 200ms);
}

TEST_CASE("the controller hears of as many marks as packets of payload arrived, at most", "[quic]") {
  AckSample last;
  Gate gate(std::make_unique<AlwaysTheSame>(last));
  for (int i = 0; i < 3; ++i) gate.acknowledged(gate.on_sent(start, packet), start + 10ms);
  gate.marked(2);
  gate.take(start + 10ms);
  CHECK(last.acked_bytes == 3 * packet);
  CHECK(last.marked_bytes == 2 * packet);
  gate.marked(5);
  gate.take(start + 11ms);  // nothing arrived: they wait
  gate.acknowledged(gate.on_sent(start + 11ms, packet), start + 20ms);
  gate.take(start + 20ms);
  CHECK(last.marked_bytes == packet);
  gate.acknowledged(gate.on_sent(start + 20ms, packet), start + 30ms);
  gate.take(start + 30ms);
  CHECK(last.marked_bytes == 0);
}

}  // namespace
}  // namespace haul::quic
