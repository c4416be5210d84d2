// Engines over tcp that authenticate each other, stepped in one thread together with whatever else a test steps.
#pragma once

#include <poll.h>

#include <algorithm>
#include <catch2/catch.hpp>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/random.h"
#include "haul/engine.h"
#include "haul/tcp.h"
#include "io_ways.h"
#include "security/tls_session.h"
#include "unit/security_support.h"

namespace haul::hostile {

using namespace std::chrono_literals;
using security::test::Folder;
using security::test::Party;

inline constexpr Duration patience = 30s;

/// Alice connects to bob, who knows carol too. Made once for all tests.
struct Parties {
  Folder folder;
  Party alice{folder, "alice"};
  Party bob{folder, "bob"};
  Party carol{folder, "carol"};
  Parties() {
    alice.knows(bob);
    carol.knows(bob);
    bob.knows("alice " + alice.fingerprint.to_string() + "\ncarol " + carol.fingerprint.to_string() + "\n");
  }
};

inline const Parties& parties() {
  static const Parties made;
  return made;
}

/// The first bytes of a true handshake.
inline std::vector<std::byte> client_hello(const Party& who) {
  const auto session =
      security::TlsSession::start(security::TlsSession::Role::dials, who.context(), Protection::encrypted, {}).value();
  REQUIRE(session->advance({}).ok());
  return {session->outgoing().begin(), session->outgoing().end()};
}

/// One engine and what its callbacks told.
struct Host {
  Host(const Party& who, tcp::Options transport_options, EngineOptions options) {
    transport_options.kernel_tls = tcp::KernelTls::off;
    transport_options.log = options.log = [this](const LogRecord& record) { log.emplace_back(record.text); };
    options.name = who.name;
    options.credentials = who.files;
    options.on_peer = [this](Peer peer) {
      arrived.push_back(peer);
      if (on_peer) on_peer(peer);
    };
    options.on_message = [this](Peer peer, const Message& message) {
      letters.emplace_back(reinterpret_cast<const char*>(message.payload.data()), message.payload.size());
      if (on_message) on_message(peer, message);
    };
    options.on_peer_closed = [this](Peer, const Status& status) { closed.push_back(status); };
    auto transport = tcp::make_transport(transport_options);
    INFO(transport.status().to_string());
    REQUIRE(transport.ok());
    std::vector<std::unique_ptr<Transport>> transports;
    transports.push_back(std::move(*transport));
    auto made = Engine::create(std::move(options), std::move(transports));
    INFO(made.status().to_string());
    REQUIRE(made.ok());
    engine = std::move(*made);
  }

  Address listen() {
    const auto bound = engine->listen({"127.0.0.1", 0});
    INFO(bound.status().to_string());
    REQUIRE(bound.ok());
    return *bound;
  }
  /// `ready` is busy until it is decided.
  Peer connect(const Address& address, PeerOptions options = {}) {
    ready = Status(StatusCode::busy, "not yet");
    options.on_ready = [this](Peer, const Status& status) { ready = status; };
    const auto peer = engine->connect(address, std::move(options));
    INFO(peer.status().to_string());
    REQUIRE(peer.ok());
    return *peer;
  }
  bool decided() const { return ready.code() != StatusCode::busy; }
  bool told(const std::string& words) const {
    return std::any_of(log.begin(), log.end(), [&](const std::string& line) { return line.find(words) != std::string::npos; });
  }

  std::vector<std::string> log;
  std::vector<Peer> arrived;
  std::vector<std::string> letters;
  std::vector<Status> closed;
  Status ready;
  std::function<void(Peer)> on_peer;
  std::function<void(Peer, const Message&)> on_message;
  std::unique_ptr<Engine> engine;
};

/// Polls until `until` is true; false: it was not in time. `step` is called in each round.
inline bool run(std::initializer_list<Engine*> engines, const std::function<bool()>& until, Duration limit = patience,
                const std::function<void()>& step = {}) {
  const TimePoint end = system_clock().now() + limit;
  std::vector<pollfd> ready;
  for (const Engine* engine : engines) ready.push_back({engine->wakeup_fd(), POLLIN, 0});
  while (!until()) {
    if (system_clock().now() >= end) return false;
    size_t handled = 0;
    for (Engine* engine : engines) handled += engine->poll();
    if (step) step();
    constexpr int pause_ms = 1;
    if (handled == 0) ::poll(ready.data(), ready.size(), pause_ms);
  }
  return true;
}

inline tcp::Options with_io(tcp::Io io) {
  tcp::Options options;
  options.io = io;
  return options;
}

inline Buffer filled(Engine& engine, uint64_t bytes, uint64_t seed) {
  auto buffer = engine.allocate(bytes);
  REQUIRE(buffer.ok());
  base::Random(seed + 1).fill(buffer->bytes());
  return std::move(*buffer);
}

inline bool same(const Buffer& a, const Buffer& b) { return std::equal(a.bytes().begin(), a.bytes().end(), b.bytes().begin()); }

}  // namespace haul::hostile
