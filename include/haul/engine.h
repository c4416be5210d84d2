// The engine: one event loop with its transports, clock and credentials. Used by one thread; nothing is shared.
// For several threads see haul/runtime.h; for Asio see haul/asio.h.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "haul/address.h"
#include "haul/buffer.h"
#include "haul/congestion.h"
#include "haul/credentials.h"
#include "haul/export.h"
#include "haul/peer.h"
#include "haul/status.h"
#include "haul/telemetry.h"
#include "haul/time.h"
#include "haul/transfer.h"
#include "haul/transport.h"

namespace haul {

/// The library's version, "MAJOR.MINOR.PATCH".
HAUL_API std::string_view version() noexcept;

enum class Integrity : uint8_t {
  crc32c,  ///< The default: CRC32C per operation, verified by the receiver before it acknowledges. Except from and to device
           ///< memory (MemoryKind::device), on either side: the processor does not read it, and the fabric's own checks are
           ///< relied on. explain() says so, and a warning is logged.
  off,     ///< Trust the transport. Both sides say so in explain().
};

/// A message from a peer, alone or as the notification of a finished transfer.
struct Message {
  std::span<const std::byte> payload;  ///< valid during the callback
  bool notification = false;           ///< true: all of the sender's transfer is placed, verified and visible to this thread
};

struct EngineOptions {
  std::string name = "haul";                                ///< shown to peers and in logs; at most 64 bytes
  Integrity integrity = Integrity::crc32c;                  ///< of the transfers that this engine starts
  SecurityPolicy security = SecurityPolicy::loopback_only;  ///< without credentials
  /// With them every connection is authenticated by TLS 1.3 on both sides, also on loopback.
  Credentials credentials;
  Protection protection = Protection::encrypted;  ///< the weakest that this engine accepts
  /// What may carry the payload of peers that connect to us, in both directions: the counterpart of PeerOptions::policy. A
  /// first lane over another transport carries control messages only; on_peer comes when a lane over a permitted one is ready,
  /// and a peer without one handshake_timeout after its hello is sent away and told why. The engine does not listen over what
  /// is forbidden. What is preferred is the peer's to choose; if it does not, that is logged.
  TransportPolicy accept_policy;

  CongestionPolicy congestion;  ///< of what this engine sends, unless PeerOptions say otherwise
  /// What controllers learn of the paths to peers is kept for the engine's life, and offered to those of the next connection
  /// (ControllerOptions::memory); of peers that connect to us only if they are authenticated. With a file's name it is read
  /// from there when the engine is made, and written there when a connection ends, once a second at most (poll() waits for the
  /// file system then), and when the engine is destroyed; the file need not exist, its folder must. It is replaced by rename:
  /// whoever is killed leaves a whole one. One engine a file: the last one to write wins.
  std::string remembered_paths_file;
  /// Seconds since 1970: what is remembered of paths outlives monotonic clocks. Empty: the system's.
  std::function<int64_t()> wall_clock_s;
  /// Payload of the puts and gets that this engine starts, all peers together, over any transport: bytes per second; absent: no
  /// bound. Tenants, and peers without one, that have something to move share it by bytes. See Engine::limit_rate().
  std::optional<uint64_t> rate_limit_bytes_s;

  Duration peer_timeout = std::chrono::seconds(10);  ///< a peer that shows no progress for this long is lost
  Duration keepalive = std::chrono::seconds(3);      ///< an idle peer is asked this often; less than peer_timeout / 2
  /// An accepted connection must introduce itself within this, and have a lane for payload within this again (accept_policy).
  Duration handshake_timeout = std::chrono::seconds(5);

  /// How long wait() polls before it blocks. It learns whether that pays: after polls in vain it blocks at once, and tries
  /// again rarely. Zero: never. Max: always (busy polling).
  Duration spin = std::chrono::microseconds(50);

  uint32_t max_peers = 1024;
  uint32_t max_peers_per_identity = 256;  ///< connections accepted from one authenticated identity
  uint32_t max_unidentified = 64;         ///< accepted connections that have not introduced themselves yet
  uint32_t max_tenants = 256;             ///< that have a rate or a peer; see Engine::limit_tenant()
  uint32_t max_lanes_per_peer = 64;
  uint32_t max_grants_per_peer = 65536;
  uint32_t max_transfers = 65536;  ///< running at one time; more answer `busy`
  uint32_t max_message_bytes = 8192;
  uint32_t max_queued_messages = 1024;  ///< per peer, waiting for the transport
  uint32_t max_attempts = 4;            ///< of one operation whose checksum failed or whose lane died

