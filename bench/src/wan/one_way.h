// One direction of an emulated path: what becomes of each packet, and when. Pure: times are passed in.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <queue>
#include <string>
#include <vector>

#include "flowsim/link.h"
#include "wan/packet.h"

namespace wan {

using haul::Duration;
using haul::TimePoint;

/// Empty: the link can be emulated on this machine's scale. Else what is wrong with it, and the remedy.
std::string complaint(const flowsim::Link& link);

/// The direction in which payload flows back: acknowledgements share the rate and the queue, or have a rate of their own, and
/// outages strike them too; loss, jitter and reordering are the payload's alone.
flowsim::Link backward(const flowsim::Link& link);

/// Neighbouring segments of one frame that have arrived.
struct Run {
  std::shared_ptr<const Packet> packet;
  uint32_t first = 0;
  uint32_t count = 0;
  TimePoint due;  ///< of the earliest
};

/// Rate, queue, loss and delay are the simulator's bottleneck, asked once for each packet on the wire.
/// Not copyable: the bottleneck refers to the link. One thread.
class OneWay {
 public:
  /// Until begin() only rate, queue and delay are in force, so that set-up is not disturbed.
  OneWay(const flowsim::Link& link, uint64_t seed, TimePoint now);
  OneWay(const OneWay&) = delete;
  OneWay& operator=(const OneWay&) = delete;

  /// From now on the link is all that was asked for; its outages and steps count from here, and so do the counters.
  /// What is under way stays in front.
  void begin(TimePoint now);

  /// A frame comes to the queue. Calls must not go back in time.
  void enter(TimePoint now, const std::shared_ptr<const Packet>& packet);
  /// When the next segment arrives.
  std::optional<TimePoint> next_due() const;
  /// Segments that have arrived, those of one frame together as long as they are neighbours; in the order of arrival.
  bool take(TimePoint now, Run& run);

  Duration queue_delay(TimePoint now) const { return bottleneck_->queue_delay(now); }
  const flowsim::Bottleneck& bottleneck() const { return *bottleneck_; }

 private:
  struct Segment {
    TimePoint due;
    uint64_t number = 0;  // of arrival at the queue: what is due at the same time keeps its order
    uint32_t index = 0;
    std::shared_ptr<const Packet> packet;
    bool operator<(const Segment& other) const {  // the earliest is the greatest, as the queue wants it
      return due != other.due ? due > other.due : number > other.number;
    }
  };

  const flowsim::Link link_;
  const flowsim::Link quiet_;
  const uint64_t seed_;
  std::unique_ptr<flowsim::Bottleneck> bottleneck_;
  std::priority_queue<Segment> under_way_;
  uint64_t entered_ = 0;
};

}  // namespace wan
