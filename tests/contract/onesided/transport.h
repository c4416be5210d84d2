// A fake one-sided transport: behaves as RDMA verbs do, inside one process, in virtual time.
//
// The owner of memory takes no part in what peers do to it: no event, no answer, no checksum. Keys belong to one connection;
// a wrong use is refused and fails that connection. Taking a key back is asynchronous. Work moves while its initiator polls.
#pragma once

#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "contract/onesided/fabric.h"
#include "haul/transport.h"

namespace haul::onesided {

struct Work {
  Op op;
  uint64_t id;
  std::byte* local;
  const MemoryRegion* region;
  uint64_t key;
  uint64_t remote_offset;
  uint32_t length;
  uint32_t placed = 0;
  bool started = false;  ///< the key was checked; from here on it ends as itself
};

struct Grant {
  uint64_t id;
  const MemoryRegion* region;
  Range range;
  Rights rights;
  std::optional<uint32_t> polls_to_revoked;  ///< present once revoke() was called
};

/// One end of a connection.
struct QueuePair {
  enum class State : uint8_t { opened, joining, ready, draining, over };
  uint64_t number = 0;  ///< also the ConnectionId
  uint64_t secret = 0;  ///< both ends must present the other's
  OneSidedTransport* owner = nullptr;
  State state = State::opened;
  uint64_t peer = 0;
  ConnectOptions options;
  TimePoint join_deadline;
  TimePoint last_progress;
  std::deque<Work> work;
  std::deque<std::vector<std::byte>> outbox;
  std::map<uint64_t, Grant> grants;  ///< by key
  bool peer_finished = false;        ///< the peer closed cleanly: so do we, once
  bool refused_more = false;         ///< owes a `writable`
};

class OneSidedTransport final : public Transport {
 public:
  OneSidedTransport(Fabric& fabric, std::string node);
  ~OneSidedTransport() override;

  const Capabilities& capabilities() const noexcept override { return capabilities_; }
  Status secure(std::shared_ptr<const SecurityContext>, Protection) override {
    return Status(StatusCode::unsupported, "it cannot authenticate peers: use it without credentials");
  }
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
  int wakeup_fd() const noexcept override { return -1; }

 private:
  friend class Fabric;
  friend class Region;
  struct Pending {
    Event event;
    std::vector<std::byte> message;
  };

  QueuePair* mine(ConnectionId connection) const;
  QueuePair& add_pair(const ConnectOptions& options);
  void report(Event::Kind kind, const QueuePair& pair, uint64_t id, Status status);
  void finish(QueuePair& pair, size_t index, Status status);
  void end(QueuePair& pair, const Status& status);
  void fail(QueuePair& pair, const Status& status);
  void forget_region(const MemoryRegion& region);
  QueuePair* reachable_peer(const QueuePair& pair) const;
  bool can_join(const QueuePair& pair) const;
  bool closed_is_pending(ConnectionId connection) const;

  Status check(const Operation& operation) const;
  std::string why_refused(const QueuePair& peer, const Work& work) const;
  bool start(QueuePair& pair, QueuePair& peer, Work& work);
  void place(QueuePair& peer, Work& work, uint32_t bytes);

  // One poll's share of everything that goes on by itself.
  void progress(QueuePair& pair, TimePoint now);
  void progress_join(QueuePair& pair, TimePoint now);
  void progress_work(QueuePair& pair, QueuePair& peer, TimePoint now);
  void progress_messages(QueuePair& pair, QueuePair& peer, TimePoint now);
  void progress_revokes(QueuePair& pair);
  bool in_use(const QueuePair& pair, uint64_t key) const;
  bool can_report_completion() const;

  Fabric& fabric_;
  std::string node_;
  Capabilities capabilities_;
  std::map<uint64_t, std::unique_ptr<QueuePair>> pairs_;
  std::set<const MemoryRegion*> regions_;
  std::deque<Pending> pending_;
  size_t pending_completions_ = 0;
  std::deque<std::vector<std::byte>> delivered_;  ///< messages shown by the last poll
};

}  // namespace haul::onesided
