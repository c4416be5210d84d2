// Engines on nodes: making, connecting and stepping them.
#include "contract/harness.h"

#include <algorithm>
#include <catch2/catch.hpp>

namespace haul::contract {

Harness::~Harness() = default;

void Harness::silence(const std::string&, const std::string&) { FAIL("this backend cannot silence a link"); }
void Harness::heal(const std::string&, const std::string&) { FAIL("this backend cannot heal a link"); }
void Harness::crash(const std::string&) { FAIL("this backend cannot crash a node"); }
void Harness::corrupt_wire(double) { FAIL("this backend cannot corrupt its wire"); }

EngineOptions Harness::options() const {
  EngineOptions options;
  options.clock = &clock();
  options.security = SecurityPolicy::insecure;
  options.seed = 1 + nodes_.size();
  options.peer_timeout = std::chrono::seconds(2);
  options.keepalive = std::chrono::milliseconds(400);
  options.handshake_timeout = std::chrono::seconds(1);
  return options;
}

Node& Harness::start(const std::string& name, EngineOptions options) {
  auto record = std::make_shared<TransportRecord>();
  std::vector<std::unique_ptr<Transport>> transports;
  transports.push_back(std::make_unique<CheckedTransport>(make_transport(name), record));
  if (auto control = make_control_transport(name)) transports.push_back(std::move(control));
  Node& node = start(name, std::move(options), std::move(transports));
  node.record = std::move(record);
  return node;
}

Node& Harness::start(const std::string& name, EngineOptions options, std::vector<std::unique_ptr<Transport>> transports) {
  nodes_.push_back(std::make_unique<Node>());
  Node& node = *nodes_.back();
  node.name = name;
  node.record = std::make_shared<TransportRecord>();
  Inbox& inbox = node.inbox;
  options.name = name;
  options.on_peer = [&inbox](Peer peer) {
    inbox.arrived.push_back(peer);
    if (inbox.on_peer) inbox.on_peer(peer);
  };
  options.on_message = [&inbox](Peer peer, const Message& message) {
    inbox.letters.push_back({{message.payload.begin(), message.payload.end()}, message.notification, peer.id()});
    if (inbox.on_message) inbox.on_message(peer, message);
  };
  options.on_peer_closed = [&inbox](Peer peer, const Status& status) { inbox.closed.emplace_back(peer, status); };
  auto engine = Engine::create(std::move(options), std::move(transports));
  INFO(engine.status().to_string());
  REQUIRE(engine.ok());
  node.engine = std::move(engine).value();
  const auto bound = node.engine->listen(listen_address(name));
  INFO(bound.status().to_string());
  REQUIRE(bound.ok());
  node.address = bound.value();
  return node;
}

Pair Harness::connect(Node& a, Node& b, PeerOptions options) {
  Status outcome(StatusCode::busy, "not yet");
  const size_t arrived = b.inbox.arrived.size();
  options.on_ready = [&outcome](Peer, const Status& status) { outcome = status; };
  const auto peer = a.engine->connect(b.address, std::move(options));
  INFO(peer.status().to_string());
  REQUIRE(peer.ok());
  run([&] { return outcome.code() != StatusCode::busy && (!outcome.ok() || b.inbox.arrived.size() > arrived); });
  INFO(outcome.to_string());
  REQUIRE(outcome.ok());
  REQUIRE(b.inbox.arrived.size() == arrived + 1);
  return {a, b, peer.value(), b.inbox.arrived.back()};
}

bool Harness::run(const std::function<bool()>& until, Duration limit) {
  std::vector<Engine*> engines;
  for (const auto& node : nodes_) {
    if (node->engine && !node->stalled) engines.push_back(node->engine.get());
  }
  return run_world(engines, until, limit);
}

std::vector<std::string> Harness::defects() const {
  std::vector<std::string> all;
  for (const auto& node : nodes_) all.insert(all.end(), node->record->defects.begin(), node->record->defects.end());
  return all;
}

void Harness::stop_all() {
  for (const auto& node : nodes_) node->engine.reset();
  CHECK(defects() == std::vector<std::string>());
}

bool skip_unless(bool able, std::string_view what) {
  if (!able) WARN("skipped on this backend: " << what);
  return !able;
}

void fill_pattern(std::span<std::byte> memory, uint64_t seed) { base::Random(seed + 1).fill(memory); }

bool all_bytes_are(std::span<const std::byte> memory, std::byte value) {
  return std::all_of(memory.begin(), memory.end(), [value](std::byte each) { return each == value; });
}

std::span<const std::byte> bytes_of(std::string_view text) { return std::as_bytes(std::span(text)); }

std::string text_of(std::span<const std::byte> bytes) { return {reinterpret_cast<const char*>(bytes.data()), bytes.size()}; }

}  // namespace haul::contract
