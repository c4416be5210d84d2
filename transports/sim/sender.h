// The sending half of a simulated connection: what is unacknowledged, what is lost, how much may be in flight, when.
// Arithmetic only: it neither sends nor reads a clock.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <set>
#include <vector>

#include "haul/time.h"
#include "packet.h"

namespace haul::sim {

/// A frame on its way until it is acknowledged.
struct Segment {
  Frame frame;
  uint64_t transmission = 0;  ///< of the newest packet that carries it
  TimePoint sent_at{};
  uint32_t bytes = 0;      ///< of that packet
  bool in_flight = false;  ///< false: waiting to be sent (again)
};

/// Selective repeat with an additive-increase, multiplicative-decrease window and a retransmission timer.
/// A packet counts as lost once a packet sent `reorder_threshold` later was seen by the peer.
class Sender {
 public:
  Sender(uint32_t mtu_bytes, Duration dead_after);
  void set_mtu(uint32_t mtu_bytes);

  /// The window and the pace allow one more packet now.
  bool may_send(TimePoint now) const;
  /// What must be sent again first, if anything. It counts as being sent from then on.
  std::optional<uint64_t> take_lost();
  /// Gives a new frame its sequence number.
  uint64_t add(Frame frame);
  bool may_add() const { return segments_.size() < max_segments; }

  Segment& segment(uint64_t sequence) { return segments_.at(sequence); }
  /// The number for the packet that carries `sequence` now.
  uint64_t on_sent(uint64_t sequence, uint32_t bytes, TimePoint now);
  /// Returns the frames that arrived for the first time.
  std::vector<Frame> on_ack(const Ack& ack, TimePoint now);
  void on_rtt(Duration rtt);
  /// Acts on the retransmission timer when it is due.
  void on_timer(TimePoint now);

  bool idle() const { return segments_.empty(); }
  /// Nothing was acknowledged for too long.
  bool peer_silent(TimePoint now) const { return !idle() && now >= last_progress_ + dead_after_; }
  std::optional<TimePoint> deadline() const;

  /// Before this, the pace allows nothing.
  TimePoint paced_until() const { return paced_until_; }
  void set_rate(std::optional<uint64_t> rate_bytes_s) { rate_bytes_s_ = rate_bytes_s; }
  uint64_t window_bytes() const { return window_bytes_; }
  uint64_t retransmits() const { return retransmits_; }
  uint64_t bytes_sent() const { return bytes_sent_; }
  uint64_t bytes_acknowledged() const { return bytes_acknowledged_; }
  std::optional<Duration> rtt_smoothed() const { return rtt_smoothed_; }
  std::optional<Duration> rtt_min() const { return rtt_min_; }
  std::optional<uint64_t> delivery_rate_bytes_s() const { return delivery_rate_bytes_s_; }

 private:
  static constexpr size_t max_segments = 32768;
  static constexpr uint64_t reorder_threshold = 3;
  static constexpr uint64_t max_window_bytes = 256U << 20;

  void acknowledge(uint64_t begin, uint64_t end, std::vector<Frame>& arrived);
  void detect_losses(uint64_t newest_transmission);
  void on_loss(uint64_t transmission);
  void measure_delivery(TimePoint now);
  void lose(uint64_t sequence, Segment& segment);
  Duration retransmit_after() const;

  uint32_t mtu_bytes_;
  const Duration dead_after_;
  std::map<uint64_t, Segment> segments_;                     ///< by sequence
  std::deque<std::pair<uint64_t, uint64_t>> transmissions_;  ///< transmission, sequence: ascending, some obsolete
  std::set<uint64_t> lost_;
  uint64_t next_sequence_ = 0;
  uint64_t next_transmission_ = 1;
  uint64_t recovery_ends_ = 0;  ///< losses of packets before this one belong to a loss that the window already answered
  uint64_t in_flight_bytes_ = 0;
  uint64_t window_bytes_;
  uint64_t slow_start_until_bytes_ = max_window_bytes;
  std::optional<uint64_t> rate_bytes_s_;
  TimePoint paced_until_{};
  TimePoint last_progress_{};
  TimePoint timer_from_{};
  uint32_t timeouts_ = 0;  ///< in a row
  std::optional<Duration> rtt_smoothed_;
  std::optional<Duration> rtt_min_;
  Duration rtt_variation_{};
  uint64_t retransmits_ = 0;
  uint64_t bytes_sent_ = 0;
  uint64_t bytes_acknowledged_ = 0;
  TimePoint measured_at_{};
  uint64_t measured_bytes_ = 0;
  std::optional<uint64_t> delivery_rate_bytes_s_;
};

}  // namespace haul::sim
