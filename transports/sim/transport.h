// The simulated transport: connections of one engine on one node, an inbox from the links, events for the core.
#pragma once

#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "connection.h"
#include "haul/sim.h"
#include "haul/transport.h"
#include "network.h"

namespace haul::sim {

/// Ignores the `now` of every call: the world's clock is the only one.
class SimTransport final : public Transport, private Outlet {
 public:
  SimTransport(World::State& world, NodeIndex node, const TransportOptions& options);
  ~SimTransport() override;
  SimTransport(const SimTransport&) = delete;
  SimTransport& operator=(const SimTransport&) = delete;

  const Capabilities& capabilities() const noexcept override { return capabilities_; }
  Status secure(std::shared_ptr<const SecurityContext>, Protection) override {
    return Status(StatusCode::unsupported, "it cannot authenticate peers: use it without credentials");
  }
  PeerIdentity identity(ConnectionId) const override { return {}; }
  Result<std::unique_ptr<MemoryRegion>> register_memory(std::span<std::byte> memory, MemoryKind kind) override;
  Result<Address> listen(const Address& address) override;
  Result<LocalEndpoint> open(const ConnectOptions& options, TimePoint now) override;
  Status join(ConnectionId id, std::span<const std::byte> peer_endpoint, TimePoint now) override;
  void close(ConnectionId id, CloseMode mode, TimePoint now) override;
  Result<LocalGrant> grant(ConnectionId id, const MemoryRegion& region, Range range, Rights rights, TimePoint now) override;
  void revoke(ConnectionId id, uint64_t grant_id, TimePoint now) override;
  size_t post(ConnectionId id, std::span<const Operation> operations, TimePoint now) override;
  void answer(ConnectionId id, uint64_t landed, const Status& status, TimePoint now) override;
  void cancel(ConnectionId id, uint64_t operation, TimePoint now) override;
  bool send(ConnectionId id, std::span<const std::byte> message, TimePoint now) override;
  PathSample sample(ConnectionId id) const override;
  std::string describe(ConnectionId id) const override;
  void set_limits(ConnectionId id, const Limits& limits) override;
  size_t poll(TimePoint now, NextPoll next, std::span<Event> events) override;
  std::optional<TimePoint> next_deadline() const override;
  int wakeup_fd() const noexcept override { return -1; }

  // For the world.
  NodeIndex node() const noexcept { return node_; }
  bool inbox_full() const noexcept { return inbox_.size() >= max_inbox_packets; }
  void receive(Packet packet) { inbox_.push_back(std::move(packet)); }
  /// The power is cut: nothing comes in or goes out any more. Local calls go on working.
  void silence();

 private:
  static constexpr size_t max_inbox_packets = 2048;
  static constexpr size_t max_ready_events = 1024;  ///< beyond it, packets wait in the inbox
  static constexpr size_t max_unconfirmed = 1024;   ///< accepted connections that the peer has not confirmed

  void transmit(Packet packet) override;
  void emit(Event event, std::vector<std::byte> message) override;

  Connection* find(ConnectionId id) const;
  Connection& create();
  void handle(const Packet& packet);
  void handle_open(const Packet& packet);
  bool is_local(const std::string& host) const;
  void hand_out(std::span<Event> events, size_t& filled);
  void hand_out_closed(std::span<Event> events, size_t& filled);

  struct Ready {
    Event event;
    std::vector<std::byte> message;  ///< behind event.payload
  };

  World::State& world_;
  const NodeIndex node_;
  const TransportOptions options_;
  const Capabilities capabilities_;
  bool silent_ = false;
  uint64_t next_grant_ = 1;
  std::map<ConnectionId, std::unique_ptr<Connection>> connections_;
  std::deque<Packet> inbox_;
  std::deque<Ready> ready_;
  std::vector<std::vector<std::byte>> lent_;  ///< messages handed out by the last poll()
};

}  // namespace haul::sim
