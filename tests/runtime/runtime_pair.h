// Two runtimes over TCP: one serves a shared buffer to every peer, the other connects.
#pragma once

#include <atomic>
#include <catch2/catch.hpp>
#include <chrono>
#include <cstring>
#include <functional>
#include <future>
#include <memory>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

#include "haul/runtime.h"
#include "haul/tcp.h"

namespace haul::test {

constexpr auto patience = std::chrono::seconds(30);

/// The value of a future that must be ready within a bounded time.
template <typename Future>
auto take(Future&& future) {
  const bool ready = future.wait_for(patience) == std::future_status::ready;
  if (!ready) throw std::runtime_error("a future was not ready in time");
  return future.get();
}

inline RuntimeOptions tcp_runtime(size_t engines, EngineOptions engine_options = {}) {
  RuntimeOptions options;
  options.engines = engines;
  options.make_engine = [acceptor = tcp::make_acceptor(), engine_options](size_t) -> Result<EngineParts> {
    tcp::Options tcp;
    tcp.io = tcp::Io::prefer_uring;
    tcp.acceptor = acceptor;
    auto transport = tcp::make_transport(std::move(tcp));
    if (!transport) return transport.status();
    EngineParts parts;
    parts.options = engine_options;
    parts.transports.push_back(std::move(*transport));
    return parts;
  };
  return options;
}

inline std::unique_ptr<Runtime> make_runtime(RuntimeOptions options) {
  auto runtime = Runtime::create(std::move(options));
  REQUIRE(runtime.status().to_string() == "ok");
  return std::move(*runtime);
}

/// A peer of the client with the grant that the server sent it.
struct Connected {
  SharedPeer peer;
  RemoteBuffer remote;
};

class RuntimePair {
 public:
  explicit RuntimePair(size_t engines = 1, uint64_t bytes = 1 << 20, RuntimeOptions connects = tcp_runtime(1)) {
    RuntimeOptions serves = tcp_runtime(engines);
    serves.on_peer = [this](SharedPeer peer) {
      peer.grant(target.slice(), Rights::read_write, {}, [peer](Result<RemoteBuffer> granted) {
        if (granted) peer.send(granted->serialize());
      });
      const std::lock_guard lock(mutex);
      accepted.push_back(peer);
    };
    serves.on_message = [this](SharedPeer, const Message& message) { notifications += message.notification ? 1 : 0; };
    serves.on_peer_closed = [this](SharedPeer, const Status&) { ++closed; };
    connects.on_message = [this](SharedPeer peer, const Message& message) {
      const std::lock_guard lock(mutex);
      announced.emplace_back(peer, RemoteBuffer::deserialize(message.payload).value());
    };
    server = make_runtime(std::move(serves));
    client = make_runtime(std::move(connects));
    target = take(server->allocate(bytes)).value();
    address = take(server->listen({"127.0.0.1", 0})).value();
  }

  Connected connect() {
    auto peer = take(client->connect(address));
    REQUIRE(peer.status().to_string() == "ok");
    RemoteBuffer remote;
    REQUIRE(eventually([&] {
      const std::lock_guard lock(mutex);
      for (const auto& [owner, granted] : announced) {
        if (owner == *peer) remote = granted;
      }
      return remote.size() > 0;
    }));
    return {*peer, remote};
  }

  /// Orders this thread after what the server's engines have placed so far. A peer in another process would not need it: there
  /// the bytes are read by the thread that got the notification.
  void see_what_landed() {
    for (size_t engine = 0; engine < server->engines(); ++engine) {
      std::promise<void> passed;
      REQUIRE(server->post(engine, [&](Engine&) { passed.set_value(); }).ok());
      take(passed.get_future());
    }
  }

  static bool eventually(const std::function<bool()>& happened) {
    const auto end = std::chrono::steady_clock::now() + patience;
    while (!happened() && std::chrono::steady_clock::now() < end) std::this_thread::sleep_for(std::chrono::milliseconds(1));
    return happened();
  }

  std::mutex mutex;  // guards the two lists
  std::vector<SharedPeer> accepted;
  std::vector<std::pair<SharedPeer, RemoteBuffer>> announced;
  std::atomic<int> notifications = 0;
  std::atomic<int> closed = 0;
  SharedBuffer target;
  Address address;
  // Last, so that their threads end before what the callbacks use.
  std::unique_ptr<Runtime> server, client;
};

inline void fill(std::span<std::byte> bytes, uint32_t seed) {
  for (std::byte& byte : bytes) {
    seed = seed * 1664525U + 1013904223U;
    byte = static_cast<std::byte>(seed >> 24);
  }
}

}  // namespace haul::test
