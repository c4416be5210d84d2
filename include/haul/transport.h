// What a backend owes the core. For authors of backends; applications need only construct one and hand it to the engine.
//
// A Transport is used by exactly one engine thread and no call blocks. It places bytes; the core cuts transfers into
// operations, stripes them over connections, verifies checksums and tells the application. Only steering() and
// lane_memory() are optional: what differs between backends is data, in Capabilities.
//
// The contract (docs/architecture.md has the reasons):
//  - From post() to the operation's `completed` event the local memory is the transport's; afterwards never again.
//  - Every operation that post() took completes exactly once, also when the connection closes or the peer dies.
//  - A write completes ok only after the peer's engine answered ok for it (Capabilities::reports_landed), or, without that
//    capability, after the bytes are in the peer's memory.
//  - Messages on one connection arrive in order, whole, at most once. Nothing is promised between messages and operations.
//  - After close(), remaining operations complete, then `closed` is the connection's last event.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "haul/address.h"
#include "haul/credentials.h"
#include "haul/export.h"
#include "haul/status.h"
#include "haul/telemetry.h"
#include "haul/time.h"

namespace haul {

class LaneMemory;
class LaneSteering;

/// Own identity and trust, made by the engine from Credentials; lib/security has its inside.
class SecurityContext;

/// One lane: a socket, a queue pair, a QUIC connection. Chosen by the transport, never reused within its life. 0 is none.
using ConnectionId = uint64_t;

enum class MemoryKind : uint8_t { host, device };

/// What a peer may do with a granted range.
enum class Rights : uint8_t { none = 0, read = 1, write = 2, read_write = 3 };

constexpr bool allows(Rights held, Rights wanted) noexcept {
  return (static_cast<unsigned>(held) & static_cast<unsigned>(wanted)) == static_cast<unsigned>(wanted);
}

/// Bytes [offset, offset + length) of something.
struct Range {
  uint64_t offset = 0;
  uint64_t length = 0;
};

/// Memory known to one transport. Destroying it ends the registration: only after every operation and grant on it is over.
class HAUL_API MemoryRegion {
 public:
  virtual ~MemoryRegion();
  virtual std::span<std::byte> bytes() const noexcept = 0;
};

/// A backend's own name for a granted range (keys, addresses): bounded opaque bytes that travel to the peer.
struct RemoteRegion {
  static constexpr size_t max_bytes = 64;
  std::array<std::byte, max_bytes> data{};
  uint8_t size = 0;

