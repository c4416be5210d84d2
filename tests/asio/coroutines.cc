// co_await on transfers and connections.
#include <asio/awaitable.hpp>
#include <asio/bind_cancellation_slot.hpp>
#include <asio/cancellation_signal.hpp>
#include <asio/co_spawn.hpp>
#include <asio/detached.hpp>
#include <asio/use_awaitable.hpp>
#include <catch2/catch.hpp>

#include "asio/engine_pair.h"

#ifdef ASIO_HAS_CO_AWAIT
// GCC 12 takes Asio's operator delete of coroutine frames for a mismatch when it inlined the operator new.
#pragma GCC diagnostic ignored "-Wmismatched-new-delete"
#include <asio/experimental/awaitable_operators.hpp>
#include <asio/steady_timer.hpp>

using namespace haul;
using haul::test::EnginePair;

namespace {

asio::awaitable<void> connect_put_get(EnginePair& pair, const Buffer& back, bool& finished) {
  auto [status, peer] = co_await pair.sender_loop->async_connect(pair.address, PeerOptions{}, asio::use_awaitable);
  CHECK(status.to_string() == "ok");
  asio::steady_timer pause(pair.io);
  while (pair.remote.size() == 0) {
    pause.expires_after(std::chrono::milliseconds(1));
    co_await pause.async_wait(asio::use_awaitable);
  }
  const Status put = co_await peer.async_put(pair.source.slice(), pair.remote.slice(), asio::use_awaitable);
  CHECK(put.to_string() == "ok");
  CHECK(pair.target_is_source());
  const Status got = co_await peer.async_get(back.slice(), pair.remote.slice(), TransferOptions{}, asio::use_awaitable);
  CHECK(got.to_string() == "ok");
  const Status wrong = co_await peer.async_put(pair.source.slice(), pair.remote.slice(0, 1), asio::use_awaitable);
  CHECK(wrong.code() == StatusCode::invalid);
  finished = true;
}

/// One of many: a range of the source, back and forth, different for each number.
asio::awaitable<void> put_range(EnginePair& pair, uint64_t number, uint64_t bytes, int& finished) {
  const uint64_t offset = number * bytes;
  TransferOptions options;
  options.priority = static_cast<uint8_t>(number % 4);
  const Status put = co_await pair.peer.async_put(pair.source.slice(offset, bytes), pair.remote.slice(offset, bytes), options,
                                                  asio::use_awaitable);
  CHECK(put.to_string() == "ok");
  CHECK(std::memcmp(pair.target.data() + offset, pair.source.data() + offset, bytes) == 0);
  ++finished;
}

asio::awaitable<void> put_for_a_moment(EnginePair& pair, std::span<const Piece> pieces, bool& timer_won) {
  using asio::experimental::awaitable_operators::operator||;
  asio::steady_timer timer(pair.io, std::chrono::milliseconds(100));
  auto first = co_await (pair.peer.async_put_batch(pieces, {}, asio::use_awaitable) || timer.async_wait(asio::use_awaitable));
  timer_won = first.index() == 1;
}

asio::awaitable<void> put_and_tell(EnginePair& pair, std::span<const Piece> pieces, [[maybe_unused]] std::shared_ptr<int> kept,
                                   std::optional<Status>& outcome) {
  outcome = co_await pair.peer.async_put_batch(pieces, {}, asio::use_awaitable);
}

void ended(std::exception_ptr) {}

}  // namespace

TEST_CASE("a coroutine connects, puts and gets", "[asio]") {
  EnginePair pair;
  const Buffer back = pair.sender->allocate(pair.source.size()).value();
  bool finished = false;
  asio::co_spawn(pair.io, connect_put_get(pair, back, finished), asio::detached);
  REQUIRE(pair.run_until([&] { return finished; }));
  CHECK(std::memcmp(back.data(), pair.source.data(), back.size()) == 0);
}

TEST_CASE("many coroutines put at the same time", "[asio]") {
  EnginePair pair(4 << 20);
  pair.connect();
  constexpr int count = 512;
  int finished = 0;
  for (uint64_t number = 0; number < count; ++number) {
    asio::co_spawn(pair.io, put_range(pair, number, pair.source.size() / count, finished), asio::detached);
  }
  REQUIRE(pair.run_until([&] { return finished == count; }));
  CHECK(pair.target_is_source());
}

TEST_CASE("the loser of awaitable || is cancelled and waited for", "[asio]") {
  EnginePair pair(8 << 20);
  pair.connect();
  pair.receiver_loop->stop();
  const auto pieces = pair.more_than_fits(256 << 20);
  bool timer_won = false;
  bool finished = false;
  asio::co_spawn(pair.io, put_for_a_moment(pair, pieces, timer_won), [&](std::exception_ptr) { finished = true; });
  CHECK_FALSE(pair.run_until([&] { return finished; }, std::chrono::milliseconds(300)));
  pair.receiver_loop.emplace(AsioLoop::start(pair.io.get_executor(), *pair.receiver).value());
  REQUIRE(pair.run_until([&] { return finished; }));
  CHECK(timer_won);
}

TEST_CASE("a signal to a coroutine reaches the transfer that it waits for", "[asio]") {
  EnginePair pair(8 << 20);
  pair.connect();
  pair.receiver_loop->stop();
  const auto pieces = pair.more_than_fits(256 << 20);
  asio::cancellation_signal signal;
  std::optional<Status> put;
  asio::co_spawn(pair.io, put_and_tell(pair, pieces, nullptr, put), asio::bind_cancellation_slot(signal.slot(), ended));
  CHECK_FALSE(pair.run_until([&] { return put.has_value(); }, std::chrono::milliseconds(100)));
  signal.emit(asio::cancellation_type::terminal);
  pair.receiver_loop.emplace(AsioLoop::start(pair.io.get_executor(), *pair.receiver).value());
  REQUIRE(pair.run_until([&] { return put.has_value(); }));
  CHECK(put->code() == StatusCode::cancelled);
}

TEST_CASE("a coroutine that waits for a transfer is destroyed with the engine", "[asio]") {
  EnginePair pair(8 << 20);
  pair.connect();
  pair.receiver_loop->stop();
  const auto pieces = pair.more_than_fits(256 << 20);
  auto token = std::make_shared<int>(0);
  const std::weak_ptr<int> kept = token;
  asio::cancellation_signal signal;  // its slot holds the transfer
  std::optional<Status> put;
  asio::co_spawn(pair.io, put_and_tell(pair, pieces, std::move(token), put),
                 asio::bind_cancellation_slot(signal.slot(), ended));
  CHECK_FALSE(pair.run_until([&] { return put.has_value(); }, std::chrono::milliseconds(100)));
  CHECK_FALSE(kept.expired());
  pair.sender_loop->stop();
  pair.source = {};
  pair.sender.reset();
  CHECK(pair.run_until([&] { return kept.expired(); }));  // Asio unwinds coroutines on their executor
  CHECK_FALSE(put);
}

#endif
