// A running or finished put, get or batch.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>

#include "haul/buffer.h"
#include "haul/export.h"
#include "haul/status.h"
#include "haul/time.h"

namespace haul {

namespace detail {
struct TransferState;
class EngineCore;
}  // namespace detail

/// One piece of a batch: `local.length` bytes between `local` and `remote` (whose length must be the same).
struct Piece {
  Slice local;
  RemoteSlice remote;
};

struct TransferResult {
  Status status;
  uint64_t bytes = 0;  ///< Verified as placed. All of the transfer's when ok; else a lower bound, with no particular order.
};

/// Called once, on the engine's thread, from Engine::poll(). May start and cancel transfers; must not destroy the engine.
using TransferCallback = std::function<void(const TransferResult&)>;

struct TransferOptions {
  /// From the call. At the deadline the transfer ends as a cancel does: timed_out once quiet, peer_lost if that cannot be
  /// proven within EngineOptions::peer_timeout. Absent: no deadline (a silent peer still ends it as peer_lost).
  std::optional<Duration> timeout;
  /// Higher goes first; equals share in turn.
  uint8_t priority = 128;
  /// Puts only: delivered to the peer's on_message after all of the transfer is placed, verified and visible there.
  /// Copied by the call. At most EngineOptions::max_message_bytes. One of four bytes, behind a put that is one operation,
  /// without a checksum, travels in the write itself where the backend can do that (rdma).
  std::optional<std::span<const std::byte>> notify;
  TransferCallback on_done;
};

struct Progress {
  uint64_t bytes_total = 0;
  uint64_t bytes_done = 0;  ///< verified as placed
  uint64_t operations_outstanding = 0;
};

/// A handle. Dropping it detaches: the transfer goes on to its end, and its callback still comes.
/// Threading: the engine's thread only.
class HAUL_API Transfer {
 public:
  Transfer() noexcept;
  ~Transfer();
  Transfer(Transfer&&) noexcept;
  Transfer& operator=(Transfer&&) noexcept;
  Transfer(const Transfer&) = delete;
  Transfer& operator=(const Transfer&) = delete;

  /// False only for a default-constructed or moved-from handle.
  bool valid() const noexcept { return state_ != nullptr; }
  uint64_t id() const noexcept;
  bool done() const noexcept;
  /// The outcome; `busy` while it runs.
  Status status() const;
  Progress progress() const noexcept;

  /// Asks for an early end. It ends as `cancelled` once both sides are proven quiet, as peer_lost if that cannot be proven, or
  /// with ok if it was over already. Never blocks; buffers may be reused only after done().
  void cancel();

  /// What a running transfer waits for, in words ("credit on lane 2", "the peer's answer to 3 operations"); empty when done.
  std::string waiting_for() const;

 private:
  friend class detail::EngineCore;
  explicit Transfer(std::shared_ptr<detail::TransferState> state) noexcept;
  std::shared_ptr<detail::TransferState> state_;
};

}  // namespace haul
