// The rdma transport: making connections, polling them, and what devices say.
#include "rdma/rdma_transport.h"

#include <fmt/format.h>
#include <sys/epoll.h>

#include <algorithm>
#include <array>
#include <cerrno>

#include "base/random.h"

namespace haul::rdma {

namespace {

constexpr uint32_t operation_bytes = 1U << 20;

// Asking a device for news is a system call, which a poll that spins leaves out most times.
constexpr Duration async_look_every = std::chrono::milliseconds(1);

Status check_options(const Options& options) {
  const auto invalid = [](std::string what) { return Status(StatusCode::invalid, "rdma options: " + std::move(what)); };
  constexpr std::array<uint32_t, 5> sizes{256, 512, 1024, 2048, 4096};
  if (std::find(sizes.begin(), sizes.end(), options.mtu_bytes) == sizes.end())
    return invalid("mtu_bytes is 256, 512, 1024, 2048 or 4096");
  if (options.dead_after <= Duration::zero() || options.probe_every <= Duration::zero())
    return invalid("times must be positive");
  if (options.revoke_grace < Duration::zero()) return invalid("revoke_grace must not be negative");
  if (options.window_bytes == 0) return invalid("window_bytes must be positive");
  return {};
}

/// Two queue pairs fill a port where one waits for a lost packet; all ports are used. Without memory windows, each lane would
/// register memory anew.
uint32_t usual_lanes(const std::vector<std::unique_ptr<Port>>& ports) {
  const bool windows = std::all_of(ports.begin(), ports.end(), [](const auto& port) { return port->owner->windows; });
  return std::max(static_cast<uint32_t>(ports.size()), windows ? 2U : 1U);
}

}  // namespace

Result<std::unique_ptr<Transport>> make_transport(Options options) {
  return RdmaTransport::make(make_ibverbs(), std::move(options));
}

Result<std::unique_ptr<Transport>> RdmaTransport::make(std::shared_ptr<Verbs> verbs, Options options) {
  if (Status status = check_options(options); !status.ok()) return status;
  std::unique_ptr<RdmaTransport> transport(new RdmaTransport(std::move(verbs), std::move(options)));
  auto rails = Rails::find(*transport->verbs_, transport->context_.options);
  if (!rails) return rails.status();
  transport->rails_ = std::move(*rails);
  transport->capabilities_.usual_lanes = usual_lanes(transport->rails_->ports());
  if (Status status = transport->watch_devices(); !status.ok()) return status;
  return std::unique_ptr<Transport>(std::move(transport));
}

RdmaTransport::RdmaTransport(std::shared_ptr<Verbs> verbs, Options options) : verbs_(std::move(verbs)) {
  context_.options = std::move(options);
  capabilities_.name = "rdma";
  capabilities_.carries_checksums = true;
  capabilities_.reports_landed = true;
  capabilities_.carries_immediates = true;
  capabilities_.bootstraps = false;
  capabilities_.authenticates = false;
  capabilities_.handles_device_memory = static_cast<bool>(context_.options.export_device_memory);
  capabilities_.acknowledged_by = Acknowledgements::completions;
  capabilities_.preferred_operation_bytes = operation_bytes;
  capabilities_.max_operation_bytes = operation_bytes;
  capabilities_.max_message_bytes = wire::max_message_bytes;
  capabilities_.max_operations = wire::max_operations;
}

RdmaTransport::~RdmaTransport() { connections_.clear(); }

Status RdmaTransport::watch_devices() {
  epoll_fd_.reset(epoll_create1(EPOLL_CLOEXEC));
  if (!epoll_fd_) return Status::from_errno(StatusCode::exhausted, errno, "cannot create a descriptor (see ulimit -n)");
  for (const auto& device : rails_->devices()) {
    if (device->memory) context_.book->add(*device->memory);
    for (const int fd : {device->device->completion_fd(), device->device->connect_fd(), device->device->async_fd()}) {
      epoll_event interest{};
      interest.events = EPOLLIN;
      if (epoll_ctl(epoll_fd_.get(), EPOLL_CTL_ADD, fd, &interest) != 0) {
        return Status::from_errno(StatusCode::exhausted, errno, "cannot watch the descriptors of an RDMA device");
      }
    }
  }
  return {};
}

void RdmaTransport::log(LogLevel level, const std::string& text) const {
  if (context_.options.log) context_.options.log(LogRecord{level, "rdma", text});
}

Status RdmaTransport::secure(std::shared_ptr<const SecurityContext>, Protection weakest) {
  weakest_ = weakest;
  return {};
}

Result<std::unique_ptr<MemoryRegion>> RdmaTransport::register_memory(std::span<std::byte> memory, MemoryKind kind) {
  if (kind == MemoryKind::device && !capabilities_.handles_device_memory) {
    return Status(StatusCode::unsupported, "rdma: device memory needs rdma::Options::export_device_memory");
  }
  auto region = std::make_unique<Region>(memory, kind, context_.book);
  for (const auto& device : rails_->devices()) {
    if (!device->memory || device->gone) continue;
    if (auto registered = device->memory->of(*region); !registered) return registered.status();
  }
  return std::unique_ptr<MemoryRegion>(std::move(region));
}

Result<Address> RdmaTransport::listen(const Address&) {
  return Status(StatusCode::unsupported, "rdma does not listen at addresses: its endpoints travel over another transport");
}

Result<Port*> RdmaTransport::choose_port(const ConnectOptions& options, TimePoint now) {
  if (options.peer_endpoint.empty()) {
    if (Port* port = rails_->next(now); port != nullptr) return port;
    return Status(StatusCode::unavailable, "every RDMA port is down:\n" + rails_->describe());
  }
  const auto peer = wire::decode_endpoint(options.peer_endpoint);
  if (!peer) return peer.status();
  if (Port* port = rails_->matching(*peer); port != nullptr) return port;
  return Status(StatusCode::unavailable, fmt::format("no RDMA port here is up and of the kind of the peer's ({}):\n{}",
                                                     to_string(peer->gid), rails_->describe()));
}

Result<LocalEndpoint> RdmaTransport::open(const ConnectOptions& options, TimePoint now) {
  if (weakest_ && options.protection.value_or(*weakest_) != Protection::plain) {
    return Status(StatusCode::refused,
                  fmt::format("rdma cannot give its links the protection asked for ({}): bytes on an RDMA fabric are neither "
                              "encrypted nor authenticated. Accept `plain`, on a fabric with nobody else on it",
                              to_string(options.protection.value_or(*weakest_))));
  }
  auto port = choose_port(options, now);
  if (!port) return port.status();
  const ConnectionId id = next_id_++;
  auto connection = std::make_unique<Connection>(context_, id, **port, options);
  const uint64_t secret = base::system_random_u64();
  if (Status status = connection->open(secret, static_cast<uint32_t>(base::system_random_u64())); !status.ok()) return status;
  LocalEndpoint endpoint{id, connection->endpoint()};
  connections_.emplace(id, std::move(connection));
  return endpoint;
}

Connection* RdmaTransport::find(ConnectionId connection) const {
  const auto found = connections_.find(connection);
  return found == connections_.end() || found->second->over() ? nullptr : found->second.get();
}

Status RdmaTransport::join(ConnectionId connection, std::span<const std::byte> peer_endpoint, TimePoint now) {
  Connection* known = find(connection);
  return known != nullptr ? known->join(peer_endpoint, now) : Status(StatusCode::invalid, "no such connection");
}

void RdmaTransport::close(ConnectionId connection, CloseMode mode, TimePoint) {
  if (Connection* known = find(connection)) known->close(mode);
}

Result<LocalGrant> RdmaTransport::grant(ConnectionId connection, const MemoryRegion& region, Range range, Rights rights,
                                        TimePoint) {
  Connection* known = find(connection);
  if (known == nullptr) return Status(StatusCode::peer_lost, "the connection has ended, or never was");
  return known->grant(region, range, rights);
}

void RdmaTransport::revoke(ConnectionId connection, uint64_t grant_id, TimePoint now) {
  if (Connection* known = find(connection)) known->revoke(grant_id, now);
}

size_t RdmaTransport::post(ConnectionId connection, std::span<const Operation> operations, TimePoint now) {
  Connection* known = find(connection);
  return known != nullptr ? known->post(operations, now) : 0;
}

void RdmaTransport::answer(ConnectionId connection, uint64_t id, const Status& status, TimePoint) {
  if (Connection* known = find(connection)) known->answer(id, status);
}

void RdmaTransport::cancel(ConnectionId connection, uint64_t id, TimePoint) {
  if (Connection* known = find(connection)) known->cancel(id);
}

bool RdmaTransport::send(ConnectionId connection, std::span<const std::byte> message, TimePoint) {
  Connection* known = find(connection);
  return known != nullptr && known->send(message);
}

PathSample RdmaTransport::sample(ConnectionId connection) const {
  const Connection* known = find(connection);
  return known != nullptr ? known->sample() : PathSample();
}

std::string RdmaTransport::describe(ConnectionId connection) const {
  if (connection == 0) return rails_->describe();
  const Connection* known = find(connection);
  return known != nullptr ? known->describe() : std::string();
}

void RdmaTransport::set_limits(ConnectionId connection, const Limits& limits) {
  if (Connection* known = find(connection)) known->set_limits(limits);
}

size_t RdmaTransport::poll(TimePoint now, NextPoll next, std::span<Event> events) {
  context_.events.forget_shown();
  take_device_events(now, next);
  for (auto it = connections_.begin(); it != connections_.end();) {
    it->second->progress(now, next);
    it = it->second->may_go() ? connections_.erase(it) : std::next(it);
  }
  return context_.events.take(events);
}

void RdmaTransport::take_device_events(TimePoint now, NextPoll next) {
  const bool sleeps = next == NextPoll::when_woken;
  const bool asked =
      std::any_of(connections_.begin(), connections_.end(), [](const auto& each) { return each.second->waits_for_reason(); });
  if (!sleeps && !asked && now - async_looked_ < async_look_every) return;
  async_looked_ = now;
  for (const auto& device : rails_->devices()) {
    device->device->take_completion_events();
    device->device->take_connect_events();
    while (const auto event = device->device->next_async_event()) on_async(*device, *event);
  }
}

void RdmaTransport::on_async(OpenDevice& device, const AsyncEvent& event) {
  const std::string& name = device.device->info().name;
  switch (event.kind) {
    case AsyncEvent::Kind::port_changed: return on_port(device, event.port);
    case AsyncEvent::Kind::device_gone:
      device.gone = true;
      for (const auto& port : rails_->ports()) {
        if (port->owner == &device) port->up = false;
      }
      // Its descriptors may tell of errors for ever.
      for (const int fd : {device.device->completion_fd(), device.device->async_fd()}) {
        epoll_ctl(epoll_fd_.get(), EPOLL_CTL_DEL, fd, nullptr);
      }
      for (const auto& [id, connection] : connections_) {
        if (connection->port().owner == &device) connection->end(Status(StatusCode::peer_lost, name + " had a fatal error"));
      }
      return log(LogLevel::error, name + " had a fatal error: it is not used any more");
    case AsyncEvent::Kind::completion_queue_error:
    case AsyncEvent::Kind::queue_pair_error:
    case AsyncEvent::Kind::access_error: return on_queue_error(device, event);
    case AsyncEvent::Kind::other: return;
  }
}

void RdmaTransport::on_queue_error(OpenDevice& device, const AsyncEvent& event) {
  const std::string& name = device.device->info().name;
  const bool overran = event.kind == AsyncEvent::Kind::completion_queue_error;
  for (const auto& [id, connection] : connections_) {
    if (connection->port().owner != &device || connection->over()) continue;
    const bool meant = overran ? connection->completions() == event.completions : connection->queue_pair() == event.queue_pair;
    if (!meant) continue;
    if (event.kind == AsyncEvent::Kind::access_error) {
      connection->on_access_error();
    } else {
      connection->on_async_error(
          Status(StatusCode::peer_lost,
                 fmt::format("{}: {}", name, overran ? "the completion queue overran" : "the queue pair failed")));
    }
  }
}

/// What a port's event says may be outdated: the port itself is asked.
void RdmaTransport::on_port(OpenDevice& device, uint8_t number) {
  for (const auto& port : rails_->ports()) {
    if (port->owner != &device || port->number != number) continue;
    const bool was_up = port->up;
    Rails::refresh(*port);
    const bool up = port->up;
    if (up == was_up) continue;
    log(up ? LogLevel::info : LogLevel::warning, fmt::format("{} is {}", port->name(), up ? "up again" : "down"));
    if (up) continue;
    for (const auto& [id, connection] : connections_) {
      if (&connection->port() == port.get()) connection->end(Status(StatusCode::peer_lost, port->name() + " went down"));
    }
  }
}

std::optional<TimePoint> RdmaTransport::next_deadline() const {
  if (!context_.events.empty()) return TimePoint();
  std::optional<TimePoint> next;
  for (const auto& [id, connection] : connections_) {
    const auto each = connection->next_deadline();
    if (each && (!next || *each < *next)) next = each;
  }
  return next;
}

}  // namespace haul::rdma
