// Checks of the transport contract, event by event.
#include "contract/checked_transport.h"

#include <fmt/format.h>

#include <algorithm>

namespace haul::contract {

CheckedTransport::CheckedTransport(std::unique_ptr<Transport> inner, std::shared_ptr<TransportRecord> record)
    : inner_(std::move(inner)), record_(std::move(record)) {}

CheckedTransport::~CheckedTransport() = default;

void CheckedTransport::defect(ConnectionId connection, const std::string& what) {
  record_->defects.push_back(fmt::format("{} connection {}: {}", capabilities().name, connection, what));
}

Result<std::unique_ptr<MemoryRegion>> CheckedTransport::register_memory(std::span<std::byte> memory, MemoryKind kind) {
  return inner_->register_memory(memory, kind);
}

Result<LocalEndpoint> CheckedTransport::open(const ConnectOptions& options, TimePoint now) {
  auto endpoint = inner_->open(options, now);
  if (!endpoint.ok()) return endpoint;
  ++record_->opened;
  const ConnectionId id = endpoint.value().connection;
  if (id == 0 || !connections_.try_emplace(id).second)
    defect(id, "open() gave a connection id that is none or was used before");
  if (endpoint.value().bytes.size() > 512) defect(id, "the endpoint is longer than 512 bytes");
  return endpoint;
}

Status CheckedTransport::join(ConnectionId connection, std::span<const std::byte> peer_endpoint, TimePoint now) {
  if (record_->joins_fail && record_->joins_left == 0) return *record_->joins_fail;
  if (record_->joins_fail) --record_->joins_left;
  return inner_->join(connection, peer_endpoint, now);
}

Result<LocalGrant> CheckedTransport::grant(ConnectionId connection, const MemoryRegion& region, Range range, Rights rights,
                                           TimePoint now) {
  if (record_->grants_fail && record_->grants_left == 0) return *record_->grants_fail;
  if (record_->grants_fail) --record_->grants_left;
  auto granted = inner_->grant(connection, region, range, rights, now);
  if (granted.ok() && !connections_[connection].grants.insert(granted.value().id).second)
    defect(connection, "a grant id was given twice");
  return granted;
}

void CheckedTransport::revoke(ConnectionId connection, uint64_t grant_id, TimePoint now) {
  Connection& known = connections_[connection];
  if (known.state == Connection::State::ready) {
    if (!known.grants.contains(grant_id)) defect(connection, "the core revoked a grant that does not stand");
    known.revoking.insert(grant_id);
  }
  inner_->revoke(connection, grant_id, now);
}

size_t CheckedTransport::post(ConnectionId connection, std::span<const Operation> operations, TimePoint now) {
  Connection& known = connections_[connection];
  for (const Operation& operation : operations) {
    if (known.operations.contains(operation.id)) defect(connection, fmt::format("the core posted id {} twice", operation.id));
  }
  const size_t taken = inner_->post(connection, operations, now);
  if (taken > operations.size()) defect(connection, "post() took more than it was given");
  if (taken < operations.size()) ++record_->refused_posts;
  for (const Operation& operation : operations.first(std::min(taken, operations.size()))) {
    std::span<std::byte> local;
    if (operation.local != nullptr) {
      const auto region = operation.local->bytes();
      const bool fits = operation.local_offset <= region.size() && operation.length <= region.size() - operation.local_offset;
      if (fits) local = region.subspan(operation.local_offset, operation.length);
    }
    known.operations.insert_or_assign(operation.id, Outstanding{operation.op, local});
    ++record_->operations_outstanding;
  }
  return taken;
}

void CheckedTransport::answer(ConnectionId connection, uint64_t id, const Status& status, TimePoint now) {
  Connection& known = connections_[connection];
  if (known.landed.erase(id) == 1) {
    --record_->landings_unanswered;
  } else if (known.state != Connection::State::closed) {
    defect(connection, fmt::format("the core answered {}, which is not a landing that waits", id));
  }
  inner_->answer(connection, id, status, now);
}

bool CheckedTransport::send(ConnectionId connection, std::span<const std::byte> message, TimePoint now) {
  if (message.empty() || message.size() > capabilities().max_message_bytes)
    defect(connection, "the core sent a message of a wrong size");
  const bool taken = inner_->send(connection, message, now);
  if (!taken) ++record_->refused_posts;
  return taken;
}

PathSample CheckedTransport::sample(ConnectionId connection) const {
  PathSample sample = inner_->sample(connection);
  if (record_->lowest_rtt) sample.rtt_min = record_->lowest_rtt;
  if (record_->held_by_buffers) sample.limited_by_buffers = system_clock().now().time_since_epoch();
  return sample;
}

void CheckedTransport::set_limits(ConnectionId connection, const Limits& limits) {
  Limits bounded = limits;
  if (record_->lane_rate) bounded.rate_bytes_s = std::min(limits.rate_bytes_s.value_or(UINT64_MAX), *record_->lane_rate);
  inner_->set_limits(connection, bounded);
}

/// As a backend that obeys would report what its samples count.
std::optional<LaneReport> CheckedTransport::take_report(ConnectionId connection) {
  const PathSample sample = inner_->sample(connection);
  uint64_t& reported = connections_[connection].reported;
  LaneReport report;
  report.at = system_clock().now();
  report.obeyed = true;
  if (sample.bytes_delivered > reported) {
    report.ack =
        AckSample{.acked_bytes = sample.bytes_delivered - reported, .rtt = sample.rtt_smoothed.value_or(Duration::zero())};
    reported = sample.bytes_delivered;
  }
  return report;
}

Status CheckedTransport::steer(ConnectionId connection, uint64_t window_bytes, std::optional<uint64_t> rate_bytes_s, Duration) {
  set_limits(connection, {.window_bytes = {}, .rate_bytes_s = rate_bytes_s, .path_bytes = window_bytes});
  return {};
}

std::optional<TimePoint> CheckedTransport::next_deadline() const {
  if (!record_->to_kill.empty()) return TimePoint();  // at once
  auto next = inner_->next_deadline();
  if (record_->writable_every > Duration::zero() && (!next || next_writable_ < *next)) next = next_writable_;
  return next;
}

size_t CheckedTransport::poll(TimePoint now, NextPoll next, std::span<Event> events) {
  for (const ConnectionId id : std::exchange(record_->to_kill, {})) {
    connections_[id].killed = true;
    inner_->close(id, CloseMode::abort, now);
  }
  size_t count = inner_->poll(now, next, events);
  if (count > events.size()) defect(0, "poll() filled more than the span");
  for (Event& event : events.first(std::min(count, events.size()))) see(event);
  return count + add_events(now, events.subspan(std::min(count, events.size())));
}

/// What the test wants to be told beside the truth.
size_t CheckedTransport::add_events(TimePoint now, std::span<Event> events) {
  size_t count = 0;
  const auto add = [&](Event::Kind kind, ConnectionId connection) {
    if (connections_[connection].state != Connection::State::ready || count == events.size()) return;
    Event& event = events[count++] = Event();
    event.kind = kind;
    event.connection = connection;
  };
  for (; count < events.size() && !record_->to_age.empty(); record_->to_age.pop_back())
    add(Event::Kind::aging, record_->to_age.back());
  if (record_->writable_every > Duration::zero() && now >= next_writable_) {
    next_writable_ = now + record_->writable_every;
    for (const ConnectionId id : record_->connections) add(Event::Kind::writable, id);
  }
  return count;
}

void CheckedTransport::see(Event& event) {
  if (event.kind != Event::Kind::accepted && !connections_.contains(event.connection)) {
    defect(event.connection, "an event for a connection that nobody made");
  }
  Connection& connection = connections_[event.connection];
  if (connection.state == Connection::State::closed) defect(event.connection, "an event after `closed`");
  switch (event.kind) {
    case Event::Kind::accepted:
    case Event::Kind::connected: see_ready(event, connection); break;
    case Event::Kind::landed: see_landed(event, connection); break;
    case Event::Kind::completed: see_completed(event, connection); break;
    case Event::Kind::revoked:
      if (connection.revoking.erase(event.id) == 0) defect(event.connection, "`revoked` of a grant that nobody takes back");
      connection.grants.erase(event.id);
      break;
    case Event::Kind::message:
      if (event.payload.empty()) defect(event.connection, "an empty message");
      break;
    case Event::Kind::immediate:
      if (!capabilities().carries_immediates) defect(event.connection, "an immediate, although this backend carries none");
      if (event.payload.size() != sizeof(Immediate)) defect(event.connection, "an immediate of another size");
      break;
    case Event::Kind::aging:
    case Event::Kind::writable: break;
    case Event::Kind::closed: see_closed(event, connection); break;
  }
}

void CheckedTransport::see_ready(const Event& event, Connection& connection) {
  if (connection.state != Connection::State::opened) defect(event.connection, "became ready twice");
  connection.state = Connection::State::ready;
  record_->connections.insert(event.connection);
  if (record_->lane_rate) set_limits(event.connection, {});
}

void CheckedTransport::see_completed(const Event& event, Connection& connection) {
  const auto it = connection.operations.find(event.id);
  if (it == connection.operations.end()) {
    return defect(event.connection, fmt::format("`completed` of {}, which is not outstanding", event.id));
  }
  if (event.status.code() == StatusCode::busy) defect(event.connection, "an operation completed as busy");
  if (it->second.op == Op::read && event.status.ok()) corrupt(it->second.local);
  connection.operations.erase(it);
  --record_->operations_outstanding;
  ++record_->operations_completed;
}

void CheckedTransport::see_landed(const Event& event, Connection& connection) {
  if (!capabilities().reports_landed) defect(event.connection, "`landed`, although this backend does not report it");
  if (!connection.landed.insert(event.id).second) defect(event.connection, "`landed` twice for one operation");
  ++record_->landings_unanswered;
  corrupt(event.payload);
}

void CheckedTransport::see_closed(Event& event, Connection& connection) {
  if (!connection.operations.empty()) {
    defect(event.connection, fmt::format("`closed` with {} operations outstanding", connection.operations.size()));
  }
  record_->landings_unanswered -= connection.landed.size();
  connection.landed.clear();
  connection.state = Connection::State::closed;
  record_->connections.erase(event.connection);
  if (connection.killed || !event.status.ok()) ++record_->connections_lost;
  if (connection.killed) event.status = Status(StatusCode::peer_lost, "the test killed this connection");
}

/// Between the wire and the check: the payload is this side's own memory.
void CheckedTransport::corrupt(std::span<const std::byte> payload) {
  if (record_->corruptions_left == 0 || payload.empty()) return;
  --record_->corruptions_left;
  ++record_->corruptions_done;
  const_cast<std::byte&>(payload[payload.size() / 2]) ^= std::byte{0x10};  // NOLINT(cppcoreguidelines-pro-type-const-cast)
}

}  // namespace haul::contract
