// An established (or establishing) connection to another engine, over one or more lanes.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "haul/buffer.h"
#include "haul/congestion.h"
#include "haul/credentials.h"
#include "haul/export.h"
#include "haul/status.h"
#include "haul/telemetry.h"
#include "haul/transfer.h"

namespace haul {

namespace detail {
class EngineCore;
}  // namespace detail

class Peer;

enum class PeerState : uint8_t { connecting, ready, closed };

/// Which transports a peer may be reached over, by Capabilities::name. Never a silent downgrade: explain() says what was
/// chosen and why.
struct TransportPolicy {
  std::vector<std::string> require;  ///< Only these. If none of them works, connecting fails.
  std::vector<std::string> prefer;   ///< These first, in this order; others if they do not work, and it is logged.
  std::vector<std::string> forbid;   ///< Never these.
};

struct PeerOptions {
  TransportPolicy policy;
  /// Connections to the peer over the transport that payload takes. Over tcp one of them also carries control messages. 0: what
  /// the transport does best with: rdma two queue pairs, or one for each port if those are more; tcp one at first, then as many
  /// as bring something for what either side sends, no more aggressive together than one (docs/congestion-control.md).
  uint32_t lanes = 0;
  Duration connect_timeout = std::chrono::seconds(10);
  /// The weakest protection of the links to this peer; absent: EngineOptions::protection.
  std::optional<Protection> protection = std::nullopt;
  /// Of what we send to this peer, and ask of it; absent: EngineOptions::congestion.
  std::optional<CongestionPolicy> congestion = std::nullopt;
  /// Whom this peer's rate and share are part of: Engine::limit_tenant(). Absent, or empty: nobody; it stands beside the
  /// tenants. (Not a bare string: GCC 12 copies the bits of temporaries in co_await expressions, and options are often such.)
  std::optional<std::string> tenant = std::nullopt;
  /// As EngineOptions::rate_limit_bytes_s, within its tenant's and that one. See Peer::limit_rate().
  std::optional<uint64_t> rate_limit_bytes_s = std::nullopt;
  /// Called once when the peer is ready (ok) or could not be reached (why): within connect_timeout either way. Ready means that
  /// a lane is which may carry payload; what the peer says before is delivered afterwards. On the engine's thread, from poll().
  std::function<void(Peer, const Status&)> on_ready;
};

struct GrantOptions {
  std::optional<Duration> expires_after;  ///< Enforced by this side, the owner. Absent: until revoked.
};

/// A small copyable handle. After the peer is gone every call answers peer_lost. So do the calls on an empty
/// (default-constructed) one, except transfers, which end as `invalid`.
/// Threading: the engine's thread only. Must not be used after the engine is destroyed.
class HAUL_API Peer {
 public:
  Peer() noexcept = default;

  PeerState state() const noexcept;
  uint64_t id() const noexcept { return id_; }
  /// Why it closed; ok while it lives.
  Status status() const;
  /// What the peer calls itself. Who it proved to be is identity().
  std::string name() const;
  /// Empty without credentials, and before the peer is ready.
  PeerIdentity identity() const;

  /// Writes `local` into the peer's memory. Done means: every byte is there and its checksum matched, as told by the peer.
  /// Errors in the call itself (ranges, rights, lengths that differ) end the transfer at once as `invalid` or `refused`, and
  /// never touch memory. A full engine answers `busy`. The callback of such a transfer comes from the next poll(); but an
  /// empty Peer has no engine that is polled: its transfers end as `invalid`, with their callback from inside the call.
  ///
  /// A notification does not wait for the peer's answers. If a lane dies with them, the transfer may end as cancelled,
  /// timed_out or peer_lost although all of it was placed and its notification delivered: such an end does not prove that
  /// nobody was told.
  Transfer put(Slice local, RemoteSlice remote, TransferOptions options = {});

  /// Reads the peer's memory into `local`.
  Transfer get(Slice local, RemoteSlice remote, TransferOptions options = {});

  /// Many pieces in one call, done when all are. `pieces` is copied; the buffers are not. Order among pieces is not promised,
  /// and overlapping destinations have no defined winner.
  Transfer put_batch(std::span<const Piece> pieces, TransferOptions options = {});
  Transfer get_batch(std::span<const Piece> pieces, TransferOptions options = {});

  /// A message by itself (copied): ordered among messages of this peer, at most once. At most
  /// EngineOptions::max_message_bytes; an empty one is delivered like any other. Errors: busy (the send queue is full: try
  /// after poll()), peer_lost, invalid (size).
  Status send(std::span<const std::byte> message);

  /// Lets this peer use a range of our memory. The result is sent to the peer by any way you like (a message, your own
  /// control plane); it is usable by this peer only. Errors: invalid, busy (max_grants_per_peer), peer_lost; of device memory
  /// also unavailable (no lane over a transport that holds it is up) and unsupported (the transport can't grant it, or the peer
  /// is too old to know of it).
  Result<RemoteBuffer> grant(Slice slice, Rights rights, GrantOptions options = {});

  /// Takes a grant back at once. `on_revoked` comes from poll() when no byte can land or leave through it any more: the memory
  /// is ours alone again. Errors: invalid (no such grant of this peer).
  Status revoke(const RemoteBuffer& granted, std::function<void()> on_revoked = {});

  /// Sets PeerOptions::rate_limit_bytes_s, also of peers that came, as Engine::limit_rate() does.
  void limit_rate(std::optional<uint64_t> bytes_s);

  /// Sets PeerOptions::tenant, also of peers that came, at once and while bytes move; empty: no tenant. On an error it stays
  /// where it is. Errors: peer_lost, invalid (the name: see Engine::limit_tenant()), exhausted (EngineOptions::max_tenants).
  Status set_tenant(std::string_view name);

  /// Ends the connection. `graceful` lets running transfers end first (bounded by EngineOptions::peer_timeout); otherwise they
  /// end as peer_lost. on_peer_closed follows.
  void close(bool graceful = true);

  /// Which transport was chosen, on which addresses and device, and why each other one was not; plain lines.
  std::string explain() const;
  PeerStats stats() const;

  /// Engine::wake() of this peer's engine.
  void wake() const noexcept;

  /// Completion-token forms, `void(haul::Status)`. Defined in haul/asio.h: include it to use them.
  template <typename CompletionToken>
  auto async_put(Slice local, RemoteSlice remote, TransferOptions options, CompletionToken&& token);
  template <typename CompletionToken>
  auto async_put(Slice local, RemoteSlice remote, CompletionToken&& token);
  template <typename CompletionToken>
  auto async_get(Slice local, RemoteSlice remote, TransferOptions options, CompletionToken&& token);
  template <typename CompletionToken>
  auto async_get(Slice local, RemoteSlice remote, CompletionToken&& token);
  template <typename CompletionToken>
  auto async_put_batch(std::span<const Piece> pieces, TransferOptions options, CompletionToken&& token);
  template <typename CompletionToken>
  auto async_get_batch(std::span<const Piece> pieces, TransferOptions options, CompletionToken&& token);

  bool operator==(const Peer&) const = default;

 private:
  friend class detail::EngineCore;
  Peer(detail::EngineCore* core, uint64_t id) noexcept : core_(core), id_(id) {}
  detail::EngineCore* core_ = nullptr;
  uint64_t id_ = 0;
};

}  // namespace haul
