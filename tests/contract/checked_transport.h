// A transport around another one: checks both sides of the transport contract and injects faults that every backend can have.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "haul/lane_memory.h"
#include "haul/lane_steering.h"
#include "haul/transport.h"

namespace haul::contract {

/// What was seen at one transport. Outlives it, so that a test can look at the end.
struct TransportRecord {
  std::vector<std::string> defects;    ///< broken promises, of the backend or of the core
  std::set<ConnectionId> connections;  ///< ready ones, in the order of their making
  uint64_t operations_completed = 0;
  uint64_t operations_outstanding = 0;
  uint64_t landings_unanswered = 0;
  uint64_t connections_lost = 0;  ///< closed with another status than ok
  uint64_t refused_posts = 0;     ///< back-pressure: post() or send() that did not take all
  uint32_t corruptions_left = 0;  ///< flip a bit of so many of the next payloads that arrive here …
  uint32_t corruptions_done = 0;
  std::vector<ConnectionId> to_kill;   ///< aborted, as the network would, at the next poll
  std::vector<ConnectionId> to_age;    ///< said to be worn out, at the next poll
  Duration writable_every{};           ///< `writable` of every ready connection is told as often; zero: as it is true
  std::optional<Status> grants_fail;   ///< no grant is made, for this reason …
  uint32_t grants_left = 0;            ///< … after so many more
  std::optional<Status> joins_fail;    ///< no opened end can be joined, for this reason …
  uint32_t joins_left = 0;             ///< … after so many more
  uint64_t opened = 0;                 ///< ends of connections that were opened here
  std::optional<Duration> lowest_rtt;  ///< of every sample, in place of what was measured
  bool held_by_buffers = false;        ///< every sample says that buffers held the connection all the time
  std::optional<uint64_t> lane_rate;   ///< bytes per second that a connection has at most, whatever limits the core sets
  bool obeys = false;                  ///< connections can be steered: they take a command's rate for a limit, and obey
};

class CheckedTransport final : public Transport, private LaneSteering {
 public:
  CheckedTransport(std::unique_ptr<Transport> inner, std::shared_ptr<TransportRecord> record);
  ~CheckedTransport() override;

  const Capabilities& capabilities() const noexcept override { return inner_->capabilities(); }
  Result<std::unique_ptr<MemoryRegion>> register_memory(std::span<std::byte> memory, MemoryKind kind) override;
  Status secure(std::shared_ptr<const SecurityContext> security, Protection weakest) override {
    return inner_->secure(std::move(security), weakest);
  }
  PeerIdentity identity(ConnectionId connection) const override { return inner_->identity(connection); }
  Result<Address> listen(const Address& address) override { return inner_->listen(address); }
  Result<LocalEndpoint> open(const ConnectOptions& options, TimePoint now) override;
  Status join(ConnectionId connection, std::span<const std::byte> peer_endpoint, TimePoint now) override;
  void close(ConnectionId connection, CloseMode mode, TimePoint now) override { inner_->close(connection, mode, now); }
  Result<LocalGrant> grant(ConnectionId connection, const MemoryRegion& region, Range range, Rights rights,
                           TimePoint now) override;
  void revoke(ConnectionId connection, uint64_t grant_id, TimePoint now) override;
  size_t post(ConnectionId connection, std::span<const Operation> operations, TimePoint now) override;
  void answer(ConnectionId connection, uint64_t id, const Status& status, TimePoint now) override;
  void cancel(ConnectionId connection, uint64_t id, TimePoint now) override { inner_->cancel(connection, id, now); }
  bool send(ConnectionId connection, std::span<const std::byte> message, TimePoint now) override;
  PathSample sample(ConnectionId connection) const override;
  std::string describe(ConnectionId connection) const override { return inner_->describe(connection); }
  void set_limits(ConnectionId connection, const Limits& limits) override;
  LaneSteering* steering() noexcept override { return record_->obeys ? this : inner_->steering(); }
  LaneMemory* lane_memory() noexcept override { return inner_->lane_memory(); }
  size_t poll(TimePoint now, NextPoll next, std::span<Event> events) override;
  std::optional<TimePoint> next_deadline() const override;
  int wakeup_fd() const noexcept override { return inner_->wakeup_fd(); }

 private:
  struct Outstanding {
    Op op;
    std::span<std::byte> local;
  };
  struct Connection {
    enum class State : uint8_t { opened, ready, closed };
    State state = State::opened;
    std::map<uint64_t, Outstanding> operations;
    std::set<uint64_t> landed;  ///< not answered yet
    std::set<uint64_t> grants;
    std::set<uint64_t> revoking;
    bool killed = false;
    uint64_t reported = 0;  ///< of the bytes delivered
  };

  bool steerable(ConnectionId) const noexcept override { return true; }
  std::optional<LaneReport> take_report(ConnectionId connection) override;
  Status steer(ConnectionId connection, uint64_t window_bytes, std::optional<uint64_t> rate_bytes_s, Duration) override;
  void defect(ConnectionId connection, const std::string& what);
  void see(Event& event);
  void see_ready(const Event& event, Connection& connection);
  void see_completed(const Event& event, Connection& connection);
  void see_landed(const Event& event, Connection& connection);
  void see_closed(Event& event, Connection& connection);
  void corrupt(std::span<const std::byte> payload);
  size_t add_events(TimePoint now, std::span<Event> events);

  std::unique_ptr<Transport> inner_;
  std::shared_ptr<TransportRecord> record_;
  std::map<ConnectionId, Connection> connections_;
  TimePoint next_writable_;
};

}  // namespace haul::contract