  /// A peer connected to us and is ready: payload can go. On the engine's thread, from poll(), as are all callbacks.
  std::function<void(Peer)> on_peer;
  std::function<void(Peer, const Message&)> on_message;
  /// A ready peer is gone: ok after a close by either side, else why. Every transfer with it has ended before this call, and no
  /// byte of its grants can land or leave any more.
  std::function<void(Peer, const Status&)> on_peer_closed;

  LogSink log;
  LogLevel log_level = LogLevel::info;

  const Clock* clock = nullptr;  ///< not owned; null: system_clock()
  uint64_t seed = 0;             ///< of the incarnation and other random numbers; 0: from the operating system
};

/// One event loop. Not thread-safe; every call from one thread (which may change if calls are ordered by the caller).
/// The order of destruction: peers are aborted, transfers end as peer_lost without callbacks, then memory and transports go.
class HAUL_API Engine {
 public:
  /// Errors: invalid (options that contradict each other, credentials or remembered paths that cannot be read: names the file,
  /// an accept_policy that requires a transport which is not among these, or leaves none), unsupported (a transport that cannot
  /// authenticate, with credentials).
  static Result<std::unique_ptr<Engine>> create(EngineOptions options, std::vector<std::unique_ptr<Transport>> transports);
  ~Engine();
  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;

  /// Page-aligned zeroed memory, registered with every transport. Errors: exhausted, invalid (0 bytes).
  Result<Buffer> allocate(uint64_t bytes);
  /// The caller's memory, registered with every transport; see Buffer for how long it must live. Device memory is registered
  /// with those that can hold it, and moved and granted over their lanes alone, without checksums (Integrity); the library
  /// never reads or writes it by the processor. Without such a lane Peer::grant answers `unavailable`, and so do transfers, at
  /// once or when lanes that were lost stay away for peer_timeout.
  /// Errors: invalid (0 bytes), exhausted (locked memory: names the limit), unsupported (device memory that no transport can
  /// hold: names each one's reason and the remedy).
  Result<Buffer> register_memory(std::span<std::byte> memory, MemoryKind kind = MemoryKind::host);

  /// Accepts peers. Returns the bound address (port 0: the system's choice).
  /// Errors: refused (not loopback, without credentials or the insecure policy), unavailable (in use), invalid, unsupported (no
  /// transport that can, or that accept_policy does not forbid).
  Result<Address> listen(const Address& address);

  /// Starts connecting and returns at once; PeerOptions::on_ready tells the outcome.
  /// Errors: refused (policy), invalid, exhausted (max_peers, max_tenants).
  Result<Peer> connect(const Address& address, PeerOptions options = {});

  /// Sets EngineOptions::rate_limit_bytes_s, at once. Operations that are posted already go on; one may go beyond what is left,
  /// and the next waits for longer. A rate of 0 holds everything back, until it is changed.
  void limit_rate(std::optional<uint64_t> bytes_s);

  /// Sets the rate of a tenant, at once, as limit_rate() does: of what this engine moves by its own puts and gets with all of
  /// the tenant's peers together, in bytes per second, within the engine's; absent: no bound of its own. Peers of a tenant
  /// share what it gets by bytes. A tenant exists, here alone, while it has a rate or a peer (PeerOptions::tenant,
  /// Peer::set_tenant()). Names have 1 to 64 bytes without control characters.
  /// Errors: invalid (the name), exhausted (max_tenants).
  Status limit_tenant(std::string_view name, std::optional<uint64_t> bytes_s);

  /// Does what can be done now without blocking; returns the number of events handled. Callbacks run inside.
  /// Must not be called from a callback.
  size_t poll();

  /// poll(), blocking until something happens or `limit` passed. Returns the number of events handled. The quickest way to
  /// wait: poll() in a loop of your own costs more system calls, since it prepares for wakeup_fd() each time.
  size_t wait(Duration limit);

  /// For foreign loops: readable when poll() should be called, until it returns 0 (arrivals, deadlines, wake()). Transfers and
  /// messages started outside of callbacks need a poll() too, or wake(). Owned by the engine.
  int wakeup_fd() const noexcept;

  /// Makes wait() return and wakeup_fd() readable. The one call that is safe from any thread.
  void wake() noexcept;

  /// When poll() next has timed work, for loops that step virtual time; absent: none.
  std::optional<TimePoint> next_deadline() const;

  uint64_t incarnation() const noexcept;
  std::vector<Peer> peers() const;
  EngineStats stats() const;
  /// Transports, policy, options and where they are in force; plain lines.
  std::string explain() const;

 private:
  explicit Engine(std::unique_ptr<detail::EngineCore> core) noexcept;
  std::unique_ptr<detail::EngineCore> core_;
};

}  // namespace haul
