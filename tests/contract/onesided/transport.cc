// Connections, grants, messages and events of the fake one-sided transport.
#include "contract/onesided/transport.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <utility>

#include "base/bytes.h"

namespace haul::onesided {

namespace {

constexpr uint64_t endpoint_magic = 0x71705f6661756c68;
constexpr size_t endpoint_bytes = 24;

std::vector<std::byte> encode_endpoint(const QueuePair& pair) {
  std::vector<std::byte> bytes(endpoint_bytes);
  base::ByteWriter writer(bytes);
  writer.put(endpoint_magic);
  writer.put(pair.number);
  writer.put(pair.secret);
  return bytes;
}

}  // namespace

class Region final : public MemoryRegion {
 public:
  Region(OneSidedTransport& owner, std::span<std::byte> memory) : owner_(&owner), memory_(memory) {}
  ~Region() override { owner_->forget_region(*this); }
  Region(const Region&) = delete;
  Region& operator=(const Region&) = delete;
  std::span<std::byte> bytes() const noexcept override { return memory_; }

 private:
  OneSidedTransport* owner_;
  std::span<std::byte> memory_;
};

OneSidedTransport::OneSidedTransport(Fabric& fabric, std::string node) : fabric_(fabric), node_(std::move(node)) {
  const FabricOptions& options = fabric_.options_;
  capabilities_.name = options.name;
  capabilities_.bootstraps = options.bootstraps;
  capabilities_.preferred_operation_bytes = options.max_operation_bytes / 2;
  capabilities_.max_operation_bytes = options.max_operation_bytes;
  capabilities_.max_operations = options.max_operations;
  fabric_.transports_.insert(this);
}

OneSidedTransport::~OneSidedTransport() {
  for (auto& [number, pair] : pairs_) fail(*pair, Status(StatusCode::peer_lost, "the transport is gone"));
  for (const auto& [number, pair] : pairs_) fabric_.pairs_.erase(number);
  std::erase_if(fabric_.listeners_, [this](const auto& entry) { return entry.second == this; });
  fabric_.transports_.erase(this);
  if (!regions_.empty()) fabric_.defects_.push_back("a transport was destroyed before its regions");
}

Result<std::unique_ptr<MemoryRegion>> OneSidedTransport::register_memory(std::span<std::byte> memory, MemoryKind kind) {
  if (kind != MemoryKind::host) return Status(StatusCode::unsupported, "the fake transport knows host memory only");
  auto region = std::make_unique<Region>(*this, memory);
  regions_.insert(region.get());
  return std::unique_ptr<MemoryRegion>(std::move(region));
}

void OneSidedTransport::forget_region(const MemoryRegion& region) {
  regions_.erase(&region);
  for (const auto& [number, pair] : pairs_) {
    if (pair->state == QueuePair::State::over) continue;
    for (const Work& work : pair->work) {
      if (work.region == &region) fabric_.defects_.push_back("a region was destroyed while an operation used it");
    }
    for (const auto& [key, grant] : pair->grants) {
      if (grant.region == &region) fabric_.defects_.push_back("a region was destroyed while a grant of it stood");
    }
  }
}

Result<Address> OneSidedTransport::listen(const Address& address) {
  if (!capabilities_.bootstraps) return Status(StatusCode::unsupported, "this fabric has no addresses; exchange endpoints");
  Address bound = address;
  if (bound.port == 0) bound.port = fabric_.next_port_++;
  if (!fabric_.listeners_.try_emplace(bound, this).second) {
    return Status(StatusCode::unavailable, fmt::format("{} is in use", bound.to_string()));
  }
  return bound;
}

QueuePair* OneSidedTransport::mine(ConnectionId connection) const {
  const auto it = pairs_.find(connection);
  return it == pairs_.end() || it->second->state == QueuePair::State::over ? nullptr : it->second.get();
}

QueuePair& OneSidedTransport::add_pair(const ConnectOptions& options) {
  auto pair = std::make_unique<QueuePair>();
  pair->number = fabric_.next_number_++;
  pair->secret = fabric_.random_.next();
  pair->owner = this;
  pair->options = options;
  fabric_.pairs_.emplace(pair->number, pair.get());
  return *pairs_.emplace(pair->number, std::move(pair)).first->second;
}

Result<LocalEndpoint> OneSidedTransport::open(const ConnectOptions& options, TimePoint) {
  const QueuePair& pair = add_pair(options);
  return LocalEndpoint{pair.number, encode_endpoint(pair)};
}

Status OneSidedTransport::join(ConnectionId connection, std::span<const std::byte> peer_endpoint, TimePoint now) {
  QueuePair* pair = mine(connection);
  if (pair == nullptr || pair->state != QueuePair::State::opened) {
    return Status(StatusCode::invalid, fmt::format("connection {} is not open for joining", connection));
  }
  if (peer_endpoint.empty()) {
    if (!pair->options.address || !capabilities_.bootstraps) {
      return Status(StatusCode::invalid, "neither an endpoint nor an address to join");
    }
  } else {
    base::ByteReader reader(peer_endpoint);
    const uint64_t magic = reader.get<uint64_t>();
    const uint64_t number = reader.get<uint64_t>();
    const uint64_t secret = reader.get<uint64_t>();
    const QueuePair* peer = fabric_.find(number);
    const bool known = reader.finished() && magic == endpoint_magic && peer != nullptr && peer->secret == secret;
    if (!known || peer == pair) return Status(StatusCode::invalid, "the peer's endpoint is not one of this fabric");
    pair->peer = number;
  }
  pair->state = QueuePair::State::joining;
  pair->join_deadline = now + pair->options.timeout;
  return {};
}

void OneSidedTransport::close(ConnectionId connection, CloseMode mode, TimePoint now) {
  QueuePair* pair = mine(connection);
  if (pair == nullptr) return;
  if (mode == CloseMode::drain && pair->state == QueuePair::State::ready) {
    pair->state = QueuePair::State::draining;
    pair->last_progress = now;
  } else if (mode == CloseMode::abort || pair->state != QueuePair::State::draining) {
    fail(*pair, Status(StatusCode::peer_lost, "aborted"));
  }
}

Result<LocalGrant> OneSidedTransport::grant(ConnectionId connection, const MemoryRegion& region, Range range, Rights rights,
                                            TimePoint) {
  QueuePair* pair = mine(connection);
  if (pair == nullptr) return Status(StatusCode::peer_lost, fmt::format("connection {} is closed", connection));
  if (!regions_.contains(&region)) return Status(StatusCode::invalid, "the region is not registered here");
  const uint64_t size = region.bytes().size();
  if (range.offset > size || range.length > size - range.offset)
    return Status(StatusCode::invalid, "the range is outside the region");
  const uint64_t key = fabric_.random_.next();
  const uint64_t id = fabric_.next_number_++;
  pair->grants.emplace(key, Grant{id, &region, range, rights, std::nullopt});
  LocalGrant result;
  result.id = id;
  base::ByteWriter writer(result.remote.data);
  writer.put(key);
  result.remote.size = static_cast<uint8_t>(writer.size());
  return result;
}

void OneSidedTransport::revoke(ConnectionId connection, uint64_t grant_id, TimePoint) {
  QueuePair* pair = mine(connection);
  if (pair == nullptr) return;
  for (auto& [key, grant] : pair->grants) {
    if (grant.id == grant_id && !grant.polls_to_revoked)
      grant.polls_to_revoked = static_cast<uint32_t>(2 + fabric_.random_.below(4));
  }
}

void OneSidedTransport::answer(ConnectionId, uint64_t, const Status&, TimePoint) {
  fabric_.defects_.push_back("answer() was called, but this transport reports no landings");
}

bool OneSidedTransport::send(ConnectionId connection, std::span<const std::byte> message, TimePoint now) {
  QueuePair* pair = mine(connection);
  if (pair == nullptr || pair->state != QueuePair::State::ready) return false;
  if (message.empty() || message.size() > capabilities_.max_message_bytes) {
    fabric_.defects_.push_back(fmt::format("send() of a message of {} bytes", message.size()));
    return false;
  }
  if (pair->outbox.size() >= fabric_.options_.max_messages) {
    pair->refused_more = true;
    return false;
  }
  if (pair->outbox.empty() && pair->work.empty()) pair->last_progress = now;
  pair->outbox.emplace_back(message.begin(), message.end());
  return true;
}

PathSample OneSidedTransport::sample(ConnectionId) const { return {}; }

std::string OneSidedTransport::describe(ConnectionId connection) const {
  const QueuePair* pair = mine(connection);
  return pair == nullptr ? std::string()
                         : fmt::format("fake one-sided queue pair {} on {}, peer {}", pair->number, node_, pair->peer);
}

void OneSidedTransport::set_limits(ConnectionId, const Limits&) {}

void OneSidedTransport::report(Event::Kind kind, const QueuePair& pair, uint64_t id, Status status) {
  Pending pending;
  pending.event.kind = kind;
  pending.event.connection = pair.number;
  pending.event.id = id;
  pending.event.status = std::move(status);
  if (kind == Event::Kind::completed) ++pending_completions_;
  // Nothing follows a connection's `closed`, not even the end of what is posted before it is seen.
  const auto closed = std::find_if(pending_.begin(), pending_.end(), [&pair](const Pending& each) {
    return each.event.connection == pair.number && each.event.kind == Event::Kind::closed;
  });
  pending_.insert(closed, std::move(pending));
}

QueuePair* OneSidedTransport::reachable_peer(const QueuePair& pair) const {
  QueuePair* peer = fabric_.find(pair.peer);
  return peer != nullptr && fabric_.reaches(node_, peer->owner->node_) ? peer : nullptr;
}

bool OneSidedTransport::closed_is_pending(ConnectionId connection) const {
  return std::any_of(pending_.begin(), pending_.end(), [connection](const Pending& each) {
    return each.event.connection == connection && each.event.kind == Event::Kind::closed;
  });
}

/// Ends this side of a connection: all work fails, then `closed`.
void OneSidedTransport::end(QueuePair& pair, const Status& status) {
  if (pair.state == QueuePair::State::over) return;
  const Status reason = status.ok() ? Status(StatusCode::peer_lost, "the connection was closed") : status;
  while (!pair.work.empty()) finish(pair, 0, Status(StatusCode::peer_lost, std::string(reason.message())));
  pair.outbox.clear();
  pair.grants.clear();
  pair.state = QueuePair::State::over;
  report(Event::Kind::closed, pair, 0, status);
}

/// As end(), and the peer's side fails with it.
void OneSidedTransport::fail(QueuePair& pair, const Status& status) {
  QueuePair* peer = reachable_peer(pair);
  end(pair, status);
  if (peer != nullptr && peer->peer == pair.number)
    peer->owner->end(*peer, Status(StatusCode::peer_lost, "the peer's end failed"));
}

size_t OneSidedTransport::poll(TimePoint now, NextPoll /*next*/, std::span<Event> events) {
  delivered_.clear();
  if (fabric_.dead_.contains(node_)) return 0;
  // Accepting a connection adds a pair, so the ones to move are listed first.
  std::vector<QueuePair*> live;
  for (const auto& [number, pair] : pairs_) live.push_back(pair.get());
  for (QueuePair* pair : live) progress(*pair, now);

  size_t filled = 0;
  while (filled < events.size() && !pending_.empty()) {
    Pending pending = std::move(pending_.front());
    pending_.pop_front();
    if (pending.event.kind == Event::Kind::completed) --pending_completions_;
    if (pending.event.kind == Event::Kind::message) {
      delivered_.push_back(std::move(pending.message));
      pending.event.payload = delivered_.back();
    }
    events[filled++] = std::move(pending.event);
  }
  return filled;
}

std::optional<TimePoint> OneSidedTransport::next_deadline() const {
  if (fabric_.dead_.contains(node_)) return std::nullopt;
  const TimePoint now = fabric_.clock_.now();
  if (!pending_.empty()) return now;
  std::optional<TimePoint> next;
  const auto at = [&next](TimePoint time) { next = next ? std::min(*next, time) : time; };
  for (const auto& [number, pair] : pairs_) {
    if (pair->state == QueuePair::State::over || pair->state == QueuePair::State::opened) continue;
    const bool busy = !pair->work.empty() || !pair->outbox.empty() || pair->state == QueuePair::State::draining;
    if (pair->state == QueuePair::State::joining) at(can_join(*pair) ? now : pair->join_deadline);
    if (busy) at(reachable_peer(*pair) != nullptr ? now : pair->last_progress + fabric_.options_.dead_after);
    const QueuePair& queue_pair = *pair;
    const bool revoking = std::any_of(pair->grants.begin(), pair->grants.end(), [&](const auto& entry) {
      return entry.second.polls_to_revoked && !in_use(queue_pair, entry.first);
    });
    if (revoking || pair->peer_finished) at(now);
  }
  return next;
}

}  // namespace haul::onesided
