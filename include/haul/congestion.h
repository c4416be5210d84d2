// Congestion control: the interface that every controller implements, and the built-in ones.
//
// A controller is arithmetic on events. Acknowledgements, losses and silence go in; a window and a pacing rate come out. It
// reads no clock, socket, random number or environment (`now` is an argument), and allocates nothing after its construction.
// So one class drives packets (quic, sim), completed writes (rdma) and a kernel socket (tcp), and is tested in virtual time.
//
// Units: bytes, bytes per second, nanoseconds. "Delivered" is what the peer acknowledged. Byte counters may wrap: only their
// differences have meaning. Times may stand still; a controller ignores a time that goes back.
// Threading: one controller belongs to one thread at a time.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "haul/export.h"
#include "haul/status.h"
#include "haul/time.h"

namespace haul {

/// What one acknowledgement, or several taken together, tells. Fields as in draft-ietf-ccwg-bbr, sections 2.3 and 4.1.2.1.3;
/// only rtt is not RS.rtt, which includes the peer's delay.
struct AckSample {
  uint64_t acked_bytes = 0;         ///< newly delivered
  uint64_t in_flight_bytes = 0;     ///< sent, neither acknowledged nor lost, after this acknowledgement
  uint64_t delivered_bytes = 0;     ///< in all, these included (C.delivered)
  uint64_t delivered_at_send = 0;   ///< `delivered_bytes` when the newest packet acknowledged here was sent (P.delivered)
  uint64_t in_flight_at_send = 0;   ///< bytes in flight once that packet was sent, itself included (P.tx_in_flight)
  uint64_t lost_since_send = 0;     ///< bytes lost between its sending and now (RS.lost)
  uint64_t marked_bytes = 0;        ///< of `acked_bytes`, those that carried a congestion mark (ECN CE, RFC 3168)
  uint64_t delivery_rate = 0;       ///< bytes per second over that packet's flight; 0: no sample
  Duration rtt = Duration::zero();  ///< of the newest packet acknowledged, acknowledgement delay excluded; 0: no sample
  bool app_limited = false;         ///< the sender had too little to send: `delivery_rate` is only a lower bound
  /// It had enough, but something else than the controller (a kernel's own algorithm beneath its pace, a buffer, the peer's
  /// window) let less go. `app_limited` is true, too.
  bool held_back = false;
};

/// Bytes taken for lost. They are no longer in flight.
struct LossSample {
  uint64_t lost_bytes = 0;
  uint64_t in_flight_bytes = 0;    ///< after this loss
  uint64_t delivered_bytes = 0;    ///< in all (C.delivered)
  uint64_t in_flight_at_send = 0;  ///< once the newest packet lost was sent, itself included (P.tx_in_flight)
  uint64_t lost_since_send = 0;    ///< bytes lost since that packet was sent, `lost_bytes` included
  TimePoint sent_at;               ///< when the newest packet lost was sent
  bool in_silence = false;         ///< it was sent before the end of a silence: the path was dead, not congested
};

/// What is worth remembering of a path between two connections over it (RFC 9959, section 3.1: saved parameters).
struct PathMemory {
  uint64_t window_bytes = 0;            ///< what filled the path without loss or queue
  Duration min_rtt = Duration::zero();  ///< the path's round trip without queue
  friend bool operator==(const PathMemory&, const PathMemory&) = default;
};

/// Decides how much may be in flight and how fast it may leave.
class HAUL_API CongestionController {
 public:
  virtual ~CongestionController();

  /// The algorithm, as commands and explain() name it: "hub", "cubic" … Lives as long as the controller.
  virtual std::string_view name() const noexcept = 0;
  /// What it is doing at the moment, for plots and explain(): "startup", "steady" … A string literal.
  virtual std::string_view phase() const noexcept = 0;

