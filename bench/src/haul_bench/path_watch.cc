// Looks at the statistics of a peer's lanes.
#include "haul_bench/path_watch.h"

namespace bench {

void PathWatch::begin(haul::TimePoint now) {
  began_ = next_ = now;
  moments_.clear();
}

void PathWatch::look(haul::TimePoint now) {
  if (now < next_) return;
  next_ = now + every_;
  Moment moment;
  moment.at = now - began_;
  uint64_t largest = 0;
  for (const haul::LaneStats& lane : peer_.stats().lanes) {
    if (lane.transport != transport_) continue;
    const uint64_t window = lane.path.congestion_window_bytes.value_or(0);
    moment.window_bytes += window;
    moment.in_flight_bytes += lane.path.bytes_in_flight;
    moment.delivered_bytes += lane.path.bytes_delivered;
    if (window >= largest && lane.path.rtt_smoothed) moment.rtt = *lane.path.rtt_smoothed;
    if (window > largest) largest = window;
  }
  moments_.push_back(moment);
}

}  // namespace bench