  std::span<const std::byte> bytes() const noexcept { return {data.data(), size}; }
};

/// A grant as its owner keeps it: `id` for revoke(), `remote` for the peer.
struct LocalGrant {
  uint64_t id = 0;
  RemoteRegion remote;
};

enum class Op : uint8_t { write, read };

/// A few bytes that travel with a write.
using Immediate = std::array<std::byte, 4>;

/// One write or read between a local region and a granted remote one, on one connection.
struct Operation {
  Op op = Op::write;
  uint64_t id = 0;                      ///< Chosen by the core; comes back in `completed`. Unique among those outstanding.
  uint64_t tag = 0;                     ///< Writes: carried to the peer and shown in its `landed` event.
  const MemoryRegion* local = nullptr;  ///< Source of a write, destination of a read. Not owned.
  uint64_t local_offset = 0;
  const RemoteRegion* remote = nullptr;  ///< Read during post() only.
  uint64_t remote_offset = 0;            ///< From the start of the granted range.
  uint32_t length = 0;                   ///< 1 … Capabilities::max_operation_bytes
  std::optional<uint32_t> crc32c;        ///< Writes: of the payload, for the peer's core. Reads: any value asks for one.
  /// Writes without crc32c, where Capabilities::carries_immediates: raises `immediate` at the peer instead of `landed`. It
  /// completes once the bytes are placed; the event follows, unless the connection ends before.
  std::optional<Immediate> immediate;
};

/// Something that happened. `status` has meaning for connected (always ok), completed, revoked and closed.
struct Event {
  enum class Kind : uint8_t {
    connected,  ///< A connection that this side opened and joined is ready for messages and operations.
    accepted,   ///< A peer connected to a listening address: a new, ready connection.
    landed,     ///< A peer's write was placed in `payload` (this side's memory). The core verifies, then calls answer(). In
                ///< device memory it has no `crc32c`: a write there that came with one is the transport's to fail.
    immediate,  ///< A peer's write of `tag` bytes was placed; `payload` is its Immediate, valid like a message's. Those of one
                ///< connection come in the order in which they were posted.
    completed,  ///< Operation `id` is over. A read's `crc32c` is the owner's, where asked for and if the backend carries them;
                ///< also where nobody asked, if the read's end proves nothing without it (soft-RoCE): the core compares.
    revoked,    ///< Grant `id` is gone and no byte can land or leave through it any more.
    message,    ///< `payload` is a message from the peer, valid until the next poll() or close().
    aging,      ///< This connection should be replaced by a new one soon: its keys have protected nearly as much as they may.
    writable,   ///< post() or send() had refused on this connection and would now take more.
    closed,     ///< The connection's end. `status` says why (ok: closed cleanly by either side, or aborted by this one).
  };
  Kind kind = Kind::closed;
  ConnectionId connection = 0;
  uint64_t id = 0;
  uint64_t tag = 0;
  std::span<const std::byte> payload;
  std::optional<uint32_t> crc32c;
  Status status;
};

/// Where the engine learns what its congestion control needs to know of a connection's path.
enum class Acknowledgements : uint8_t {
  own,          ///< Nowhere: the backend controls each of its packets itself, and the engine adds nothing.
  completions,  ///< Every completed operation acknowledges its bytes. The engine bounds what it posts.
  samples,      ///< Transport::sample() counts what arrived. The engine bounds the connection by Transport::set_limits().
};

/// What differs between backends. Constant for the transport's life.
struct Capabilities {
  std::string_view name;            ///< "tcp", "sim": what policies name
  bool carries_checksums = false;   ///< Operation::crc32c reaches the side that receives the payload.
  bool reports_landed = false;      ///< The owner of written memory gets `landed` and must answer().
  bool carries_immediates = false;  ///< Operation::immediate
  bool bootstraps = false;          ///< Connects by address alone; otherwise endpoints travel over another transport.
  bool authenticates = true;        ///< secure() makes connections prove who the peer is. Else a lane is the peer's because its
                                    ///< endpoint came over the peer's authenticated first lane: such backends bootstrap none.
  bool handles_device_memory = false;
  Acknowledgements acknowledged_by = Acknowledgements::own;
  uint32_t preferred_operation_bytes = 1U << 20;
  uint32_t max_operation_bytes = 1U << 20;
  uint32_t max_message_bytes = 16U << 10;
  uint32_t max_operations = 1024;  ///< outstanding on one connection
  uint32_t usual_lanes = 1;        ///< what this backend does best with: PeerOptions::lanes where they are left open
};

/// How a connection is opened.
struct ConnectOptions {
  std::optional<Address> address;  ///< The peer's; absent on the passive side of a joined lane.
  Duration timeout = std::chrono::seconds(10);
  std::optional<Protection> protection = std::nullopt;  ///< the weakest that is accepted; absent: as secure() said
  ConnectionId beside = 0;  ///< A connection of this backend to the same peer whose path this one should take; 0: none.
  /// On the passive side: the endpoint that join() will be given, to choose a device by. Read during the call only.
  std::span<const std::byte> peer_endpoint = {};
};

/// What the peer must know to join: opaque, exchanged by the engines over an existing connection.
struct LocalEndpoint {
  ConnectionId connection = 0;
  std::vector<std::byte> bytes;  ///< at most 512
};

enum class CloseMode : uint8_t {
  drain,  ///< What was taken is finished first, as far as the peer answers; then a clean close.
  abort,  ///< At once: outstanding operations complete with peer_lost, no byte lands or leaves afterwards.
};

/// Bounds that the scheduler sets on a connection. Absent: the backend's own.
struct Limits {
  std::optional<uint64_t> window_bytes;  ///< outstanding, posted but not completed
  std::optional<uint64_t> rate_bytes_s;  ///< pacing
  /// What may be on the way to the peer, as a congestion controller has it. A backend whose packets are a kernel's sizes its
  /// buffers for it; others ignore it.
  std::optional<uint64_t> path_bytes = std::nullopt;
};

/// What the caller of poll() does next.
enum class NextPoll : uint8_t {
  at_once,     ///< It polls again without blocking: what arrives need not make wakeup_fd() readable until then.
  when_woken,  ///< It may block until wakeup_fd() is readable or next_deadline() passed.
};

class HAUL_API Transport {
 public:
  virtual ~Transport();

  virtual const Capabilities& capabilities() const noexcept = 0;

  /// From now on every connection is authenticated, with at least `weakest` protection where ConnectOptions name none. Called
  /// at most once, before anything else. Errors: unsupported (the backend cannot authenticate peers).
  virtual Status secure(std::shared_ptr<const SecurityContext> security, Protection weakest) = 0;

  /// Who the peer of a ready connection proved to be; empty without credentials.
  virtual PeerIdentity identity(ConnectionId connection) const = 0;

