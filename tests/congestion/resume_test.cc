// Starts of `hub` over a remembered path, rule by rule (RFC 9959), by events written out by hand.
#include <catch2/catch.hpp>
#include <deque>

#include "haul/congestion.h"

namespace {

using namespace std::chrono_literals;
using haul::AckSample;
using haul::CongestionController;
using haul::Duration;
using haul::LossSample;
using haul::TimePoint;

constexpr uint64_t packet = 1000;
constexpr uint64_t initial_window = 10 * packet;
constexpr uint64_t saved_window = 1000 * packet;

/// A sender over a path of 100 ms, which remembers one of 1000 packets. Acknowledgements and losses come in the order of
/// sending.
class Sender {
 public:
  explicit Sender(Duration saved_rtt = 100ms) {
    haul::ControllerOptions options;
    options.packet_bytes = packet;
    options.memory = {saved_window, saved_rtt};
    hub_ = haul::congestion::make_hub(options);
  }

  CongestionController& hub() { return *hub_; }
  uint64_t window() const { return hub_->window_bytes() / packet; }
  void wait(Duration duration) { now_ += duration; }
  void send(uint64_t packets) {
    for (uint64_t i = 0; i < packets; ++i) {
      flight_.push_back({delivered_, lost_, now_});
      hub_->on_sent(now_, packet, in_flight());
    }
  }
  void ack(uint64_t packets, uint64_t marked_bytes = 0) {
    const Sent newest = flight_[packets - 1];
    flight_.erase(flight_.begin(), flight_.begin() + static_cast<std::ptrdiff_t>(packets));
    AckSample sample;
    sample.acked_bytes = packets * packet;
    sample.marked_bytes = marked_bytes;
    sample.in_flight_bytes = in_flight();
    sample.delivered_bytes = delivered_ += sample.acked_bytes;
    sample.delivered_at_send = newest.delivered;
    sample.lost_since_send = lost_ - newest.lost;
    sample.rtt = now_ - newest.at;
    hub_->on_ack(now_, sample);
  }
  void lose(uint64_t packets) {
    const Sent newest = flight_[packets - 1];
    flight_.erase(flight_.begin(), flight_.begin() + static_cast<std::ptrdiff_t>(packets));
    LossSample sample;
    sample.lost_bytes = packets * packet;
    lost_ += sample.lost_bytes;
    sample.in_flight_bytes = in_flight();
    sample.delivered_bytes = delivered_;
    sample.lost_since_send = lost_ - newest.lost;
    sample.sent_at = newest.at;
    hub_->on_loss(now_, sample);
  }
  void silence() { hub_->on_silence(now_); }

  /// The initial data goes out and is acknowledged: the jump begins.
  void jump() {
    send(10);
    wait(100ms);
    ack(10);
  }

 private:
  struct Sent {
    uint64_t delivered = 0;
    uint64_t lost = 0;
    TimePoint at;
  };
  uint64_t in_flight() const { return flight_.size() * packet; }

  std::unique_ptr<CongestionController> hub_;
  std::deque<Sent> flight_;
  uint64_t delivered_ = 0;
  uint64_t lost_ = 0;
  TimePoint now_{1000s};
};

}  // namespace

// Section 3.2.
TEST_CASE("a jump waits for all the initial data, and goes to half of the saved window") {
  Sender sender;
  sender.send(10);
  sender.wait(100ms);
  sender.ack(9);
  CHECK(sender.hub().phase() == "startup");
  CHECK(sender.window() == 19);
  sender.ack(1);
  CHECK(sender.hub().phase() == "resume");
  CHECK(sender.window() == 500);
  // Section 3.3: paced over a round trip.
  CHECK(sender.hub().pacing_rate() == 5'000'000);
}

// Our own exception from section 3.2: one packet in ten may be lost by chance.
TEST_CASE("a single loss does not call a jump off") {
  Sender sender;
  sender.send(10);
  sender.wait(100ms);
  sender.lose(1);
  sender.ack(9);
  CHECK(sender.hub().phase() == "resume");
  CHECK(sender.window() == 500);
}

