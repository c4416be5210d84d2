// What a backend may offer besides Transport: lanes that report their acknowledgements and obey window and pacing rate, so that
// a congestion controller of the engine's is the only one that controls them. For authors of backends.
#pragma once

#include <cstdint>
#include <optional>

#include "haul/congestion.h"
#include "haul/status.h"
#include "haul/time.h"
#include "haul/transport.h"

namespace haul {

/// What happened on one lane between two looks. To be told to a controller in the order of the members.
struct LaneReport {
  TimePoint at;            ///< of the newest acknowledgement or timeout: CLOCK_MONOTONIC
  bool timed_out = false;  ///< the backend's retransmission timer fired: CongestionController::on_silence()
  std::optional<LossSample> loss;
  std::optional<AckSample> ack;
  uint32_t packet_bytes = 0;  ///< payload of a full packet
  bool obeyed = false;        ///< the newest command was in force; else the backend's own rules
};

/// Found by Transport::steering(). Used by the engine's thread, as the transport; unknown connections are ignored.
class LaneSteering {
 public:
  /// Whether the next two do anything for this connection. Does not change between its `connected` or `accepted` and `closed`.
  virtual bool steerable(ConnectionId connection) const noexcept = 0;
  /// What the backend saw since the last call. Absent: nothing new.
  virtual std::optional<LaneReport> take_report(ConnectionId connection) = 0;
  /// At most `window_bytes` in flight, and at most `rate_bytes_s` of payload a second (absent: as the window allows). After
  /// `valid_for` without another command the backend follows rules of its own, which are safe on any path: an engine that
  /// hangs does no harm. Errors: invalid, exhausted (the lane can't be steered any more: those rules hold).
  virtual Status steer(ConnectionId connection, uint64_t window_bytes, std::optional<uint64_t> rate_bytes_s,
                       Duration valid_for) = 0;

 protected:
  ~LaneSteering() = default;
};

}  // namespace haul
