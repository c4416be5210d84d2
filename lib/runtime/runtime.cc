// Runtime: its workers, and the calls that concern more than one of them.
#include "haul/runtime.h"

#include <fmt/format.h>
#include <sys/mman.h>

#include <atomic>
#include <cerrno>
#include <utility>

#include "base/check.h"
#include "runtime/answer.h"
#include "runtime/worker.h"

namespace haul {

namespace detail {

class RuntimeCore {
 public:
  Status start(RuntimeOptions options);
  Status stop(ShutdownMode mode, Duration limit);
  bool runs_this_thread() const;

  Status register_memory(std::span<std::byte> memory, std::shared_ptr<void> owner, Reply<Result<SharedBuffer>> reply);
  Status check_index(size_t index) const;
  RuntimeWorker& worker(size_t index) { return *workers_[index]; }
  RuntimeWorker& next_worker() { return *workers_[next_.fetch_add(1, std::memory_order_relaxed) % workers_.size()]; }
  size_t size() const noexcept { return workers_.size(); }

 private:
  std::vector<std::shared_ptr<RuntimeWorker>> workers_;
  std::atomic<size_t> next_ = 0;
  bool stopped_ = false;
};

Status RuntimeCore::start(RuntimeOptions options) {
  if (options.engines == 0) return Status(StatusCode::invalid, "RuntimeOptions::engines is 0: give at least one engine");
  if (options.max_queued_calls == 0)
    return Status(StatusCode::invalid, "RuntimeOptions::max_queued_calls is 0: give at least one call");
  if (!options.make_engine)
    return Status(StatusCode::invalid, "RuntimeOptions::make_engine is empty: give a function that makes engines");
  const auto shared = std::make_shared<const RuntimeOptions>(std::move(options));
  for (size_t index = 0; index < shared->engines; ++index) {
    auto worker = std::make_shared<RuntimeWorker>(index, shared);
    if (Status status = worker->start(); !status.ok()) return status;
    workers_.push_back(std::move(worker));
  }
  return {};
}

Status RuntimeCore::stop(ShutdownMode mode, Duration limit) {
  if (std::exchange(stopped_, true)) return {};
  // All are asked before any is waited for: they may be each other's peers.
  for (const auto& worker : workers_) worker->ask_to_stop(mode, limit);
  Status worst;
  for (const auto& worker : workers_) {
    if (Status status = worker->join(); !status.ok()) worst = std::move(status);
  }
  return worst;
}

bool RuntimeCore::runs_this_thread() const {
  for (const auto& worker : workers_) {
    if (worker->runs_this_thread()) return true;
  }
  return false;
}

Status RuntimeCore::check_index(size_t index) const {
  if (index < workers_.size()) return {};
  return Status(StatusCode::invalid, fmt::format("there is no engine {}: the runtime has {}", index, workers_.size()));
}

namespace {

/// Memory on its way into all engines. The last engine answers.
struct Entering {
  Entering(std::span<std::byte> bytes, size_t engines)
      : memory(std::make_shared<SharedMemory>(bytes, engines)), outcomes(engines), left(engines) {}
  std::shared_ptr<SharedMemory> memory;
  std::vector<Status> outcomes;  // by engine
  std::atomic<size_t> left;
  std::shared_ptr<void> owner;  // of the memory
  Reply<Result<SharedBuffer>> reply;
};

Status first_error(const std::vector<Status>& outcomes) {
  for (const Status& status : outcomes) {
    if (!status.ok()) return status;
  }
  return {};
}

}  // namespace

Status RuntimeCore::register_memory(std::span<std::byte> memory, std::shared_ptr<void> owner,
                                    Reply<Result<SharedBuffer>> reply) {
  auto entering = std::make_shared<Entering>(memory, workers_.size());
  entering->owner = std::move(owner);
  entering->reply = std::move(reply);
  for (const auto& worker : workers_) {
    auto enter = [entering, target = worker.get()](Engine& engine) {
      Result<Buffer> buffer = engine.register_memory(entering->memory->bytes);
      if (buffer) {
        entering->memory->places[target->index()] = target->keep(std::move(*buffer), entering->owner);
      } else {
        entering->outcomes[target->index()] = buffer.status();
      }
      if (entering->left.fetch_sub(1) > 1) return;
      if (Status status = first_error(entering->outcomes); !status.ok()) return entering->reply(std::move(status));
      entering->reply(SharedBuffer(std::move(entering->memory)));
    };
    // Refused by one: it never becomes the last engine's turn to answer, and the others let go when `entering` goes.
    if (Status status = worker->post(std::move(enter)); !status.ok()) return status;
  }
  return {};
}

}  // namespace detail

Runtime::Runtime(std::unique_ptr<detail::RuntimeCore> core) noexcept : core_(std::move(core)) {}

Result<std::unique_ptr<Runtime>> Runtime::create(RuntimeOptions options) {
  // The Runtime comes first: its destructor stops the engines that did start.
  std::unique_ptr<Runtime> runtime(new Runtime(std::make_unique<detail::RuntimeCore>()));
  if (Status status = runtime->core_->start(std::move(options)); !status.ok()) return status;
  return runtime;
}

Runtime::~Runtime() {
  base::check(!core_->runs_this_thread(), "a Runtime is destroyed on one of its engines' threads");
  core_->stop(ShutdownMode::abort, Duration::zero());
}

size_t Runtime::engines() const noexcept { return core_->size(); }

Status Runtime::shutdown(ShutdownMode mode, Duration limit) {
  if (core_->runs_this_thread()) {
    return Status(StatusCode::invalid,
                  "shutdown waits for the engines' threads: call it from a thread that is not one of them");
  }
  return core_->stop(mode, limit);
}

Status Runtime::post(size_t index, std::function<void(Engine&)> call) {
  if (Status status = core_->check_index(index); !status.ok()) return status;
  return core_->worker(index).post(std::move(call));
}

std::future<Result<SharedBuffer>> Runtime::allocate(uint64_t bytes) {
  return detail::as_future<Result<SharedBuffer>>([&](auto reply) { return allocate(bytes, std::move(reply)); });
}

Status Runtime::allocate(uint64_t bytes, Reply<Result<SharedBuffer>> reply) {
  if (bytes == 0) return Status(StatusCode::invalid, "a buffer of 0 bytes cannot be allocated");
  void* address = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (address == MAP_FAILED) {
    return Status::from_errno(StatusCode::exhausted, errno, fmt::format("cannot allocate a buffer of {} bytes", bytes));
  }
  std::shared_ptr<void> owner(address, [bytes](void* mapped) { munmap(mapped, bytes); });
  return register_memory({static_cast<std::byte*>(address), bytes}, std::move(owner), std::move(reply));
}

std::future<Result<SharedBuffer>> Runtime::register_memory(std::span<std::byte> memory, std::shared_ptr<void> owner) {
  return detail::as_future<Result<SharedBuffer>>(
      [&](auto reply) { return register_memory(memory, std::move(owner), std::move(reply)); });
}

Status Runtime::register_memory(std::span<std::byte> memory, std::shared_ptr<void> owner, Reply<Result<SharedBuffer>> reply) {
  return core_->register_memory(memory, std::move(owner), std::move(reply));
}

std::future<Result<Address>> Runtime::listen(const Address& address, size_t engine) {
  return detail::as_future<Result<Address>>([&](auto reply) { return listen(address, engine, std::move(reply)); });
}

Status Runtime::listen(const Address& address, size_t engine, Reply<Result<Address>> reply) {
  return post(engine, [address, reply = std::move(reply)](Engine& on) { reply(on.listen(address)); });
}

std::future<Result<SharedPeer>> Runtime::connect(const Address& address, PeerOptions options) {
  return detail::as_future<Result<SharedPeer>>(
      [&](auto reply) { return connect(address, std::move(options), std::move(reply)); });
}

Status Runtime::connect(const Address& address, PeerOptions options, Reply<Result<SharedPeer>> reply) {
  detail::RuntimeWorker& worker = core_->next_worker();
  const Status lost(StatusCode::unavailable, "the runtime was shut down before the peer was ready");
  auto answer = std::make_shared<detail::Answer<Result<SharedPeer>>>(std::move(reply), lost);
  options.on_ready = [&worker, answer, first = std::move(options.on_ready)](Peer peer, const Status& status) {
    if (first) first(peer, status);
    if (!status.ok()) return answer->give(status);
    answer->give(worker.share(peer));
  };
  Status accepted = worker.post([address, answer, options = std::move(options)](Engine& engine) {
    if (Result<Peer> peer = engine.connect(address, options); !peer) answer->give(peer.status());
  });
  if (!accepted.ok()) answer->withdraw();
  return accepted;
}

}  // namespace haul
