// Engines on threads of their own, behind handles that any thread may use.
//
// Threads. Everything here may be called from any thread, engine threads included, except where a comment says otherwise. A
// call queues work for the engine's thread (bounded; full: `busy`) and returns at once. Callbacks and replies run on engine
// threads: they must not block (so no future.get() there), must not throw, and must not shut the runtime down.
//
// Every call that was accepted ends: its future is ready, its reply or callback called, exactly once, also when the runtime is
// shut down. A call that was refused (it returns a status that is not ok) calls nothing.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <future>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "haul/engine.h"

namespace haul {

namespace detail {
class RuntimeCore;
class RuntimeWorker;
struct SharedMemory;
struct SharedOperation;
}  // namespace detail

/// What a slow call answers to, once, on an engine's thread.
template <typename T>
using Reply = std::function<void(T)>;

struct SharedSlice;

/// Memory registered with every engine of a runtime: a handle, cheap to copy. The memory lives until the last of these is gone:
/// the handles and slices, the transfers that use it, the grants of it that are neither revoked nor expired (a grant ends with
/// its peer).
class HAUL_API SharedBuffer {
 public:
  SharedBuffer() noexcept = default;

  std::byte* data() const noexcept { return bytes().data(); }
  uint64_t size() const noexcept { return bytes().size(); }
  std::span<std::byte> bytes() const noexcept;
  bool empty() const noexcept { return size() == 0; }

  /// The whole buffer, or a range of it. The range is checked when it is used.
  SharedSlice slice() const;
  SharedSlice slice(uint64_t offset, uint64_t length) const;

 private:
  friend class detail::RuntimeCore;
  friend class detail::RuntimeWorker;
  explicit SharedBuffer(std::shared_ptr<detail::SharedMemory> memory) noexcept : memory_(std::move(memory)) {}
  std::shared_ptr<detail::SharedMemory> memory_;
};

/// A range of a SharedBuffer. Keeps its memory alive.
struct SharedSlice {
  SharedBuffer buffer;
  uint64_t offset = 0;
  uint64_t length = 0;
};

struct SharedPiece {
  SharedSlice local;
  RemoteSlice remote;
};

/// What Transfer::progress() and Transfer::waiting_for() say at one moment.
struct TransferSnapshot {
  Progress progress;
  std::string waiting_for;  ///< empty when done
};

/// A running or finished transfer: a handle, cheap to copy. Dropping it detaches.
class HAUL_API SharedTransfer {
 public:
  SharedTransfer() noexcept = default;
  bool valid() const noexcept { return operation_ != nullptr; }

  /// Ready when the transfer is done, after its on_done callback. Not for default-constructed handles.
  std::shared_future<TransferResult> future() const;
  bool done() const;
  /// As Transfer::cancel(). Never refused.
  void cancel() const;

  /// How far it is. Errors: busy (the queue is full), unavailable (shut down), invalid (a default-constructed handle).
  std::future<Result<TransferSnapshot>> snapshot() const;
  Status snapshot(Reply<Result<TransferSnapshot>> reply) const;

 private:
  friend class SharedPeer;
  explicit SharedTransfer(std::shared_ptr<detail::SharedOperation> operation) noexcept : operation_(std::move(operation)) {}
  std::shared_ptr<detail::SharedOperation> operation_;
};

/// A peer of one of the runtime's engines: a handle, cheap to copy; may outlive the runtime. After the peer is gone transfers
/// end as peer_lost; after shutdown calls are refused as `unavailable`.
/// Transfers: remote slices and TransferOptions::notify are copied by the call; the timeout runs from when the engine takes it
/// up; on_done is called on the engine's thread. What Peer says about errors holds for the transfer's result.
class HAUL_API SharedPeer {
 public:
  SharedPeer() noexcept = default;
  bool valid() const noexcept { return worker_ != nullptr; }
  uint64_t id() const noexcept { return peer_.id(); }  ///< unique within its engine
  size_t engine() const noexcept;

  /// Errors: busy (the queue is full), unavailable (shut down), invalid (no buffer, a buffer of another runtime).
  Result<SharedTransfer> put(const SharedSlice& local, RemoteSlice remote, TransferOptions options = {}) const;
  Result<SharedTransfer> get(const SharedSlice& local, RemoteSlice remote, TransferOptions options = {}) const;
  Result<SharedTransfer> put_batch(std::span<const SharedPiece> pieces, TransferOptions options = {}) const;
  Result<SharedTransfer> get_batch(std::span<const SharedPiece> pieces, TransferOptions options = {}) const;

  /// As Peer::send; the message is copied.
  std::future<Status> send(std::span<const std::byte> message) const;
  Status send(std::span<const std::byte> message, Reply<Status> reply) const;

