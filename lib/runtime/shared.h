// What stands behind the handles: memory registered with several engines, and a transfer seen from several threads.
#pragma once

#include <atomic>
#include <cstdint>
#include <future>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "haul/runtime.h"

namespace haul::detail {

/// One engine's registration of shared memory. Destroyed on its engine's thread, or with `buffer` empty; the owner goes last.
struct SharedRegistration {
  std::shared_ptr<void> owner;
  Buffer buffer;
};

struct SharedMemory {
  SharedMemory(std::span<std::byte> memory, size_t engines) : bytes(memory), places(engines) {}
  ~SharedMemory();
  SharedMemory(const SharedMemory&) = delete;
  SharedMemory& operator=(const SharedMemory&) = delete;

  struct Place {
    std::shared_ptr<RuntimeWorker> worker;
    std::shared_ptr<SharedRegistration> registration;
  };
  std::span<std::byte> bytes;
  std::vector<Place> places;  // by engine; each written once by its own thread, before the first handle exists
};

/// A piece with its remote buffer by value: the caller's may be gone when the engine takes it up.
struct SharedWork {
  SharedSlice local;
  RemoteBuffer remote;
  uint64_t remote_offset = 0;
  uint64_t remote_length = 0;
};

struct SharedOperation {
  // Set by the starting thread, then used by the engine's thread only.
  bool is_put = true;
  Peer peer;
  std::vector<SharedWork> work;
  TransferOptions options;  // without the notification and the callback, which are beside it
  std::optional<std::vector<std::byte>> notify;
  TransferCallback on_done;
  Transfer transfer;  // empty before it begins, and once it is over
  Progress last;      // once it is over
  bool over = false;
  std::promise<TransferResult> promise;

  // Any thread.
  std::shared_ptr<RuntimeWorker> worker;
  std::shared_future<TransferResult> future = promise.get_future().share();
  std::atomic<bool> cancel_asked = false;
};

}  // namespace haul::detail