  /// `bytes` left. `in_flight_bytes` includes them. Called for every packet, also a repeated one. Default: nothing.
  virtual void on_sent(TimePoint now, uint64_t bytes, uint64_t in_flight_bytes);
  /// Something was acknowledged. Losses that the same acknowledgement revealed were told before, by on_loss().
  virtual void on_ack(TimePoint now, const AckSample& sample) = 0;
  /// Something was lost.
  virtual void on_loss(TimePoint now, const LossSample& sample) = 0;
  /// Nothing was acknowledged for too long although bytes are in flight. The sender now probes with single packets, whatever
  /// the window says, until something is acknowledged (the next on_ack()).
  virtual void on_silence(TimePoint now) = 0;
  /// The path is another one (address migration, a lane on another route): what was learned is void. Default: nothing.
  virtual void on_path_change(TimePoint now);

  /// Bytes that may be in flight. Never less than one packet, or a connection would be stuck.
  virtual uint64_t window_bytes() const noexcept = 0;
  /// Bytes per second at which packets may leave; never 0. Absent: as fast as the window allows.
  virtual std::optional<uint64_t> pacing_rate() const noexcept = 0;

  /// For the next connection over this path; absent while nothing is certain. Default: absent.
  virtual std::optional<PathMemory> memory() const noexcept;
  /// `ControllerOptions::memory` led to a start that the path did not carry: it must be forgotten (RFC 9959, section 3.5).
  /// Default: false.
  virtual bool memory_failed() const noexcept;
};

/// What a controller must know in advance.
struct ControllerOptions {
  uint32_t packet_bytes = 1448;  ///< payload of a full packet (SMSS); with rdma, of one write. 1 … 16 MiB
  /// Bytes before the first acknowledgement. 0: by RFC 6928, section 2: ten packets of up to 1460 bytes, two of more than 7300.
  uint64_t initial_window_bytes = 0;
  /// The most that may ever be in flight: the sender's memory. At least two packets.
  uint64_t max_window_bytes = uint64_t{16} << 30;
  /// From an earlier connection over this path, for a start after RFC 9959 (docs/congestion-control.md). `hub` uses it; others
  /// ignore it.
  std::optional<PathMemory> memory = std::nullopt;
  /// `fixed` only: bytes per second, and window. A window of 0 is two bandwidth-delay products of the rate.
  uint64_t fixed_rate = 125'000'000;
  uint64_t fixed_window_bytes = 0;
};

/// Makes controllers of one's own. Called on the engine's thread, once for each path and direction that the engine controls;
/// null for either direction leaves the whole path, both directions, to its backend. Must not call into the engine.
using MakeController = std::function<std::unique_ptr<CongestionController>(const ControllerOptions&)>;

/// Who controls what an engine sends to a peer, over transports whose backend leaves it to the engine
/// (Capabilities::acknowledged_by). One controller a peer, transport and direction, shared by all lanes.
struct CongestionPolicy {
  /// "off": nobody but the backend itself. "automatic": by the path's lowest round trip, "hub" from 2 ms on, nobody within a
  /// rack. Else one of congestion::names().
  std::string controller = "off";
  MakeController make;  ///< If set, instead of `controller`.
};

namespace congestion {

/// A constant rate, whatever happens. For links that are reserved, for measurements, and as a rival in simulations. After
/// silence it sends as before.
HAUL_API std::unique_ptr<CongestionController> make_fixed(const ControllerOptions& options);
/// CUBIC (RFC 9438) with HyStart++ (RFC 9406). For paths shared with much other TCP and without random loss.
HAUL_API std::unique_ptr<CongestionController> make_cubic(const ControllerOptions& options);
/// BBR version 3 (after draft-ietf-ccwg-bbr-06).
HAUL_API std::unique_ptr<CongestionController> make_bbr(const ControllerOptions& options);
/// Delay-based for racks, after Swift (Kumar et al., SIGCOMM 2020): round trips of microseconds, switches that hold little.
HAUL_API std::unique_ptr<CongestionController> make_swift(const ControllerOptions& options);
/// haul's own for bulk between hubs: fills long lossy paths, keeps their queue short (docs/congestion-control.md).
HAUL_API std::unique_ptr<CongestionController> make_hub(const ControllerOptions& options);

/// Any of the above by its name. Errors: invalid (no such controller, or options out of range; the message says which there
/// are).
HAUL_API Result<std::unique_ptr<CongestionController>> make(std::string_view name, const ControllerOptions& options);
/// The names that make() knows.
HAUL_API std::span<const std::string_view> names() noexcept;

}  // namespace congestion
}  // namespace haul