// Section 3.2: what was saved is of no use then.
TEST_CASE("losses, a mark, silence or another round trip before the jump call it off") {
  Sender lossy;
  lossy.send(10);
  lossy.wait(100ms);
  lossy.lose(2);
  lossy.ack(8);
  CHECK(lossy.hub().phase() == "startup");
  CHECK(lossy.window() == 18);

  Sender marked;
  marked.send(10);
  marked.wait(100ms);
  marked.ack(5, packet);
  marked.ack(5);
  CHECK(marked.hub().phase() == "startup");
  CHECK(marked.window() == 20);

  Sender silent;
  silent.send(10);
  silent.silence();
  silent.wait(100ms);
  silent.ack(1);
  silent.ack(9);
  silent.jump();
  CHECK(silent.hub().phase() == "startup");
  CHECK(silent.window() < 40);

  Sender elsewhere(200ms);
  elsewhere.jump();
  CHECK(elsewhere.hub().phase() == "startup");
  CHECK(elsewhere.window() == 20);
  for (Sender* sender : {&lossy, &marked, &silent, &elsewhere}) CHECK_FALSE(sender->hub().memory_failed());
}

// Section 3.3: only what was sent can be validated.
TEST_CASE("the window after a jump is what is in flight") {
  Sender sender;
  sender.jump();
  sender.send(100);
  sender.wait(100ms);
  sender.ack(1);
  CHECK(sender.hub().phase() == "resume");
  CHECK(sender.window() == 99);
  sender.ack(50);
  CHECK(sender.window() == 149);

  // Less than the initial window in flight: back to what was used.
  Sender idle;
  idle.jump();
  idle.send(5);
  idle.wait(100ms);
  idle.ack(1);
  CHECK(idle.hub().phase() == "startup");
  CHECK(idle.window() == 10);
  CHECK_FALSE(idle.hub().memory_failed());
}

// Section 3.5.
TEST_CASE("a jump that the path does not carry ends in a safe retreat") {
  Sender sender;
  sender.jump();
  sender.send(500);
  sender.wait(100ms);
  sender.ack(1);
  // One packet in ten may be chance; more is not.
  sender.lose(5);
  sender.ack(50);
  CHECK(sender.hub().phase() == "resume");
  CHECK_FALSE(sender.hub().memory_failed());
  sender.lose(100);
  sender.ack(49);
  CHECK(sender.hub().phase() == "retreat");
  CHECK(sender.window() == 50);  // half of the hundred that arrived
  CHECK(sender.hub().memory_failed());
  // Until what was sent before the retreat is through, the window stands still, whatever arrives.
  for (int i = 0; i < 5; ++i) {
    sender.wait(5ms);
    sender.ack(50);
    CHECK(sender.window() == 50);
    CHECK(sender.hub().phase() == "retreat");
  }
  sender.send(45);
  sender.wait(100ms);
  sender.lose(45);
  CHECK(sender.window() == 50);
  sender.ack(1);
  // Slow start goes on up to half of what arrived, and no further.
  CHECK(sender.hub().phase() == "startup");
  for (int i = 0; i < 44; ++i) sender.ack(1);
  CHECK(sender.window() == 94);
  sender.send(94);
  sender.wait(100ms);
  for (int i = 0; i < 94; ++i) sender.ack(1);
  CHECK(sender.hub().phase() != "startup");
  CHECK(sender.hub().pacing_rate() <= 10 * packet * 200);
}

TEST_CASE("a mark after a jump ends in a safe retreat, too") {
  Sender sender;
  sender.jump();
  sender.send(500);
  sender.wait(100ms);
  sender.ack(101, packet);
  CHECK(sender.hub().phase() == "retreat");
  CHECK(sender.window() == 50);
  CHECK(sender.hub().memory_failed());
}

// Section 3.6: persistent congestion ends it; a jump into silence is not tried again.
TEST_CASE("silence after a jump starts anew without it") {
  Sender sender;
  sender.jump();
  sender.send(500);
  sender.silence();
  CHECK(sender.hub().memory_failed());
  CHECK(sender.window() == initial_window / packet);
  sender.wait(100ms);
  sender.ack(1);
  sender.ack(10);
  CHECK(sender.window() < 40);
}
