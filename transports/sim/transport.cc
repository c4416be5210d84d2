// The simulated transport: from the core's calls to connections, from packets to events.
#include "transport.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/check.h"

namespace haul::sim {
namespace {

class SimRegion final : public MemoryRegion {
 public:
  explicit SimRegion(std::span<std::byte> memory) : memory_(memory) {}
  std::span<std::byte> bytes() const noexcept override { return memory_; }

 private:
  std::span<std::byte> memory_;
};

Capabilities make_capabilities(const TransportOptions& options) {
  Capabilities capabilities;
  capabilities.name = "sim";
  capabilities.carries_checksums = true;
  capabilities.reports_landed = true;
  capabilities.bootstraps = true;
  capabilities.preferred_operation_bytes = options.max_operation_bytes;
  capabilities.max_operation_bytes = options.max_operation_bytes;
  capabilities.max_operations = options.max_operations;
  return capabilities;
}

Status unknown_connection() { return Status(StatusCode::peer_lost, "the connection is closed or never was: open another one"); }

}  // namespace

SimTransport::SimTransport(World::State& world, NodeIndex node, const TransportOptions& options)
    : world_(world), node_(node), options_(options), capabilities_(make_capabilities(options)) {
  world_.transports.push_back(this);
}

SimTransport::~SimTransport() {
  for (const auto& [id, connection] : connections_) {
    if (connection->state() != Connection::State::closed) connection->send_reset();
  }
  silence();
  std::erase(world_.transports, this);
}

void SimTransport::silence() {
  silent_ = true;
  inbox_.clear();
  std::erase_if(world_.nodes[node_].listeners, [this](const auto& entry) { return entry.second == this; });
  for (const auto& [id, connection] : connections_) world_.owners.erase(id);
}

Result<std::unique_ptr<MemoryRegion>> SimTransport::register_memory(std::span<std::byte> memory, MemoryKind kind) {
  if (kind != MemoryKind::host)
    return Status(StatusCode::unsupported, "the simulated transport moves host memory only: pass MemoryKind::host");
  return std::unique_ptr<MemoryRegion>(std::make_unique<SimRegion>(memory));
}

bool SimTransport::is_local(const std::string& host) const {
  return host.empty() || host == world_.nodes[node_].name || Address{host, 0}.is_loopback();
}

Result<Address> SimTransport::listen(const Address& address) {
  Node& node = world_.nodes[node_];
  if (silent_) return Status(StatusCode::unavailable, fmt::format("the simulated node {} crashed", node.name));
  if (!is_local(address.host))
    return Status(StatusCode::unavailable, fmt::format("{} is not this node: listen on {}", address.host, node.name));
  uint16_t port = address.port;
  if (port == 0) {
    while (node.listeners.contains(node.next_port)) ++node.next_port;
    port = node.next_port++;
  }
  if (!node.listeners.emplace(port, this).second)
    return Status(StatusCode::unavailable, fmt::format("port {} of {} is in use: choose another", port, node.name));
  return Address{address.host.empty() ? node.name : address.host, port};
}

Connection& SimTransport::create() {
  const ConnectionId id = world_.next_connection++;
  Outlet& outlet = *this;
  if (!silent_) world_.owners[id] = this;
  return *(connections_[id] = std::make_unique<Connection>(world_, outlet, id, node_, options_));
}

Connection* SimTransport::find(ConnectionId id) const {
  const auto found = connections_.find(id);
  return found == connections_.end() ? nullptr : found->second.get();
}

Result<LocalEndpoint> SimTransport::open(const ConnectOptions& options, TimePoint /*now*/) {
  Connection& connection = create();
  connection.configure(options);
  return LocalEndpoint{.connection = connection.id(), .bytes = connection.endpoint()};
}

Status SimTransport::join(ConnectionId id, std::span<const std::byte> peer_endpoint, TimePoint /*now*/) {
  Connection* connection = find(id);
  return connection == nullptr ? unknown_connection() : connection->join(peer_endpoint);
}

void SimTransport::close(ConnectionId id, CloseMode mode, TimePoint /*now*/) {
  if (Connection* connection = find(id)) connection->close(mode);
}

Result<LocalGrant> SimTransport::grant(ConnectionId id, const MemoryRegion& region, Range range, Rights rights,
                                       TimePoint /*now*/) {
  Connection* connection = find(id);
  if (connection == nullptr) return unknown_connection();
  return connection->grant(next_grant_++, region, range, rights);
}

void SimTransport::revoke(ConnectionId id, uint64_t grant_id, TimePoint /*now*/) {
  if (Connection* connection = find(id)) connection->revoke(grant_id);
}

size_t SimTransport::post(ConnectionId id, std::span<const Operation> operations, TimePoint /*now*/) {
  Connection* connection = find(id);
  return connection != nullptr ? connection->post(operations) : 0;
}

void SimTransport::answer(ConnectionId id, uint64_t landed, const Status& status, TimePoint /*now*/) {
  if (Connection* connection = find(id)) connection->answer(landed, status);
}

void SimTransport::cancel(ConnectionId id, uint64_t operation, TimePoint /*now*/) {
  if (Connection* connection = find(id)) connection->cancel(operation);
}

bool SimTransport::send(ConnectionId id, std::span<const std::byte> message, TimePoint /*now*/) {
  base::check(!message.empty() && message.size() <= capabilities_.max_message_bytes, "a message of no or too many bytes");
  Connection* connection = find(id);
  return connection != nullptr && connection->send(message);
}

PathSample SimTransport::sample(ConnectionId id) const {
  const Connection* connection = find(id);
  return connection == nullptr ? PathSample{} : connection->sample();
}

std::string SimTransport::describe(ConnectionId id) const {
  const Connection* connection = find(id);
  return connection == nullptr ? std::string() : connection->describe();
}

void SimTransport::set_limits(ConnectionId id, const Limits& limits) {
  if (Connection* connection = find(id)) connection->set_limits(limits);
}

size_t SimTransport::poll(TimePoint /*now*/, NextPoll /*next*/, std::span<Event> events) {
  lent_.clear();
  while (!inbox_.empty() && ready_.size() < max_ready_events) {
    const Packet packet = std::move(inbox_.front());
    inbox_.pop_front();
    handle(packet);
  }
  for (const auto& [id, connection] : connections_) {
    connection->work();
    if (!connection->take_writable()) continue;
    Event event;
    event.kind = Event::Kind::writable;
    event.connection = id;
    emit(std::move(event), {});
  }
  size_t filled = 0;
  hand_out(events, filled);
  hand_out_closed(events, filled);
  return filled;
}

void SimTransport::handle(const Packet& packet) {
  if (packet.destination == 0) return handle_open(packet);
  Connection* connection = find(packet.destination);
  if (connection == nullptr || connection->state() == Connection::State::closed) return world_.reply_reset(packet);
  connection->handle(packet);
}

void SimTransport::handle_open(const Packet& packet) {
  size_t unconfirmed = 0;
  for (const auto& [id, connection] : connections_) {
    if (connection->state() == Connection::State::closed) continue;
    if (connection->peer() == packet.source) return connection->accept(packet);
    if (!connection->announced()) ++unconfirmed;
  }
  if (unconfirmed < max_unconfirmed) create().accept(packet);
}

void SimTransport::hand_out(std::span<Event> events, size_t& filled) {
  while (!ready_.empty() && filled < events.size()) {
    Ready ready = std::move(ready_.front());
    ready_.pop_front();
    if (!ready.message.empty()) {
      lent_.push_back(std::move(ready.message));
      ready.event.payload = lent_.back();
    }
    if (ready.event.kind == Event::Kind::completed) {
      if (Connection* connection = find(ready.event.connection)) connection->on_completion_delivered();
    }
    events[filled++] = std::move(ready.event);
  }
}

void SimTransport::hand_out_closed(std::span<Event> events, size_t& filled) {
  if (!ready_.empty()) return;
  for (auto it = connections_.begin(); it != connections_.end();) {
    const Connection& connection = *it->second;
    const bool room = filled < events.size() || !connection.announced();
    if (connection.state() != Connection::State::closed || !room) {
      ++it;
      continue;
    }
    if (connection.announced()) {
      Event event;
      event.kind = Event::Kind::closed;
      event.connection = connection.id();
      event.status = connection.closed_status();
      events[filled++] = std::move(event);
    }
    world_.owners.erase(connection.id());
    it = connections_.erase(it);
  }
}

std::optional<TimePoint> SimTransport::next_deadline() const {
  if (!inbox_.empty() || !ready_.empty()) return world_.now();
  std::optional<TimePoint> earliest;
  for (const auto& [id, connection] : connections_) {
    const auto deadline = connection->deadline();
    if (deadline) earliest = std::min(*deadline, earliest.value_or(*deadline));
  }
  return earliest;
}

void SimTransport::transmit(Packet packet) {
  if (!silent_) world_.send(std::move(packet));
}

void SimTransport::emit(Event event, std::vector<std::byte> message) {
  ready_.push_back({.event = std::move(event), .message = std::move(message)});
}

}  // namespace haul::sim
