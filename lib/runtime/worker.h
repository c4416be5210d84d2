// One engine of a runtime with its thread and the queue that leads to it.
#pragma once

#include <functional>
#include <future>
#include <memory>
#include <mutex>
#include <thread>
#include <unordered_set>
#include <vector>

#include "base/ring.h"
#include "haul/runtime.h"
#include "runtime/held_buffers.h"
#include "runtime/shared.h"

namespace haul::detail {

/// Outlives its thread as long as handles refer to it; then every call is refused.
class RuntimeWorker : public std::enable_shared_from_this<RuntimeWorker> {
 public:
  using Call = std::function<void(Engine&)>;

  RuntimeWorker(size_t index, std::shared_ptr<const RuntimeOptions> options);

  // The runtime's thread.

  /// Starts the thread and waits until it has made the engine.
  Status start();
  /// From now on new calls are refused.
  void ask_to_stop(ShutdownMode mode, Duration limit);
  /// After ask_to_stop(). Says whether it was orderly.
  Status join();

  // Any thread.

  size_t index() const noexcept { return index_; }
  bool runs_this_thread() const noexcept { return std::this_thread::get_id() == thread_id_; }
  Status post(Call call);
  void cancel(std::shared_ptr<SharedOperation> operation);
  void release(std::shared_ptr<SharedRegistration> registration);
  /// invalid, with the reason, if the buffer is not this runtime's.
  Status check(const SharedBuffer& buffer) const;

  // The engine's thread.

  SharedPeer share(Peer peer) { return SharedPeer(shared_from_this(), peer); }
  SharedMemory::Place keep(Buffer buffer, std::shared_ptr<void> owner);
  void begin(const std::shared_ptr<SharedOperation>& operation);
  Result<RemoteBuffer> grant(Peer peer, const SharedSlice& slice, Rights rights, const GrantOptions& options);
  void revoke(Peer peer, const RemoteBuffer& granted, const Reply<Status>& reply);

 private:
  void run(std::promise<Status>& started) noexcept;
  Status make_engine();
  void install_callbacks(EngineOptions& options);
  /// True if more came meanwhile.
  bool run_queued();
  bool stop_asked() const;
  void wake_locked() noexcept;

  // By value: ending a transfer may destroy what the caller's references point to.
  void finish(const std::shared_ptr<SharedOperation>& over, TransferResult result);
  Slice local(const SharedSlice& slice) const;

  Status wind_down();
  template <typename Done>
  bool turn_until(TimePoint end, Done done);
  bool has_peers() const;
  void close_peers(bool graceful);
  void destroy_engine();

  const size_t index_;
  const std::shared_ptr<const RuntimeOptions> options_;
  std::thread thread_;
  std::thread::id thread_id_;
  Status ended_;  // written by the thread, read after it was joined

  mutable std::mutex mutex_;  // guards the rest of this block
  bool accepting_ = false;
  bool stopping_ = false;
  bool woken_ = false;
  ShutdownMode stop_mode_ = ShutdownMode::abort;
  Duration stop_limit_{};
  Engine* awake_ = nullptr;  // the engine while it may be woken
  base::Ring<Call> calls_;
  // Never refused, so not in the ring: bounded by the transfers and registrations that exist.
  std::vector<std::shared_ptr<SharedOperation>> cancels_;
  std::vector<std::shared_ptr<SharedRegistration>> releases_;

  // The engine's thread only.
  const Clock* clock_ = nullptr;
  Duration peer_timeout_{};
  std::unique_ptr<Engine> engine_;
  std::unordered_set<std::shared_ptr<SharedOperation>> running_;
  std::unordered_set<std::shared_ptr<SharedRegistration>> registrations_;
  HeldBuffers held_;
};

}  // namespace haul::detail