  /// Makes memory usable as source, destination and grant. The memory must outlive the region.
  /// Errors: unsupported (kind), exhausted (locked memory; the message names the limit).
  virtual Result<std::unique_ptr<MemoryRegion>> register_memory(std::span<std::byte> memory, MemoryKind kind) = 0;

  /// Accepts connections at `address` until the transport is destroyed. Port 0 lets the system choose: the bound address is
  /// returned.
  /// Errors: unavailable (in use, not local), refused (rights), unsupported (the backend does not bootstrap).
  virtual Result<Address> listen(const Address& address) = 0;

  /// Creates an end of a connection. Nothing is sent yet. The endpoint's bytes go to the peer, unless this is a bootstrap
  /// by address.
  virtual Result<LocalEndpoint> open(const ConnectOptions& options, TimePoint now) = 0;

  /// Connects an opened end to the peer's endpoint (empty bytes: bootstrap by ConnectOptions::address).
  /// `connected` or `closed` follows. Errors: invalid (endpoint malformed; the end remains open and must be closed).
  virtual Status join(ConnectionId connection, std::span<const std::byte> peer_endpoint, TimePoint now) = 0;

  /// Ends a connection in any state; unknown ones are ignored. `closed` follows from a later poll().
  virtual void close(ConnectionId connection, CloseMode mode, TimePoint now) = 0;

  /// Lets the peer of this connection, over this connection, use a range of a region.
  /// Errors: invalid (an empty range or one outside of the region, no rights, a region of another transport), peer_lost (there
  /// is no such connection any more), unavailable (it is not ready), exhausted (what the device has of windows, keys or
  /// lockable memory: names it), unsupported (a range or kind of memory that this device can't grant: names the remedy).
  virtual Result<LocalGrant> grant(ConnectionId connection, const MemoryRegion& region, Range range, Rights rights,
                                   TimePoint now) = 0;

  /// Takes a grant back: no new use is accepted from now on; `revoked` follows once no byte can land or leave.
  /// Closing the connection revokes all of its grants without events: `closed` implies them.
  virtual void revoke(ConnectionId connection, uint64_t grant_id, TimePoint now) = 0;

  /// Takes operations from the front and returns how many: fewer than all is back-pressure (`writable` or `completed` follows).
  /// An operation that is wrong in itself is taken and completes with `invalid`; on a closing connection, with peer_lost.
  /// Once `closed` was raised, none is taken.
  virtual size_t post(ConnectionId connection, std::span<const Operation> operations, TimePoint now) = 0;

  /// Ends a `landed` event: ok, or corrupt (the peer's operation completes with that status).
  virtual void answer(ConnectionId connection, uint64_t id, const Status& status, TimePoint now) = 0;

  /// Asks for an outstanding operation to end early. It completes exactly once all the same: as cancelled if no byte of it
  /// can land any more, else with its own outcome.
  virtual void cancel(ConnectionId connection, uint64_t id, TimePoint now) = 0;

  /// Queues a message (1 … max_message_bytes; copied). False: no room now, `writable` follows.
  virtual bool send(ConnectionId connection, std::span<const std::byte> message, TimePoint now) = 0;

  virtual PathSample sample(ConnectionId connection) const = 0;

  /// For people: addresses, device, offloads in force. Empty for unknown connections. Of connection 0: the backend's devices,
  /// which of them are used and why not the others, a line each; empty where there is nothing to choose.
  virtual std::string describe(ConnectionId connection) const = 0;

  virtual void set_limits(ConnectionId connection, const Limits& limits) = 0;

  /// Where Capabilities::acknowledged_by is `samples`: what some connections offer beyond sample() and set_limits()
  /// (haul/lane_steering.h); null: none do. The transport's own, and lives as long.
  virtual LaneSteering* steering() noexcept { return nullptr; }

  /// Where Capabilities::acknowledged_by is `own`: what remembers paths from one connection to the next (haul/lane_memory.h);
  /// null: nothing does. The transport's own, and lives as long.
  virtual LaneMemory* lane_memory() noexcept { return nullptr; }

  /// Moves bytes, then fills `events` from the front and returns how many. A full span means: call again.
  /// Payload spans of earlier events end here.
  virtual size_t poll(TimePoint now, NextPoll next, std::span<Event> events) = 0;

  /// When poll() wants to be called again even though nothing arrived.
  virtual std::optional<TimePoint> next_deadline() const = 0;

  /// Readable (poll(2), epoll) when poll() has work; see NextPoll. Owned by the transport. Simulated transports return -1:
  /// their world steps them.
  virtual int wakeup_fd() const noexcept = 0;
};

}  // namespace haul
