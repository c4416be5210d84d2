// The bottleneck of a simulation: a rate that changes by schedule, a queue, loss, delay.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "base/random.h"
#include "flowsim/scenario.h"
#include "haul/time.h"

namespace flowsim {

using haul::TimePoint;

/// What no single key of a link shows, and the remedy. Empty: the link makes sense.
std::string contradiction(const Link& link);

/// CoDel's drop law (RFC 8289, section 5.5), decided on arrival: the time a packet will have waited is known then, as the
/// queue is first in, first out.
class Codel {
 public:
  explicit Codel(Duration target) : target_(target) {}
  bool drops(TimePoint leaves_at, Duration sojourn);

 private:
  static constexpr Duration interval = std::chrono::milliseconds(100);
  Duration target_;
  bool above_ = false;
  bool dropping_ = false;
  TimePoint first_above_at_;
  TimePoint next_drop_at_;
  uint32_t count_ = 0;
  uint32_t last_count_ = 0;  // of drops, when dropping began the last time
};

/// What becomes of one packet, or of one burst of them.
struct Passage {
  uint32_t arrived_packets = 0;  ///< the others are lost
  TimePoint arrives_at;          ///< at the receiver
  bool marked = false;
};

class Bottleneck {
 public:
  Bottleneck(const Link& link, TimePoint start, uint64_t seed);

  /// What `before` has taken is in front: it still keeps the link busy, and nothing arrives before it. To be said at the start.
  void follow(const Bottleneck& before);

  /// A burst of `packets` with `packet_bytes` each (on the wire) comes to the queue. Calls must not go back in time.
  Passage pass(TimePoint now, uint32_t packets, uint64_t packet_bytes);
  /// How long the queue is at the moment.
  Duration queue_delay(TimePoint now) const { return now < free_at_ ? free_at_ - now : Duration::zero(); }
  bool dead(TimePoint at) const;

  uint64_t dropped_packets() const { return dropped_; }  ///< by the queue
  uint64_t lost_packets() const { return lost_; }        ///< at random, or in an outage
  uint64_t passed_packets() const { return passed_; }
  /// Bytes the link could have carried between two moments.
  double capacity_bytes(TimePoint from, TimePoint to) const;

 private:
  double rate_at(TimePoint at, TimePoint& until) const;
  TimePoint finish(TimePoint from, double bytes) const;
  uint32_t survivors(uint32_t packets);
  bool lost_in_burst();

  const Link& link_;
  TimePoint start_;
  haul::base::Random random_;
  Codel codel_;
  TimePoint free_at_;  // when the link will have sent all that waits
  TimePoint last_arrival_;
  bool bad_ = false;  // state of the burst loss
  uint64_t dropped_ = 0;
  uint64_t lost_ = 0;
  uint64_t passed_ = 0;
};

}  // namespace flowsim
