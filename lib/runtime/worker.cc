// The thread of one engine: its loop, its queue, its end.
#include "runtime/worker.h"

#include <fmt/format.h>

#include <algorithm>
#include <system_error>
#include <utility>

#include "base/check.h"

namespace haul::detail {

namespace {

// The engine wakes for everything that happens; this only bounds the wait.
constexpr Duration longest_wait = std::chrono::seconds(60);

}  // namespace

RuntimeWorker::RuntimeWorker(size_t index, std::shared_ptr<const RuntimeOptions> options)
    : index_(index), options_(std::move(options)), calls_(options_->max_queued_calls) {}

Status RuntimeWorker::start() {
  std::promise<Status> started;
  try {
    thread_ = std::thread([this, &started] { run(started); });
  } catch (const std::system_error& error) {
    return Status::from_errno(StatusCode::exhausted, error.code().value(),
                              fmt::format("cannot start the thread of engine {}", index_));
  }
  thread_id_ = thread_.get_id();
  Status status = started.get_future().get();
  if (!status.ok()) thread_.join();
  return status;
}

void RuntimeWorker::run(std::promise<Status>& started) noexcept {
  if (Status status = make_engine(); !status.ok()) return started.set_value(std::move(status));
  started.set_value({});
  while (!stop_asked()) {
    const bool more = run_queued();
    engine_->wait(more ? Duration::zero() : longest_wait);
  }
  ended_ = wind_down();
  destroy_engine();
}

Status RuntimeWorker::make_engine() {
  Result<EngineParts> parts = options_->make_engine(index_);
  if (!parts) return parts.status();
  clock_ = parts->options.clock != nullptr ? parts->options.clock : &system_clock();
  peer_timeout_ = parts->options.peer_timeout;
  install_callbacks(parts->options);
  auto engine = Engine::create(std::move(parts->options), std::move(parts->transports));
  if (!engine) return engine.status();
  engine_ = std::move(*engine);
  const std::lock_guard lock(mutex_);
  awake_ = engine_.get();
  accepting_ = true;
  return {};
}

void RuntimeWorker::install_callbacks(EngineOptions& options) {
  if (options_->on_peer) {
    options.on_peer = [this, first = std::move(options.on_peer)](Peer peer) {
      if (first) first(peer);
      options_->on_peer(share(peer));
    };
  }
  if (options_->on_message) {
    options.on_message = [this, first = std::move(options.on_message)](Peer peer, const Message& message) {
      if (first) first(peer, message);
      options_->on_message(share(peer), message);
    };
  }
  options.on_peer_closed = [this, first = std::move(options.on_peer_closed)](Peer peer, const Status& status) {
    held_.drop_peer(peer.id());
    if (first) first(peer, status);
    if (options_->on_peer_closed) options_->on_peer_closed(share(peer), status);
  };
}

Status RuntimeWorker::post(Call call) {
  const std::lock_guard lock(mutex_);
  if (!accepting_) return Status(StatusCode::unavailable, "the runtime was shut down: make a new one");
  if (calls_.full()) {
    return Status(StatusCode::busy,
                  fmt::format("engine {} has {} calls waiting (RuntimeOptions::max_queued_calls): call again after "
                              "some have ended",
                              index_, calls_.size()));
  }
  calls_.push(std::move(call));
  wake_locked();
  return {};
}

void RuntimeWorker::cancel(std::shared_ptr<SharedOperation> operation) {
  if (operation->cancel_asked.exchange(true)) return;
  const std::lock_guard lock(mutex_);
  if (awake_ == nullptr) return;
  cancels_.push_back(std::move(operation));
  wake_locked();
}

void RuntimeWorker::release(std::shared_ptr<SharedRegistration> registration) {
  const std::lock_guard lock(mutex_);
  // Without an engine its buffer is empty already, and any thread may destroy it.
  if (awake_ == nullptr) return;
  releases_.push_back(std::move(registration));
  wake_locked();
}

void RuntimeWorker::wake_locked() noexcept {
  if (awake_ != nullptr && !std::exchange(woken_, true)) awake_->wake();
}

void RuntimeWorker::ask_to_stop(ShutdownMode mode, Duration limit) {
  const std::lock_guard lock(mutex_);
  accepting_ = false;
  stopping_ = true;
  stop_mode_ = mode;
  stop_limit_ = limit;
  wake_locked();
}

bool RuntimeWorker::stop_asked() const {
  const std::lock_guard lock(mutex_);
  return stopping_;
}

Status RuntimeWorker::join() {
  thread_.join();
  return ended_;
}

bool RuntimeWorker::run_queued() {
  std::vector<std::shared_ptr<SharedOperation>> cancels;
  std::vector<std::shared_ptr<SharedRegistration>> releases;
  size_t calls = 0;
  {
    const std::lock_guard lock(mutex_);
    woken_ = false;  // what comes from now on wakes the engine again, so nothing is missed
    cancels.swap(cancels_);
    releases.swap(releases_);
    calls = calls_.size();
  }
  for (const auto& operation : cancels) {
    // Not begun yet: begin() will look. Over: too late.
    if (operation->transfer.valid()) operation->transfer.cancel();
  }
  for (const auto& registration : releases) registrations_.erase(registration);
  releases.clear();
  for (; calls > 0; --calls) {
    Call call;
    {
      const std::lock_guard lock(mutex_);
      call = calls_.pop();
    }
    call(*engine_);
  }
  // A call may have used up a wake-up by polling the engine itself.
  const std::lock_guard lock(mutex_);
  return !calls_.empty() || !cancels_.empty() || !releases_.empty();
}

Status RuntimeWorker::check(const SharedBuffer& buffer) const {
  if (!buffer.memory_)
    return Status(StatusCode::invalid, "the slice has no buffer: take it from a SharedBuffer of this runtime");
  const auto& places = buffer.memory_->places;
  if (index_ < places.size() && places[index_].worker.get() == this) return {};
  return Status(StatusCode::invalid, "the buffer belongs to another runtime: register the memory with this one");
}

SharedMemory::Place RuntimeWorker::keep(Buffer buffer, std::shared_ptr<void> owner) {
  auto registration = std::make_shared<SharedRegistration>(SharedRegistration{std::move(owner), std::move(buffer)});
  registrations_.insert(registration);
  return {shared_from_this(), std::move(registration)};
}

Slice RuntimeWorker::local(const SharedSlice& slice) const {
  return slice.buffer.memory_->places[index_].registration->buffer.slice(slice.offset, slice.length);
}

void RuntimeWorker::begin(const std::shared_ptr<SharedOperation>& operation) {
  if (operation->cancel_asked) {
    return finish(operation, {Status(StatusCode::cancelled, "the transfer was cancelled before it started"), 0});
  }
  running_.insert(operation);
  std::vector<Piece> pieces;
  pieces.reserve(operation->work.size());
  for (const SharedWork& work : operation->work) {
    pieces.push_back({local(work.local), work.remote.slice(work.remote_offset, work.remote_length)});
  }
  TransferOptions options = operation->options;
  if (operation->notify) options.notify = *operation->notify;
  options.on_done = [this, operation](const TransferResult& result) { finish(operation, result); };
  Peer peer = operation->peer;
  operation->transfer =
      operation->is_put ? peer.put_batch(pieces, std::move(options)) : peer.get_batch(pieces, std::move(options));
}

void RuntimeWorker::finish(const std::shared_ptr<SharedOperation>& over, TransferResult result) {
  // NOLINTNEXTLINE(performance-unnecessary-copy-initialization): `over` may be the one in running_, which is erased below
  const std::shared_ptr<SharedOperation> operation = over;
  if (std::exchange(operation->over, true)) return;
  running_.erase(operation);
  operation->last = operation->transfer.progress();
  // Here, because the handles' last holder may be another thread.
  operation->transfer = {};
  operation->work.clear();
  if (const TransferCallback on_done = std::exchange(operation->on_done, {})) on_done(result);
  operation->promise.set_value(std::move(result));
}

Result<RemoteBuffer> RuntimeWorker::grant(Peer peer, const SharedSlice& slice, Rights rights, const GrantOptions& options) {
  Result<RemoteBuffer> granted = peer.grant(local(slice), rights, options);
  if (!granted) return granted;
  const TimePoint now = clock_->now();
  std::optional<TimePoint> until;
  // An expired grant is quiet, or its peer lost, within the peer timeout; twice that is on the safe side.
  if (options.expires_after) until = now + *options.expires_after + 2 * peer_timeout_;
  held_.hold(peer.id(), granted->grant_id(), slice.buffer, until, now);
  return granted;
}

void RuntimeWorker::revoke(Peer peer, const RemoteBuffer& granted, const Reply<Status>& reply) {
  auto done = [this, peer, grant = granted.grant_id(), reply] {
    held_.drop(peer.id(), grant);
    reply(Status());
  };
  if (Status status = peer.revoke(granted, std::move(done)); !status.ok()) reply(std::move(status));
}

Status RuntimeWorker::wind_down() {
  run_queued();  // the last calls: no more are accepted
  ShutdownMode mode{};
  Duration limit{};
  {
    const std::lock_guard lock(mutex_);
    mode = stop_mode_;
    limit = stop_limit_;
  }
  bool orderly = true;
  if (mode == ShutdownMode::drain) {
    const TimePoint end = clock_->now() + limit;
    orderly = turn_until(end, [this] { return running_.empty(); });
    close_peers(true);
    orderly = turn_until(end, [this] { return !has_peers(); }) && orderly;
  }
  close_peers(false);
  turn_until(clock_->now() + peer_timeout_, [this] { return !has_peers() && running_.empty(); });
  if (orderly) return {};
  return Status(StatusCode::timed_out,
                fmt::format("engine {} could not end its transfers and connections within {} ms: they were aborted", index_,
                            limit / std::chrono::milliseconds(1)));
}

template <typename Done>
bool RuntimeWorker::turn_until(TimePoint end, Done done) {
  while (!done()) {
    const Duration left = end - clock_->now();
    if (left <= Duration::zero()) return false;
    const bool more = run_queued();
    engine_->wait(more ? Duration::zero() : left);
  }
  return true;
}

bool RuntimeWorker::has_peers() const {
  return std::ranges::any_of(engine_->peers(), [](const Peer& peer) { return peer.state() != PeerState::closed; });
}

void RuntimeWorker::close_peers(bool graceful) {
  for (Peer& peer : engine_->peers()) peer.close(graceful);
}

void RuntimeWorker::destroy_engine() {
  std::vector<std::shared_ptr<SharedOperation>> cancels;  // dropped without the lock: what they hold may call release()
  std::vector<std::shared_ptr<SharedRegistration>> releases;
  {
    const std::lock_guard lock(mutex_);
    awake_ = nullptr;
    cancels.swap(cancels_);
    releases.swap(releases_);
  }
  // Only what the engine could not prove quiet in time is left, if anything.
  const auto left = std::exchange(running_, {});
  for (const auto& operation : left) operation->transfer = {};
  // Their memory stays until the engine, which may still use it, is gone.
  const auto registrations = std::exchange(registrations_, {});
  for (const auto& registration : registrations) registration->buffer = {};
  engine_.reset();
  for (const auto& operation : left) finish(operation, {Status(StatusCode::peer_lost, "the runtime was shut down"), 0});
  held_.clear();
}

}  // namespace haul::detail
