// The transport: connections by number, how they come to be, and the loop over them.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "haul/lane_steering.h"
#include "haul/tcp.h"
#include "haul/transport.h"
#include "net/resolver.h"
#include "tcp/acceptor.h"
#include "tcp/connection.h"
#include "tcp/context.h"
#include "tcp/inbox.h"
#include "tcp/reception.h"
#include "tcp/region.h"

namespace haul::tcp {

class TcpTransport final : public Transport, public LaneSteering, private IoHandler, private ArrivalSink {
 public:
  /// What drives sockets from here, or null, and why where it was asked for.
  struct Steering {
    std::shared_ptr<const KernelMaps> maps;
    std::string why_not;
  };

  TcpTransport(Options options, std::unique_ptr<IoLoop> io, std::shared_ptr<Inbox> inbox, Steering steering);
  ~TcpTransport() override;
  TcpTransport(const TcpTransport&) = delete;
  TcpTransport& operator=(const TcpTransport&) = delete;

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
  LaneSteering* steering() noexcept override { return context_.kernel_maps ? this : nullptr; }
  size_t poll(TimePoint now, NextPoll next, std::span<Event> events) override;
  std::optional<TimePoint> next_deadline() const override;
  int wakeup_fd() const noexcept override { return io_->wakeup_fd(); }

  // What drives the kernel's congestion control of a connection.
  bool steerable(ConnectionId connection) const noexcept override;
  std::optional<LaneReport> take_report(ConnectionId connection) override;
  Status steer(ConnectionId connection, uint64_t window_bytes, std::optional<uint64_t> rate_bytes_s,
               Duration valid_for) override;

 private:
  // An end between open() and join(), and a lane's passive end until its peer came.
  struct Opened {
    ConnectOptions options;
    wire::Token token{};
    std::optional<Arrival> arrival;  // the peer was faster than join()
  };

  /// Null for connections that never were, or that `closed` was emitted of.
  Connection* find(ConnectionId connection) const noexcept;
  Connection& add_connection();

  // set_up.cc
  Result<LocalEndpoint> open_passive(const ConnectOptions& options);
  Result<uint16_t> passive_port(const ConnectOptions& options);
  Result<Endpoint> open_door(const Endpoint& endpoint, bool both_families);
  Status join_active(Connection& connection, Opened& opened, std::span<const std::byte> peer_endpoint);
  Status dial_beside(Connection& connection, const Opened& opened, uint16_t port);
  void join_passive(Connection& connection, Opened& opened);
  void on_arrival(Arrival arrival) override;
  void settle(Arrival arrival);
  void take_inbox();
  void on_resolved(Resolution resolution);

  void run();
  void run_timers();
  void remove_ended();
  void watch_inbox();
  void on_io(IoOperation& operation, int result) override;
  void on_released(IoOperation&, bool) override {}
  bool busy() const noexcept;

  Options options_;
  Capabilities capabilities_;
  std::shared_ptr<Acceptor> acceptor_;
  std::shared_ptr<Inbox> inbox_;
  std::unique_ptr<IoLoop> io_;
  std::shared_ptr<PinnedMemory> pins_;
  Context context_;
  IoOperation inbox_watch_;
  bool inbox_ready_ = false;
  std::vector<Connection*> working_;  // the dirty ones of this turn
  bool stopping_ = false;
  Reception reception_;
  net::Resolver resolver_;
  std::unordered_map<ConnectionId, std::unique_ptr<Connection>> connections_;
  ConnectionId last_id_ = 0;
  std::unordered_map<ConnectionId, Opened> opened_;
  std::map<wire::Token, ConnectionId> expected_;
};

}  // namespace haul::tcp
