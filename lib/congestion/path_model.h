// What a sender learns of its path from its own packets: delivery rate, round-trip time, loss, marks, silence.
#pragma once

#include <cstdint>
#include <optional>

#include "haul/congestion.h"
#include "haul/time.h"

namespace haul::congestion {

/// Kept with each packet (or write) in flight; what draft-ietf-ccwg-bbr, section 4.1.2.1.2, calls P.
struct SentPacket {
  TimePoint sent_at;
  TimePoint first_sent_at;  ///< P.first_send_time: start of the send interval of its sample
  TimePoint delivered_at;   ///< P.delivered_time
  uint64_t delivered = 0;   ///< P.delivered
  uint64_t lost = 0;        ///< P.lost
  uint64_t in_flight = 0;   ///< P.tx_in_flight, this packet included
  uint64_t bytes = 0;       ///< what is still in flight of it: a burst may be acknowledged or lost in parts
  bool app_limited = false;
  bool held_back = false;  ///< app_limited, though there was enough to send
};

/// Smoothed round-trip time, its variation (RFC 9002, section 5.3), and the lowest since the path is known (section 5.2).
class RttEstimator {
 public:
  void on_sample(TimePoint now, Duration rtt) noexcept;
  void reset() noexcept { *this = RttEstimator(); }
  bool known() const noexcept { return smoothed_ > Duration::zero(); }
  Duration latest() const noexcept { return latest_; }
  Duration smoothed() const noexcept { return smoothed_; }
  Duration variation() const noexcept { return variation_; }
  Duration lowest() const noexcept { return lowest_ever_; }

 private:
  Duration latest_ = Duration::zero();
  Duration smoothed_ = Duration::zero();
  Duration variation_ = Duration::zero();
  Duration lowest_ever_ = Duration::zero();
};

/// One per connection. Makes the samples that controllers want, and knows when acknowledgements have stopped.
/// Order within one acknowledgement: lost() for what it reveals as lost, acked() for each packet, then finish_ack().
class PathModel {
 public:
  /// `granularity`: acknowledgements later than expected by less than this are no silence. RFC 9002, section 6.1.2, has 1 ms.
  explicit PathModel(Duration granularity = std::chrono::milliseconds(1)) noexcept : granularity_(granularity) {}

  /// A packet leaves. The result belongs with the packet.
  SentPacket on_sent(TimePoint now, uint64_t bytes) noexcept;
  /// `bytes` of a packet arrived, of which `marked_bytes` carried a congestion mark. More than what is in flight of the
  /// packet is ignored: a peer may not acknowledge what was never sent.
  void acked(TimePoint now, SentPacket& packet, uint64_t bytes, uint64_t marked_bytes) noexcept;
  /// The sample of all acked() since the last call. `ack_delay`: how long the peer held the acknowledgement back, as it says:
  /// that takes no sample below the lowest one. `waited`: how long the acknowledgement lay here before it was looked at.
  AckSample finish_ack(TimePoint now, Duration ack_delay = Duration::zero(), Duration waited = Duration::zero()) noexcept;
  /// `bytes` of a packet are taken for lost.
  LossSample lost(TimePoint now, SentPacket& packet, uint64_t bytes) noexcept;
  /// A packet is in flight no more, and that says nothing of the path.
  void withdrawn(SentPacket& packet) noexcept;

  /// The sender has nothing to send although window and pacing would let it (draft-ietf-ccwg-bbr, section 4.1.2.4).
  /// `held_back`: it has enough, but something else than the controller lets no more go.
  void on_app_limited(bool held_back = false) noexcept;

  uint64_t in_flight_bytes() const noexcept { return in_flight_; }
  uint64_t delivered_bytes() const noexcept { return delivered_; }
  uint64_t lost_bytes() const noexcept { return lost_; }
  const RttEstimator& rtt() const noexcept { return rtt_; }

  /// When on_timer() wants to be called: acknowledgements are overdue, or the next probe is due. Absent with nothing in flight,
  /// unless silent.
  std::optional<TimePoint> deadline() const noexcept;
  enum class Timer : uint8_t {
    nothing,
    silence,  ///< acknowledgements have stopped just now: tell the controller, and send one packet as a probe
    probe     ///< still silent: send one packet
  };
  Timer on_timer(TimePoint now) noexcept;
  bool silent() const noexcept { return silent_; }

 private:
  Duration silence_after() const noexcept;
  Duration probe_interval(TimePoint now) const noexcept;

  Duration granularity_;
  RttEstimator rtt_;
  uint64_t in_flight_ = 0;
  uint64_t delivered_ = 0;          // C.delivered
  uint64_t lost_ = 0;               // C.lost
  TimePoint delivered_at_;          // C.delivered_time
  TimePoint first_sent_at_;         // C.first_send_time
  uint64_t app_limited_until_ = 0;  // C.app_limited: delivered count at which the bubble is gone; 0: none
  uint64_t too_little_until_ = 0;   // likewise, of the last bubble for want of something to send

  // The acknowledgement being taken apart.
  SentPacket newest_;
  uint64_t newly_acked_ = 0;
  uint64_t newly_marked_ = 0;
  bool has_newest_ = false;

  // Silence.
  TimePoint last_progress_;
  TimePoint silent_since_;
  TimePoint next_probe_;
  TimePoint silence_ended_at_;
  bool silent_ = false;
  bool has_been_silent_ = false;
};

}  // namespace haul::congestion
