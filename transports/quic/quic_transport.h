// The transport: connections by number and by what their packets say, how they come to be, and the loop over them.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "base/unique_fd.h"
#include "haul/lane_memory.h"
#include "haul/quic.h"
#include "haul/transport.h"
#include "net/resolver.h"
#include "quic/connection.h"
#include "quic/context.h"
#include "quic/outlet.h"
#include "quic/resolutions.h"

namespace haul::quic {

class QuicTransport final : public Transport, public LaneMemory, private Host {
 public:
  QuicTransport(Options options, Surroundings surroundings, base::UniqueFd watch, std::shared_ptr<Resolutions> resolutions);
  ~QuicTransport() override;
  QuicTransport(const QuicTransport&) = delete;
  QuicTransport& operator=(const QuicTransport&) = delete;

  const Capabilities& capabilities() const noexcept override { return capabilities_; }
  Status secure(std::shared_ptr<const SecurityContext> security, Protection weakest) override;
  PeerIdentity identity(ConnectionId connection) const override;
  Result<std::unique_ptr<MemoryRegion>> register_memory(std::span<std::byte> memory, MemoryKind kind) override;
  Result<Address> listen(const Address& address) override;
  Result<LocalEndpoint> open(const ConnectOptions& options, TimePoint now) override;
  Status join(ConnectionId connection, std::span<const std::byte> peer_endpoint, TimePoint now) override;
  void close(ConnectionId connection, CloseMode mode, TimePoint now) override;
  Result<LocalGrant> grant(ConnectionId connection, const MemoryRegion& region, Range range, Rights rights,
                           TimePoint now) override;
  void revoke(ConnectionId connection, uint64_t grant_id, TimePoint now) override;
  size_t post(ConnectionId connection, std::span<const Operation> operations, TimePoint now) override;
  void answer(ConnectionId connection, uint64_t id, const Status& status, TimePoint now) override;
  void cancel(ConnectionId connection, uint64_t id, TimePoint now) override;
  bool send(ConnectionId connection, std::span<const std::byte> message, TimePoint now) override;
  PathSample sample(ConnectionId connection) const override;
  std::string describe(ConnectionId connection) const override;
  void set_limits(ConnectionId connection, const Limits& limits) override;
  LaneMemory* lane_memory() noexcept override { return this; }
  void recall(ConnectionId connection, const PathMemory& memory) override;
  PathLesson lesson(ConnectionId connection) const override;
  size_t poll(TimePoint now, NextPoll next, std::span<Event> events) override;
  std::optional<TimePoint> next_deadline() const override;
  int wakeup_fd() const noexcept override { return watch_.get(); }

  /// That memory is kept for, those that are over included. For tests.
  size_t connections() const noexcept { return connections_.size(); }

 private:
  // An end between open() and its connection: without one, the passive end of a lane.
  struct Opened {
    ConnectOptions options;
    wire::Token token{};
    bool passive = false;
    bool joined = false;
    std::optional<TimePoint> deadline = {};
    Connection* arrival = nullptr;  // the peer was faster than join()
    wire::Token peer_token{};       // of a lane that this side dials
    bool lane = false;
  };

  Connection* find(ConnectionId connection) const noexcept;
  /// As find(), for something that gives it work.
  Connection* wake(ConnectionId connection, TimePoint now);

  // set_up.cc
  Result<LocalEndpoint> open_passive(const ConnectOptions& options);
  Status join_active(Connection& connection, Opened& opened, std::span<const std::byte> peer_endpoint);
  Status join_passive(ConnectionId id, Opened& opened);
  Result<Outlet*> open_outlet(const net::Endpoint& endpoint, bool both_families, bool listens);
  Result<Outlet*> dialing_outlet(int family);
  void take_resolutions();
  void dial(Connection& connection, const std::vector<net::Endpoint>& endpoints);
  void end_opened(ConnectionId id, Status status);
  void run_opened();

  // reception.cc
  void receive();
  void handle(const Burst& burst, Outlet& outlet);
  void handle_stranger(std::span<const std::byte> packet, const Burst& burst, Outlet& outlet);
  bool told_by_reset(std::span<const std::byte> packet, const Burst& burst, Outlet& outlet);
  void admit(const Session::Initial& initial, const Burst& burst, Outlet& outlet);
  void make_room_for_stranger();

  Host& host() noexcept { return *this; }
  // Host
  void route(const Cid& cid, Connection& connection) override { routes_[cid] = &connection; }
  void unroute(const Cid& cid) override { routes_.erase(cid); }
  void on_hello(Connection& connection, const wire::Record& hello) override;
  std::vector<std::byte>& packet_memory() override { return packet_memory_; }

  void run();
  void remove_ended();
  void watch(Outlet& outlet, bool writable);

  Options options_;
  Capabilities capabilities_;
  Context context_;
  Secret secret_{};
  base::UniqueFd watch_;  // epoll: readable when poll() has work
  std::shared_ptr<Resolutions> resolutions_;
  net::Resolver resolver_;
  std::vector<std::byte> packet_memory_;
  std::vector<std::unique_ptr<Outlet>> outlets_;
  Outlet* dials_v4_ = nullptr;
  Outlet* dials_v6_ = nullptr;
  std::unordered_map<Cid, Connection*> routes_;
  std::vector<Connection*> touched_;  // received something in this poll
  std::vector<std::unique_ptr<Connection>> connections_;
  std::vector<Connection*> strangers_;  // of them, those that nobody knows yet or was to know: the oldest first
  std::unordered_map<ConnectionId, Connection*> by_id_;
  std::map<ConnectionId, Opened> opened_;
  ConnectionId last_id_ = 0;
  bool more_to_receive_ = false;
  bool work_ = false;  // something was asked for since the last poll
};

}  // namespace haul::quic
