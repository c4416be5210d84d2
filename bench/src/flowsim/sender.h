// One flow of a simulation: a sender with its controller, pacer and path model, and the packets it has under way.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <vector>

#include "congestion/budget.h"
#include "congestion/pacer.h"
#include "congestion/path_model.h"
#include "flowsim/link.h"
#include "flowsim/scenario.h"
#include "haul/congestion.h"
#include "haul/time.h"

namespace flowsim {

/// The world of a sender: what it sends through, and how much one packet is.
struct Wire {
  Bottleneck* bottleneck = nullptr;
  const Link* link = nullptr;
  uint32_t payload_bytes = 0;
  uint32_t header_bytes = 0;
  uint32_t burst_packets = 1;
};

/// Packets in flight, by number, in a ring that grows to the next power of two.
class PacketRing {
 public:
  enum class State : uint8_t { in_flight, acked, lost };
  struct Packet {
    haul::congestion::SentPacket sent;
    uint64_t payload_bytes = 0;
    uint64_t arrived_bytes = 0;
    State state = State::in_flight;
    bool marked = false;
  };

  Packet& operator[](uint64_t number) { return slots_[number & (slots_.size() - 1)]; }
  uint64_t push(const Packet& packet);
  bool empty() const { return first_ == end_; }
  uint64_t first() const { return first_; }
  uint64_t end() const { return end_; }
  void pop() { ++first_; }

 private:
  std::vector<Packet> slots_ = std::vector<Packet>(64);
  uint64_t first_ = 0;
  uint64_t end_ = 0;
};

class Sender {
 public:
  Sender(const Flow& flow, const Wire& wire, std::unique_ptr<haul::CongestionController> controller, TimePoint start,
         haul::congestion::Budget* budget);

  /// Does what is due. Afterwards next() is later, or the flow is over.
  void step(TimePoint now);
  /// When step() wants to be called; TimePoint::max() once the flow is over.
  TimePoint next() const { return next_; }

  bool finished() const { return finished_at_.has_value(); }
  std::optional<TimePoint> finished_at() const { return finished_at_; }
  TimePoint started_at() const { return start_; }
  uint64_t delivered_bytes() const { return unique_bytes_; }
  uint64_t lost_bytes() const { return path_.lost_bytes(); }
  uint64_t spurious_bytes() const { return spurious_bytes_; }
  uint64_t sent_bytes() const { return sent_bytes_; }
  Duration longest_stall() const { return longest_stall_; }
  const haul::CongestionController& controller() const { return *controller_; }
  const haul::congestion::PathModel& path() const { return path_; }

 private:
  struct Ack {
    TimePoint at;
    uint64_t number = 0;
  };

  void take_acks(TimePoint now);
  void take_ack(TimePoint now, uint64_t number);
  void detect_losses(TimePoint now);
  void declare_lost(TimePoint now, PacketRing::Packet& packet, uint64_t bytes);
  void send(TimePoint now);
  void send_packet(TimePoint now);
  void schedule_ack(TimePoint arrives_at, uint64_t number);
  uint64_t offered_bytes(TimePoint now) const;
  bool window_open() const;
  Duration loss_delay() const;
  void plan(TimePoint now);

  const Flow& flow_;
  Wire wire_;
  std::unique_ptr<haul::CongestionController> controller_;
  haul::congestion::PathModel path_;
  haul::congestion::Pacer pacer_;
  haul::congestion::Budget* budget_;
  TimePoint start_;

  PacketRing packets_;
  std::deque<Ack> acks_;           // by time
  std::vector<uint64_t> unheard_;  // arrived, but their acknowledgement was lost: the next one tells
  TimePoint back_free_at_;
  uint64_t largest_acked_ = 0;
  bool any_acked_ = false;
  bool reorders_ = false;  // a packet taken for lost was late: count time, not packets
  std::optional<TimePoint> loss_timer_;

  uint64_t new_bytes_taken_ = 0;
  uint64_t again_bytes_ = 0;   // lost, to be sent again
  uint64_t probed_bytes_ = 0;  // sent again by probes, not yet known to be lost
  uint64_t unique_bytes_ = 0;
  uint64_t sent_bytes_ = 0;
  uint64_t spurious_bytes_ = 0;
  TimePoint last_progress_;
  Duration longest_stall_ = Duration::zero();
  std::optional<TimePoint> finished_at_;
  TimePoint next_;
};

}  // namespace flowsim
