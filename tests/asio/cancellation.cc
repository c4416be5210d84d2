// Per-operation cancellation: the handler comes once both sides are quiet.
#include <asio/bind_cancellation_slot.hpp>
#include <asio/cancellation_signal.hpp>
#include <catch2/catch.hpp>

#include "asio/engine_pair.h"

using namespace haul;
using haul::test::EnginePair;

namespace {

constexpr uint64_t too_much = 256 << 20;
constexpr auto a_moment = std::chrono::milliseconds(100);

}  // namespace

TEST_CASE("a cancelled put ends as cancelled, and nothing lands afterwards", "[asio]") {
  EnginePair pair(8 << 20);
  pair.connect();
  // While the receiver is not polled the put cannot end, so the cancellation meets it in full swing.
  pair.receiver_loop->stop();
  asio::cancellation_signal signal;
  std::optional<Status> put;
  const auto pieces = pair.more_than_fits(too_much);
  pair.peer.async_put_batch(pieces, {}, asio::bind_cancellation_slot(signal.slot(), [&](Status status) { put = status; }));
  CHECK_FALSE(pair.run_until([&] { return put.has_value(); }, a_moment));

  signal.emit(asio::cancellation_type::terminal);
  CHECK_FALSE(put);  // quiet has to be proven first
  pair.receiver_loop.emplace(AsioLoop::start(pair.io.get_executor(), *pair.receiver).value());
  REQUIRE(pair.run_until([&] { return put.has_value(); }));
  CHECK(put->code() == StatusCode::cancelled);

  EnginePair::fill(pair.source, 99);
  EnginePair::fill(pair.target, 1234);
  const std::vector<std::byte> before(pair.target.bytes().begin(), pair.target.bytes().end());
  CHECK_FALSE(pair.run_until([] { return false; }, a_moment));
  CHECK(std::memcmp(before.data(), pair.target.data(), before.size()) == 0);

  // The slot is free again, and the peer works.
  signal.emit(asio::cancellation_type::terminal);
  std::optional<Status> again;
  pair.peer.async_put(pair.source.slice(), pair.remote.slice(), [&](Status status) { again = status; });
  REQUIRE(pair.run_until([&] { return again.has_value(); }));
  CHECK(again->to_string() == "ok");
  CHECK(pair.target_is_source());
}

TEST_CASE("total cancellation is not promised, so it is ignored", "[asio]") {
  EnginePair pair(8 << 20);
  pair.connect();
  pair.receiver_loop->stop();
  asio::cancellation_signal signal;
  std::optional<Status> put;
  const auto pieces = pair.more_than_fits(too_much);
  pair.peer.async_put_batch(pieces, {}, asio::bind_cancellation_slot(signal.slot(), [&](Status status) { put = status; }));
  CHECK_FALSE(pair.run_until([&] { return put.has_value(); }, a_moment));
  signal.emit(asio::cancellation_type::total);
  pair.receiver_loop.emplace(AsioLoop::start(pair.io.get_executor(), *pair.receiver).value());
  REQUIRE(pair.run_until([&] { return put.has_value(); }));
  CHECK(put->to_string() == "ok");
}

TEST_CASE("a signal after the engine ended does nothing", "[asio]") {
  EnginePair pair(8 << 20);
  pair.connect();
  pair.receiver_loop->stop();
  asio::cancellation_signal signal;
  bool called = false;
  const auto pieces = pair.more_than_fits(too_much);
  pair.peer.async_put_batch(pieces, {}, asio::bind_cancellation_slot(signal.slot(), [&](Status) { called = true; }));
  CHECK_FALSE(pair.run_until([&] { return called; }, a_moment));
  pair.sender_loop->stop();
  pair.source = {};
  pair.sender.reset();
  signal.emit(asio::cancellation_type::terminal);
  CHECK_FALSE(called);
}

TEST_CASE("a connection attempt can be cancelled", "[asio]") {
  EnginePair pair;
  pair.receiver_loop->stop();  // the handshake gets no answer
  asio::cancellation_signal signal;
  std::optional<Status> connected;
  pair.sender_loop->async_connect(
      pair.address, PeerOptions{},
      asio::bind_cancellation_slot(signal.slot(), [&](Status status, Peer) { connected = status; }));
  CHECK_FALSE(pair.run_until([&] { return connected.has_value(); }, a_moment));
  signal.emit(asio::cancellation_type::terminal);
  CHECK_FALSE(connected);
  REQUIRE(pair.run_until([&] { return connected.has_value(); }, std::chrono::seconds(3)));
  CHECK_FALSE(connected->ok());
}
