// Two bare transports, connected, with all of their events: for the contract below the engine.
#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "contract/backend_case.h"
#include "contract/backends.h"

namespace haul::contract {

/// One transport with what it told. Everything it ever said is kept.
struct End {
  struct Seen {
    Event event;
    std::vector<std::byte> payload;  ///< of messages and immediates; landed payloads are this side's memory anyway
  };
  std::string name;
  std::shared_ptr<TransportRecord> record = std::make_shared<TransportRecord>();
  std::unique_ptr<Transport> transport;
  std::vector<Seen> seen;
  size_t events_a_poll = 64;
  uint64_t polls = 0;
  bool answers = true;  ///< landings are answered at once, as `answer`
  Status answer;
  std::function<void(const Event&)> on_event;  ///< in addition

  size_t count(Event::Kind kind, ConnectionId connection = 0) const;
  /// The status of an operation that completed.
  std::optional<Status> completed(uint64_t id) const;
  std::optional<Status> closed(ConnectionId connection) const;
  std::vector<std::vector<std::byte>> messages() const;
  void poll(TimePoint now);
};

class Rig {
 public:
  explicit Rig(Harness& harness);
  ~Rig();
  Rig(const Rig&) = delete;
  Rig& operator=(const Rig&) = delete;

  TimePoint now() const { return harness_.clock().now(); }
  const Capabilities& capabilities() const { return x.transport->capabilities(); }
  bool run(const std::function<bool()>& until) { return run(until, harness_.patience()); }
  bool run(const std::function<bool()>& until, Duration limit);
  void run_for(Duration time) {
    run([] { return false; }, time);
  }

  struct Link {
    ConnectionId at_x = 0;
    ConnectionId at_y = 0;
  };
  /// By address.
  Link connect();
  /// By endpoints, beside an existing connection.
  Link join_beside(const Link& link);

  /// Memory that lives as long as the rig, registered at one end.
  const MemoryRegion& region(End& end, size_t bytes, uint64_t seed);
  std::span<std::byte> memory(const MemoryRegion& region) const { return region.bytes(); }
  LocalGrant grant(End& end, ConnectionId connection, const MemoryRegion& region, Rights rights = Rights::read_write);

  /// Posts what back-pressure lets through, until all are taken.
  void post_all(End& end, ConnectionId connection, std::span<const Operation> operations);
  /// One operation to its end.
  Status finish(End& end, ConnectionId connection, const Operation& operation);
  uint64_t next_id() { return next_id_++; }

  End x;
  End y;
  Address address;

 private:
  void start(End& end, const std::string& name);
  Harness& harness_;
  std::vector<std::unique_ptr<std::vector<std::byte>>> memories_;
  std::vector<std::unique_ptr<MemoryRegion>> regions_;
  uint64_t next_id_ = 1;
};

}  // namespace haul::contract