  /// As Peer::grant.
  std::future<Result<RemoteBuffer>> grant(const SharedSlice& slice, Rights rights, GrantOptions options = {}) const;
  Status grant(const SharedSlice& slice, Rights rights, GrantOptions options, Reply<Result<RemoteBuffer>> reply) const;

  /// As Peer::revoke, answered when no byte can land or leave through the grant any more.
  std::future<Status> revoke(const RemoteBuffer& granted) const;
  Status revoke(const RemoteBuffer& granted, Reply<Status> reply) const;

  Status close(bool graceful = true) const;

  /// Runs `call` on the engine's thread, for everything else a Peer can do.
  Status post(std::function<void(Peer)> call) const;

  bool operator==(const SharedPeer&) const = default;

 private:
  friend class detail::RuntimeWorker;
  SharedPeer(std::shared_ptr<detail::RuntimeWorker> worker, Peer peer) noexcept : worker_(std::move(worker)), peer_(peer) {}
  Result<SharedTransfer> start(bool is_put, std::span<const SharedPiece> pieces, TransferOptions options) const;

  std::shared_ptr<detail::RuntimeWorker> worker_;
  Peer peer_;
};

/// What one engine is made of.
struct EngineParts {
  EngineOptions options;
  std::vector<std::unique_ptr<Transport>> transports;
};

struct RuntimeOptions {
  size_t engines = 1;              ///< and threads
  size_t max_queued_calls = 1024;  ///< per engine

  /// Makes the parts of engine `index`. Called on that engine's thread, for one engine after the other. So that all engines
  /// accept peers at one address, give their transports a shared acceptor (tcp::Options::acceptor).
  std::function<Result<EngineParts>(size_t index)> make_engine;

  /// As in EngineOptions, with thread-safe handles. Those in EngineOptions are called first.
  std::function<void(SharedPeer)> on_peer;
  std::function<void(SharedPeer, const Message&)> on_message;
  std::function<void(SharedPeer, const Status&)> on_peer_closed;
};

enum class ShutdownMode : uint8_t {
  drain,  ///< Running transfers end first, then peers are closed gracefully.
  abort,  ///< Running transfers end as peer_lost.
};

class HAUL_API Runtime {
 public:
  /// Starts the threads. Errors: invalid (options), exhausted (threads), those of make_engine and Engine::create.
  static Result<std::unique_ptr<Runtime>> create(RuntimeOptions options);
  /// shutdown(abort). Not on an engine's thread.
  ~Runtime();
  Runtime(const Runtime&) = delete;
  Runtime& operator=(const Runtime&) = delete;

  size_t engines() const noexcept;

  /// Zeroed memory, registered with every engine. Errors: exhausted, invalid, busy, unavailable.
  std::future<Result<SharedBuffer>> allocate(uint64_t bytes);
  Status allocate(uint64_t bytes, Reply<Result<SharedBuffer>> reply);
  /// The caller's memory. `owner` keeps it valid, and is let go (on any thread) when nothing of haul uses the memory any more.
  std::future<Result<SharedBuffer>> register_memory(std::span<std::byte> memory, std::shared_ptr<void> owner);
  Status register_memory(std::span<std::byte> memory, std::shared_ptr<void> owner, Reply<Result<SharedBuffer>> reply);

  /// Engine::listen on one engine.
  std::future<Result<Address>> listen(const Address& address, size_t engine = 0);
  Status listen(const Address& address, size_t engine, Reply<Result<Address>> reply);

  /// Engine::connect, on the engines in turn; answered when the peer is ready or could not be reached.
  std::future<Result<SharedPeer>> connect(const Address& address, PeerOptions options = {});
  Status connect(const Address& address, PeerOptions options, Reply<Result<SharedPeer>> reply);

  /// The primitive: runs `call` on the thread of engine `index`, outside of Engine::poll(). What was accepted is run, in order.
  /// Errors: invalid (no such engine), busy (the queue is full), unavailable (shut down).
  Status post(size_t index, std::function<void(Engine&)> call);

  /// Ends everything and joins the threads; new calls are refused from the start of it. `limit` bounds draining; what then
  /// still runs is aborted. Again: does nothing. One thread at a time, not an engine's.
  /// Errors: timed_out (something had to be aborted in spite of `drain`), invalid (on an engine's thread).
  Status shutdown(ShutdownMode mode, Duration limit = std::chrono::seconds(30));

 private:
  explicit Runtime(std::unique_ptr<detail::RuntimeCore> core) noexcept;
  std::unique_ptr<detail::RuntimeCore> core_;
};

}  // namespace haul
