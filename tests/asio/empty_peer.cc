// Operations of an empty Peer, which has no engine: they complete all the same, by the same ways.
#include <asio/awaitable.hpp>
#include <asio/bind_cancellation_slot.hpp>
#include <asio/bind_executor.hpp>
#include <asio/cancellation_signal.hpp>
#include <asio/co_spawn.hpp>
#include <asio/detached.hpp>
#include <asio/io_context.hpp>
#include <asio/use_awaitable.hpp>
#include <asio/use_future.hpp>
#include <catch2/catch.hpp>
#include <optional>
#include <vector>

#include "haul/asio.h"

#ifdef ASIO_HAS_CO_AWAIT
// GCC 12 takes Asio's operator delete of coroutine frames for a mismatch when it inlined the operator new.
#pragma GCC diagnostic ignored "-Wmismatched-new-delete"
#endif

using namespace haul;

namespace {

/// Starts one operation of each kind on an empty peer.
template <typename MakeToken>
void start_each(MakeToken&& make_token) {
  Peer empty;
  const std::vector<Piece> pieces(2);
  empty.async_put({}, {}, make_token());
  empty.async_get({}, {}, make_token());
  empty.async_put_batch(pieces, {}, make_token());
  empty.async_get_batch(pieces, {}, make_token());
}

}  // namespace

TEST_CASE("an empty peer's handlers run on their executor, not in the call", "[asio]") {
  asio::io_context io;
  int calls = 0;
  const auto handler = [&](const Status& status) {
    ++calls;
    CHECK(status.code() == StatusCode::invalid);
  };
  start_each([&] { return asio::bind_executor(io, handler); });
  CHECK(calls == 0);
  CHECK(io.poll() == 4);
  CHECK(calls == 4);
  CHECK(io.stopped());
}

TEST_CASE("an empty peer calls a handler without an executor in the call, after on_done", "[asio]") {
  int calls = 0;
  start_each([&] { return [&](const Status&) { ++calls; }; });
  CHECK(calls == 4);

  bool told = false;
  std::optional<Status> put;
  TransferOptions options;
  options.on_done = [&](const TransferResult&) { told = !put; };
  Peer().async_put({}, {}, options, [&](Status status) { put = status; });
  CHECK(told);
  REQUIRE(put);
  CHECK(put->code() == StatusCode::invalid);
}

TEST_CASE("an empty peer's future is ready", "[asio]") {
  std::future<Status> put = Peer().async_put({}, {}, asio::use_future);
  REQUIRE(put.wait_for(std::chrono::seconds(0)) == std::future_status::ready);
  CHECK(put.get().code() == StatusCode::invalid);
}

TEST_CASE("an empty peer leaves no handler in the cancellation slot", "[asio]") {
  asio::io_context io;
  asio::cancellation_signal signal;
  std::optional<Status> put;
  Peer().async_put({}, {},
                   asio::bind_cancellation_slot(signal.slot(), asio::bind_executor(io, [&](Status status) { put = status; })));
  CHECK_FALSE(signal.slot().has_handler());
  signal.emit(asio::cancellation_type::terminal);
  io.poll();
  REQUIRE(put);
  CHECK(put->code() == StatusCode::invalid);
}

#ifdef ASIO_HAS_CO_AWAIT

namespace {

asio::awaitable<void> put_nowhere(std::optional<Status>& put) {
  Peer empty;
  put = co_await empty.async_put({}, {}, asio::use_awaitable);
}

}  // namespace

TEST_CASE("a coroutine that puts to an empty peer goes on", "[asio]") {
  asio::io_context io;
  std::optional<Status> put;
  asio::co_spawn(io, put_nowhere(put), asio::detached);
  io.poll();
  REQUIRE(put);
  CHECK(put->code() == StatusCode::invalid);
}

#endif
