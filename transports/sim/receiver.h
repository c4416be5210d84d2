// The receiving half of a simulated connection: which frames arrived, and how the peer is told.
#pragma once

#include <cstdint>
#include <iterator>

#include "base/range_set.h"
#include "packet.h"

namespace haul::sim {

class Receiver {
 public:
  /// False: this frame arrived before.
  bool accept(const Packet& packet) {
    if (packet.transmission >= ack_.newest_transmission) {
      ack_.newest_transmission = packet.transmission;
      ack_.newest_sent_at = packet.sent_at;
    }
    return arrived_.add(packet.sequence, packet.sequence + 1) == 1;
  }

  /// The packet that opened the connection: lets the first acknowledgement measure the round trip.
  void on_handshake(const Packet& packet) { ack_.newest_sent_at = packet.sent_at; }

  /// Everything before `sequence` arrived.
  bool complete_below(uint64_t sequence) const { return sequence == 0 || arrived_.contains(0, sequence); }

  /// The newest ranges, should there be too many for one packet.
  Ack ack() const {
    Ack ack = ack_;
    const auto& ranges = arrived_.view();
    auto it = ranges.begin();
    if (it != ranges.end() && it->first == 0) ack.all_below = (it++)->second;
    const auto left = std::distance(it, ranges.end());
    if (left > max_ranges) std::advance(it, left - max_ranges);
    ack.ranges.assign(it, ranges.end());
    return ack;
  }

 private:
  static constexpr std::ptrdiff_t max_ranges = 32;
  base::RangeSet arrived_;
  Ack ack_;
};

}  // namespace haul::sim
