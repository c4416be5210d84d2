// Two engines over TCP on one io_context, connected, with a grant in the sender's hands.
#pragma once

#include <asio/io_context.hpp>
#include <catch2/catch.hpp>
#include <chrono>
#include <cstring>
#include <functional>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "haul/asio.h"
#include "haul/tcp.h"

namespace haul::test {

inline std::unique_ptr<Engine> make_tcp_engine(EngineOptions options) {
  tcp::Options tcp;
  tcp.io = tcp::Io::prefer_uring;
  auto transport = tcp::make_transport(std::move(tcp));
  REQUIRE(transport.status().to_string() == "ok");
  std::vector<std::unique_ptr<Transport>> transports;
  transports.push_back(std::move(*transport));
  auto engine = Engine::create(std::move(options), std::move(transports));
  REQUIRE(engine.status().to_string() == "ok");
  return std::move(*engine);
}

/// Members end in the order that the headers ask for: loops, buffers, engines, io_context.
class EnginePair {
 public:
  explicit EnginePair(uint64_t bytes = 1 << 20) {
    EngineOptions receives, sends;
    receives.on_peer = [this](Peer peer) {
      Result<RemoteBuffer> granted = peer.grant(target.slice(), Rights::read_write);
      REQUIRE(granted.status().to_string() == "ok");
      REQUIRE(peer.send(granted->serialize()).ok());
    };
    receives.on_message = [this](Peer, const Message& message) { notifications += message.notification ? 1 : 0; };
    sends.on_message = [this](Peer, const Message& message) { remote = RemoteBuffer::deserialize(message.payload).value(); };
    receiver = make_tcp_engine(std::move(receives));
    sender = make_tcp_engine(std::move(sends));
    target = receiver->allocate(bytes).value();
    source = sender->allocate(bytes).value();
    fill(source, 7);
    receiver_loop.emplace(AsioLoop::start(io.get_executor(), *receiver).value());
    sender_loop.emplace(AsioLoop::start(io.get_executor(), *sender).value());
    address = receiver->listen({"127.0.0.1", 0}).value();
  }

  void connect() {
    std::optional<Status> connected;
    sender_loop->async_connect(address, PeerOptions{}, [&](Status status, Peer ready) {
      connected = std::move(status);
      peer = ready;
    });
    REQUIRE_FALSE(connected);
    REQUIRE(run_until([&] { return connected && remote.size() > 0; }));
    REQUIRE(connected->to_string() == "ok");
  }

  /// Runs the io_context until `done`, for a bounded time.
  bool run_until(const std::function<bool()>& done, std::chrono::milliseconds limit = std::chrono::seconds(20)) {
    const auto end = std::chrono::steady_clock::now() + limit;
    while (!done() && std::chrono::steady_clock::now() < end) {
      io.restart();
      io.run_one_for(std::chrono::milliseconds(20));
    }
    return done();
  }

  static void fill(const Buffer& buffer, uint32_t seed) {
    for (std::byte& byte : buffer.bytes()) {
      seed = seed * 1664525U + 1013904223U;
      byte = static_cast<std::byte>(seed >> 24);
    }
  }

  bool target_is_source() const { return std::memcmp(source.data(), target.data(), target.size()) == 0; }

  /// More bytes than the sockets between the engines can hold, into the same memory again and again.
  std::vector<Piece> more_than_fits(uint64_t total) const {
    return std::vector<Piece>(static_cast<size_t>(total / source.size()), Piece{source.slice(), remote.slice()});
  }

  asio::io_context io{1};
  std::unique_ptr<Engine> receiver, sender;
  Buffer target, source;
  std::optional<AsioLoop> receiver_loop, sender_loop;
  Address address;
  Peer peer;
  RemoteBuffer remote;
  int notifications = 0;
};

}  // namespace haul::test
