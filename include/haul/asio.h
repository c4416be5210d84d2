// Completion tokens for transfers, and AsioLoop, which drives an engine from an io_context. Header-only; standalone Asio.
//
// Threads. An engine is used by one thread at a time. With Asio that means: everything that touches the engine, its peers and
// its transfers runs on the AsioLoop's executor, which is an io_context run by one thread, or a strand. That includes starting
// an operation and emitting a cancellation signal. The async_ calls see to it that the engine is polled; after other calls from
// outside of its callbacks (listen, send, close), call Engine::wake() or Peer::wake().
//
// Completion. The handler is called exactly once, never from inside the call that starts the operation, with the memory quiet.
// It is posted to its associated executor. A handler without one (a plain callback, asio::use_future) is called from inside
// Engine::poll(), as a TransferCallback is: it must not throw, call poll() or destroy the engine. When the engine is destroyed
// with operations running, their handlers are destroyed without a call. Operations of an empty Peer complete with `invalid`; as
// no engine is polled for them, there a handler without an executor is called from inside the call, the one exception.
//
// Cancellation. `terminal` and `partial` signals in the associated slot cancel the transfer: the handler comes once both sides
// are quiet, with `cancelled`. `total` is ignored, because bytes may have moved already.
//
// Lazy tokens (asio::use_awaitable, deferred) read their arguments when they start: what spans, slices and remote slices point
// to must live until then. Coroutines get the Status as the value of co_await, never as an exception.
#pragma once

#include <asio/any_io_executor.hpp>
#include <asio/associated_allocator.hpp>
#include <asio/associated_cancellation_slot.hpp>
#include <asio/associated_executor.hpp>
#include <asio/async_result.hpp>
#include <asio/cancellation_type.hpp>
#include <asio/dispatch.hpp>
#include <asio/error_code.hpp>
#include <asio/execution/context.hpp>
#include <asio/executor_work_guard.hpp>
#include <asio/posix/stream_descriptor.hpp>
#include <asio/post.hpp>
#include <asio/query.hpp>
#include <asio/system_context.hpp>
#include <asio/system_executor.hpp>
#include <memory>
#include <tuple>
#include <type_traits>
#include <utility>

#include "haul/engine.h"

namespace haul {

namespace detail {

template <typename Executor>
constexpr bool has_own_context() {
  if constexpr (asio::can_query<const Executor&, asio::execution::context_t>::value) {
    using Context = decltype(asio::query(std::declval<const Executor&>(), asio::execution::context));
    return !std::is_same_v<std::decay_t<Context>, asio::system_context>;
  } else {
    return false;
  }
}

/// A handler with its arguments, as something that can be posted.
template <typename Handler, typename... Args>
struct AsioCall {
  using allocator_type = asio::associated_allocator_t<Handler>;
  allocator_type get_allocator() const noexcept { return asio::get_associated_allocator(handler); }
  void operator()() { std::apply(std::move(handler), std::move(args)); }

  Handler handler;
  std::tuple<Args...> args;
};

/// A running operation: its handler, and work that keeps the handler's executor running meanwhile.
template <typename Handler, typename Executor>
class AsioOperation {
 public:
  AsioOperation(Handler handler, const Executor& executor) : handler_(std::move(handler)), work_(executor) {}

  auto slot() const noexcept { return asio::get_associated_cancellation_slot(handler_); }

  /// Once. The handler leaves this object before it runs, so that it may free or reuse everything.
  template <typename... Args>
  void complete(Args... args) {
    if (auto cancellation = slot(); cancellation.is_connected()) cancellation.clear();
    auto work = std::move(work_);
    AsioCall<Handler, Args...> call{std::move(handler_), {std::move(args)...}};
    // "Anywhere" (the system context, or an adapter of it such as use_future's) means here: posting would start a pool of
    // threads.
    if constexpr (has_own_context<Executor>()) {
      asio::post(work.get_executor(), std::move(call));
    } else {
      asio::dispatch(work.get_executor(), std::move(call));
    }
  }

