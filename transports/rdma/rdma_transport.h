// haul::Transport over queue pairs: the loop over connections and devices.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "base/unique_fd.h"
#include "haul/rdma.h"
#include "haul/transport.h"
#include "rdma/connection.h"
#include "rdma/rails.h"
#include "rdma/verbs.h"

namespace haul::rdma {

class RdmaTransport final : public Transport {
 public:
  static Result<std::unique_ptr<Transport>> make(std::shared_ptr<Verbs> verbs, Options options);
  ~RdmaTransport() override;

  const Capabilities& capabilities() const noexcept override { return capabilities_; }
  Status secure(std::shared_ptr<const SecurityContext> security, Protection weakest) override;
  PeerIdentity identity(ConnectionId) const override { return {}; }
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
  size_t poll(TimePoint now, NextPoll next, std::span<Event> events) override;
  std::optional<TimePoint> next_deadline() const override;
  int wakeup_fd() const noexcept override { return epoll_fd_.get(); }

 private:
  RdmaTransport(std::shared_ptr<Verbs> verbs, Options options);
  Status watch_devices();
  Connection* find(ConnectionId connection) const;
  Result<Port*> choose_port(const ConnectOptions& options, TimePoint now);
  void take_device_events(TimePoint now, NextPoll next);
  void on_async(OpenDevice& device, const AsyncEvent& event);
  void on_queue_error(OpenDevice& device, const AsyncEvent& event);
  void on_port(OpenDevice& device, uint8_t port);
  void log(LogLevel level, const std::string& text) const;

  std::shared_ptr<Verbs> verbs_;
  Capabilities capabilities_;
  Context context_;
  std::unique_ptr<Rails> rails_;
  base::UniqueFd epoll_fd_;
  std::optional<Protection> weakest_;  // set by secure()
  std::map<ConnectionId, std::unique_ptr<Connection>> connections_;
  ConnectionId next_id_ = 1;
  TimePoint async_looked_;
};

}  // namespace haul::rdma
