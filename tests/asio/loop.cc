// AsioLoop: drives an engine, gives its file descriptor back, reports what cannot be connected.
#include <fcntl.h>

#include <catch2/catch.hpp>

#include "asio/engine_pair.h"

using namespace haul;
using haul::test::EnginePair;

TEST_CASE("without its loops the io_context runs out of work", "[asio]") {
  EnginePair pair;
  pair.connect();
  pair.receiver_loop->stop();
  pair.sender_loop->stop();
  pair.sender_loop->stop();
  pair.io.restart();
  pair.io.run_for(std::chrono::seconds(10));
  CHECK(pair.io.stopped());
}

TEST_CASE("a stopped loop leaves the engine and its descriptor intact", "[asio]") {
  EnginePair pair;
  pair.connect();
  pair.sender_loop.reset();
  REQUIRE(fcntl(pair.sender->wakeup_fd(), F_GETFD) >= 0);
  std::optional<Status> put;
  pair.peer.async_put(pair.source.slice(), pair.remote.slice(), [&](Status status) { put = status; });
  REQUIRE(pair.run_until([&] { return pair.sender->poll(), put.has_value(); }));
  CHECK(put->to_string() == "ok");
}

TEST_CASE("a loop can be moved", "[asio]") {
  EnginePair pair;
  AsioLoop moved = std::move(*pair.sender_loop);
  pair.sender_loop = std::move(moved);
  pair.connect();
  CHECK(pair.peer.state() == PeerState::ready);
}

TEST_CASE("async_connect says why there is no peer", "[asio]") {
  EnginePair pair;
  std::optional<Status> not_loopback, nobody_there;
  pair.sender_loop->async_connect(Address{"192.0.2.1", 9}, PeerOptions{}, [&](Status status, Peer) { not_loopback = status; });
  pair.sender_loop->async_connect(Address{"127.0.0.1", 1}, PeerOptions{}, [&](Status status, Peer) { nobody_there = status; });
  CHECK_FALSE(not_loopback);
  CHECK_FALSE(nobody_there);
  REQUIRE(pair.run_until([&] { return not_loopback && nobody_there; }));
  CHECK(not_loopback->code() == StatusCode::refused);
  CHECK(nobody_there->code() == StatusCode::unavailable);
}