 private:
  Handler handler_;
  asio::executor_work_guard<Executor> work_;
};

template <typename Handler, typename Fallback>
auto make_asio_operation(Handler&& handler, const Fallback& fallback) {
  using Plain = std::decay_t<Handler>;
  using Executor = asio::associated_executor_t<Plain, Fallback>;
  const Executor executor = asio::get_associated_executor(handler, fallback);
  const auto allocator = asio::get_associated_allocator(handler);
  return std::allocate_shared<AsioOperation<Plain, Executor>>(allocator, std::forward<Handler>(handler), executor);
}

constexpr bool asks_to_end(asio::cancellation_type type) {
  using asio::cancellation_type;
  return (type & (cancellation_type::terminal | cancellation_type::partial)) != cancellation_type::none;
}

/// What a cancellation slot calls. The slot is cleared when the transfer ends; an engine destroyed before leaves it done.
struct AsioCancelTransfer {
  void operator()(asio::cancellation_type type) {
    if (!asks_to_end(type) || transfer.done()) return;
    transfer.cancel();
    peer.wake();
  }
  Transfer transfer;
  Peer peer;
};

/// Initiates a transfer: `start` takes the TransferOptions and returns the Transfer.
struct AsioStartTransfer {
  template <typename Handler, typename Start>
  void operator()(Handler&& handler, Peer peer, TransferOptions options, Start start) const {
    auto operation = make_asio_operation(std::forward<Handler>(handler), asio::system_executor());
    auto slot = operation->slot();
    options.on_done = [operation = std::move(operation),
                       before = std::move(options.on_done)](const TransferResult& result) noexcept {
      if (before) before(result);
      operation->complete(result.status);
    };
    Transfer transfer = start(std::move(options));
    // Of a transfer that is over already the handler may be, too, and the slot's owner with it.
    if (!transfer.done() && slot.is_connected()) slot.assign(AsioCancelTransfer{std::move(transfer), peer});
    // The engine submits in poll(): have its loop call it.
    peer.wake();
  }
};

}  // namespace detail

template <typename CompletionToken>
auto Peer::async_put(Slice local, RemoteSlice remote, TransferOptions options, CompletionToken&& token) {
  auto start = [peer = *this, local, remote](TransferOptions all) mutable { return peer.put(local, remote, std::move(all)); };
  return asio::async_initiate<CompletionToken, void(Status)>(detail::AsioStartTransfer{}, token, *this, std::move(options),
                                                             start);
}

template <typename CompletionToken>
auto Peer::async_put(Slice local, RemoteSlice remote, CompletionToken&& token) {
  return async_put(local, remote, TransferOptions{}, std::forward<CompletionToken>(token));
}

template <typename CompletionToken>
auto Peer::async_get(Slice local, RemoteSlice remote, TransferOptions options, CompletionToken&& token) {
  auto start = [peer = *this, local, remote](TransferOptions all) mutable { return peer.get(local, remote, std::move(all)); };
  return asio::async_initiate<CompletionToken, void(Status)>(detail::AsioStartTransfer{}, token, *this, std::move(options),
                                                             start);
}

template <typename CompletionToken>
auto Peer::async_get(Slice local, RemoteSlice remote, CompletionToken&& token) {
  return async_get(local, remote, TransferOptions{}, std::forward<CompletionToken>(token));
}

template <typename CompletionToken>
auto Peer::async_put_batch(std::span<const Piece> pieces, TransferOptions options, CompletionToken&& token) {
  auto start = [peer = *this, pieces](TransferOptions all) mutable { return peer.put_batch(pieces, std::move(all)); };
  return asio::async_initiate<CompletionToken, void(Status)>(detail::AsioStartTransfer{}, token, *this, std::move(options),
                                                             start);
}

template <typename CompletionToken>
auto Peer::async_get_batch(std::span<const Piece> pieces, TransferOptions options, CompletionToken&& token) {
  auto start = [peer = *this, pieces](TransferOptions all) mutable { return peer.get_batch(pieces, std::move(all)); };
  return asio::async_initiate<CompletionToken, void(Status)>(detail::AsioStartTransfer{}, token, *this, std::move(options),
                                                             start);
}

/// Calls Engine::poll() from an io_context whenever the engine has work. A movable handle: destroying it stops the loop.
/// The engine must outlive the loop. While it runs it counts as work of the io_context: stop() lets run() return.
/// Threading: the executor's thread or strand only; before run() starts, any one thread.
class AsioLoop {
 public:
  using executor_type = asio::any_io_executor;

