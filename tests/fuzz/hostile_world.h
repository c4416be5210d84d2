// An engine between an innocent peer and a hostile one, on simulated machines; and what must be true of it at every moment.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "contract/checked_transport.h"
#include "fuzz/script.h"
#include "haul/engine.h"
#include "haul/sim.h"

namespace haul::fuzz {

/// Every session of the hostile peer numbers its notified transfers from (session + 1) << session_shift, so that the world
/// knows whose writes count for what. The innocent peer's numbers are below.
constexpr unsigned session_shift = 20;

/// What the hostile peer says in its notifications: by it the world recognizes them.
struct Claim {
  static constexpr size_t bytes = 12;
  uint64_t serial = 0;
  uint32_t count = 0;
};
Bytes encode(const Claim& claim);

/// The victim's own transport: remembers which writes of which notified transfer the engine verified.
class Witness final : public Transport {
 public:
  using Verified = std::map<uint64_t, std::set<uint32_t>>;  ///< by serial: the indices

  Witness(std::unique_ptr<Transport> inner, Verified& verified) : inner_(std::move(inner)), verified_(verified) {}

  const Capabilities& capabilities() const noexcept override { return inner_->capabilities(); }
  Status secure(std::shared_ptr<const SecurityContext> security, Protection weakest) override {
    return inner_->secure(std::move(security), weakest);
  }
  PeerIdentity identity(ConnectionId connection) const override { return inner_->identity(connection); }
  Result<std::unique_ptr<MemoryRegion>> register_memory(std::span<std::byte> memory, MemoryKind kind) override {
    return inner_->register_memory(memory, kind);
  }
  Result<Address> listen(const Address& address) override { return inner_->listen(address); }
  Result<LocalEndpoint> open(const ConnectOptions& options, TimePoint now) override { return inner_->open(options, now); }
  Status join(ConnectionId connection, std::span<const std::byte> endpoint, TimePoint now) override {
    return inner_->join(connection, endpoint, now);
  }
  void close(ConnectionId connection, CloseMode mode, TimePoint now) override { inner_->close(connection, mode, now); }
  Result<LocalGrant> grant(ConnectionId connection, const MemoryRegion& region, Range range, Rights rights,
                           TimePoint now) override {
    return inner_->grant(connection, region, range, rights, now);
  }
  void revoke(ConnectionId connection, uint64_t grant, TimePoint now) override { inner_->revoke(connection, grant, now); }
  size_t post(ConnectionId connection, std::span<const Operation> operations, TimePoint now) override {
    return inner_->post(connection, operations, now);
  }
  void answer(ConnectionId connection, uint64_t id, const Status& status, TimePoint now) override;
  void cancel(ConnectionId connection, uint64_t id, TimePoint now) override { inner_->cancel(connection, id, now); }
  bool send(ConnectionId connection, std::span<const std::byte> message, TimePoint now) override {
    return inner_->send(connection, message, now);
  }
  PathSample sample(ConnectionId connection) const override { return inner_->sample(connection); }
  std::string describe(ConnectionId connection) const override { return inner_->describe(connection); }
  void set_limits(ConnectionId connection, const Limits& limits) override { inner_->set_limits(connection, limits); }
  LaneSteering* steering() noexcept override { return inner_->steering(); }
  size_t poll(TimePoint now, NextPoll next, std::span<Event> events) override;
  std::optional<TimePoint> next_deadline() const override { return inner_->next_deadline(); }
  int wakeup_fd() const noexcept override { return inner_->wakeup_fd(); }

 private:
  std::unique_ptr<Transport> inner_;
  Verified& verified_;
  std::map<std::pair<ConnectionId, uint64_t>, uint64_t> tags_;  // of landed writes, until the answer
};

/// What a script led to: a run in which nothing happened tests nothing.
struct HostileSummary {
  size_t peers = 0;          ///< that the victim met, the innocent one not counted
  size_t notifications = 0;  ///< that it delivered, whole ones
  size_t transfers = 0;      ///< that it began itself
  uint64_t landed_bytes = 0;
};

class HostileWorld {
 public:
  explicit HostileWorld(uint64_t seed);
  ~HostileWorld();
  HostileWorld(const HostileWorld&) = delete;
  HostileWorld& operator=(const HostileWorld&) = delete;

  sim::World& world() noexcept { return world_; }
  Engine& victim() noexcept { return *victim_; }
  TimePoint now() const noexcept { return world_.clock().now(); }

  /// Lets time pass. `also` polls whoever else is there, and tells when it wants to be polled again.
  void run(Duration time, const std::function<std::optional<TimePoint>()>& also);
  /// The victim does something to one of its peers. `hostile_grants` are names of memory that the hostile peer made up or has.
  void act_as_victim(Script& script, std::span<const RemoteBuffer> hostile_grants);
  /// The hostile peer is gone or silent: the victim must get rid of it, and still serve the innocent one.
  void finish(const std::function<std::optional<TimePoint>()>& also);
  HostileSummary summary() const;

 private:
  struct Known {
    bool closed = false;
  };

  void make_victim();
  void make_innocent();
  void meet();
  void on_peer(Peer peer);
  void on_message(const Peer& peer, const Message& message);
  void on_innocent_message(const Message& message);
  void next_round();
  void check_round();
  void check_limits();
  void check_memory(const char* when) const;
  Transfer& keep(Transfer transfer);
  void grant_to(Peer& peer, size_t area, Rights rights);

  // Areas of the victim's memory, of area_bytes each.
  enum Area : size_t { writable, readable, both, secret, served, fetched, areas };
  static constexpr size_t area_bytes = 16U << 10;
  Slice slice(size_t area) const { return memory_.slice(area * area_bytes, area_bytes); }
  std::span<std::byte> bytes(size_t area) const { return memory_.bytes().subspan(area * area_bytes, area_bytes); }

  sim::World world_;
  Witness::Verified verified_;
  std::shared_ptr<contract::TransportRecord> record_;
  std::unique_ptr<Engine> victim_;
  std::unique_ptr<Engine> innocent_;
  Buffer memory_;             // the victim's
  Bytes secret_;              // what `secret` holds
  Bytes readable_;            // what `readable` holds
  uint64_t innocent_id_ = 0;  // of the innocent one, as the victim calls it
  std::map<uint64_t, Known> known_;
  std::vector<Peer> hostile_;
  std::set<uint64_t> delivered_;  // serials of notifications
  std::vector<Transfer> transfers_;
  std::vector<RemoteBuffer> made_;  // grants to hostile peers
  uint64_t callbacks_owed_ = 0;

  // The innocent peer puts what it has, is told so, gets it back, compares, and begins again.
  Buffer source_;
  Buffer returned_;
  Peer to_victim_;
  std::optional<RemoteBuffer> served_grant_;
  bool round_told_ = false;  // the victim got the notification
  std::optional<TimePoint> next_round_at_;
  uint64_t round_ = 0;
  uint64_t rounds_done_ = 0;
};

}  // namespace haul::fuzz
