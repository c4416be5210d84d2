// What an engine tells about itself: path samples, a statistics snapshot, log records.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "haul/time.h"

namespace haul {

enum class LogLevel : uint8_t { debug, info, warning, error };

/// One line of log. `text` is valid during the call only.
struct LogRecord {
  LogLevel level = LogLevel::info;
  std::string_view component;  ///< "engine", "tcp", …
  std::string_view text;
};

/// Supplied by the caller; called on the engine's thread, must not call back into the engine. Empty: nothing is logged.
using LogSink = std::function<void(const LogRecord&)>;

/// What a backend knows of one connection's path. Absent means the backend cannot tell.
struct PathSample {
  std::optional<Duration> rtt_smoothed;
  std::optional<Duration> rtt_min;
  std::optional<uint64_t> delivery_rate_bytes_s;
  std::optional<uint64_t> congestion_window_bytes;
  std::optional<Duration> rtt_latest;  ///< of the newest packet acknowledged
  uint64_t bytes_sent = 0;             ///< on the wire, headers of the backend's own framing included
  uint64_t bytes_received = 0;
  uint64_t bytes_unsent = 0;  ///< accepted by post()/send(), not yet acknowledged as received by the peer's side of the path
  uint64_t retransmits = 0;   ///< segments or packets sent again, as the backend counts them
  // For congestion control by the engine (Acknowledgements::samples).
  uint64_t bytes_delivered = 0;  ///< that the peer acknowledged, in order or not
  uint64_t bytes_lost = 0;       ///< taken for lost, and sent again
  uint64_t bytes_marked = 0;     ///< delivered with a congestion mark (ECN CE)
  uint64_t bytes_in_flight = 0;  ///< sent, neither acknowledged nor taken for lost
  bool app_limited = false;      ///< there was too little to send; not: too little room for it in a send buffer
  /// So long, in all, did the connection's own send buffer or the peer's receive window hold back bytes, not the path.
  std::optional<Duration> limited_by_buffers;
  uint64_t progress_bytes = 0;  ///< grows whenever the peer acknowledged or delivered anything: a liveness signal
};

struct LaneStats {
  uint32_t lane = 0;
  std::string transport;    ///< "tcp", "sim", …
  std::string description;  ///< addresses, device, offloads in force
  uint64_t operations_outstanding = 0;
  uint64_t bytes_outstanding = 0;
  PathSample path;
};

/// A path that a congestion controller steers, or may: one of a peer, transport and direction.
struct PathStats {
  std::string transport;
  std::string direction;   ///< "out" (puts; over tcp all that is sent, so also what the peer gets), "in" (gets)
  std::string controller;  ///< CongestionController::name(); "none" while it is not decided
  std::string phase;
  std::string limited_by;  ///< "nothing to send", "window", "pacing", "budget" (a rate of ours), "lanes" (the backend)
  /// By what it controls: "operations" (when each is posted), "pacing" (over the backend's own congestion control), "window and
  /// pacing" (in place of it), "mixed" (some lanes so, some so).
  std::string steers;
  uint64_t lanes = 0;  ///< but for "operations"
  /// Of those whose window it steers, how many followed it at the last report; the others follow safe rules of their backend's.
  uint64_t lanes_obeying = 0;
  uint64_t window_bytes = 0;
  uint64_t in_flight_bytes = 0;
  std::optional<uint64_t> rate_bytes_s;  ///< pacing; absent: as the window allows
  std::optional<Duration> rtt_smoothed;
  std::optional<Duration> rtt_min;
};

struct PeerStats {
  uint64_t id = 0;
  std::string name;  ///< as the peer calls itself
  std::string address;
  std::string state;  ///< "connecting", "ready", "closing", "closed"
  uint64_t incarnation = 0;
  uint64_t transfers_active = 0;
  uint64_t grants_made = 0;
  uint64_t grants_held = 0;
  uint64_t lanes_wanted = 0;  ///< over the transport that payload takes. Of a peer that came: asked of it; 0: its choice
  std::vector<LaneStats> lanes;
  std::vector<PathStats> paths;                       ///< those that are controlled
  std::string tenant;                                 ///< empty: none
  std::optional<uint64_t> rate_limit_bytes_s;         ///< its own; absent: none, as below
  std::optional<uint64_t> tenant_rate_limit_bytes_s;  ///< its tenant's
  std::string rate_limited_by;  ///< whose rate holds its payload back now: "peer", "tenant", "engine"; empty: none does
};

/// A copy of the engine's counters at one moment; it does not follow later changes.
struct EngineStats {
  uint64_t transfers_started = 0;
  uint64_t transfers_completed = 0;
  uint64_t transfers_failed = 0;  ///< every end but ok, cancelled included
  uint64_t bytes_put = 0;         ///< acknowledged as placed and verified
  uint64_t bytes_got = 0;
  uint64_t bytes_landed = 0;       ///< written into this engine's memory by peers
  uint64_t checksum_failures = 0;  ///< noticed on this side
  uint64_t operations_retried = 0;
  uint64_t messages_sent = 0;
  uint64_t messages_received = 0;
  uint64_t registered_bytes = 0;
  std::vector<PeerStats> peers;
};

}  // namespace haul