  /// Errors: exhausted (the io_context cannot watch one more file descriptor).
  static Result<AsioLoop> start(const executor_type& executor, Engine& engine) {
    auto state = std::make_shared<State>(executor, engine);
    asio::error_code error;
    state->wakeup.assign(engine.wakeup_fd(), error);
    if (error)
      return Status::from_errno(StatusCode::exhausted, error.value(), "cannot watch the engine's file descriptor with Asio");
    state->wait();
    // Calls made before the loop existed want a first poll, too.
    engine.wake();
    return AsioLoop(std::move(state));
  }

  AsioLoop(AsioLoop&& other) noexcept = default;
  AsioLoop& operator=(AsioLoop&& other) noexcept {
    if (this != &other) {
      stop();
      state_ = std::move(other.state_);
    }
    return *this;
  }
  ~AsioLoop() { stop(); }

  executor_type get_executor() const { return state_->wakeup.get_executor(); }

  /// The engine is not polled any more. Running transfers go on when another loop, or the caller, polls it. Idempotent.
  void stop() noexcept {
    if (!state_ || state_->stopped) return;
    state_->stopped = true;
    // The descriptor is the engine's: give it back, do not close it.
    if (state_->wakeup.is_open()) state_->wakeup.release();
  }

  /// Engine::connect with a completion token, `void(haul::Status, haul::Peer)`. A cancellation signal closes the peer; the
  /// handler then gets the reason why it never became ready. The default executor is the loop's.
  template <typename CompletionToken>
  auto async_connect(Address address, PeerOptions options, CompletionToken&& token) {
    return asio::async_initiate<CompletionToken, void(Status, Peer)>(StartConnect{}, token, state_, std::move(address),
                                                                     std::move(options));
  }

 private:
  /// Shared with the handlers that are under way, which find out by `stopped` that they came too late.
  struct State : std::enable_shared_from_this<State> {
    State(const executor_type& executor, Engine& driven) : wakeup(executor), engine(&driven) {}

    void wait() {
      wakeup.async_wait(asio::posix::stream_descriptor::wait_read,
                        [self = this->shared_from_this()](const asio::error_code& error) {
                          if (!error && !self->stopped) self->poll();
                        });
    }

    /// Until the engine has nothing to do, but not longer than is fair to the executor's other handlers.
    void poll() {
      for (int turn = 0; turn < 16; ++turn) {
        const bool idle = engine->poll() == 0;
        if (stopped) return;
        if (idle) return wait();
      }
      asio::post(wakeup.get_executor(), [self = this->shared_from_this()] {
        if (!self->stopped) self->poll();
      });
    }

    asio::posix::stream_descriptor wakeup;
    Engine* engine;
    bool stopped = false;
  };

  struct CancelConnect {
    void operator()(asio::cancellation_type type) {
      if (!detail::asks_to_end(type) || alive.expired()) return;
      peer.close(false);
      peer.wake();
    }
    Peer peer;
    std::weak_ptr<void> alive;
  };

  struct StartConnect {
    template <typename Handler>
    void operator()(Handler&& handler, const std::shared_ptr<State>& state, const Address& address, PeerOptions options) const {
      const executor_type executor = state->wakeup.get_executor();
      auto operation = detail::make_asio_operation(std::forward<Handler>(handler), executor);
      auto slot = operation->slot();
      options.on_ready = [operation, before = std::move(options.on_ready)](Peer peer, const Status& status) noexcept {
        if (before) before(peer, status);
        operation->complete(status, peer);
      };
      Result<Peer> peer = state->engine->connect(address, std::move(options));
      if (!peer) {
        asio::post(executor, [operation, status = peer.status()] { operation->complete(status, Peer()); });
        return;
      }
      if (slot.is_connected()) slot.assign(CancelConnect{*peer, operation});
      peer->wake();
    }
  };

  explicit AsioLoop(std::shared_ptr<State> state) noexcept : state_(std::move(state)) {}
  std::shared_ptr<State> state_;
};

}  // namespace haul
