// How connections come to be: listening, dialing, lanes by token, arrivals. And the making of the transport.
#include <fmt/format.h>
#include <netdb.h>

#include <utility>

#include "base/random.h"
#include "tcp/tcp_transport.h"
#include "tcp/uring_probe.h"

namespace haul::tcp {

namespace {

Endpoint wildcard(int family, uint16_t port) {
  Endpoint endpoint;
  endpoint.storage.ss_family = static_cast<sa_family_t>(family);
  endpoint.bytes = family == AF_INET6 ? sizeof(sockaddr_in6) : sizeof(sockaddr_in);
  endpoint.set_port(port);
  return endpoint;
}

}  // namespace

Result<Endpoint> TcpTransport::open_door(const Endpoint& endpoint, bool both_families) {
  auto socket = listen_on(endpoint, both_families, options_);
  if (!socket.ok()) return socket.status();
  const Endpoint bound = local_endpoint(socket->get());
  reception_.open(std::move(*socket));
  return bound;
}

Result<Address> TcpTransport::listen(const Address& address) {
  std::vector<Endpoint> endpoints;
  const bool everywhere = address.host.empty();
  if (everywhere) {
    endpoints.push_back(wildcard(AF_INET6, address.port));
  } else {
    auto resolved = net::resolve_now(address);
    if (!resolved.ok()) return resolved.status();
    endpoints = std::move(*resolved);
  }
  Result<Endpoint> bound = open_door(endpoints.front(), everywhere);
  if (!bound.ok() && everywhere) bound = open_door(wildcard(AF_INET, address.port), false);  // IPv6 is switched off
  if (!bound.ok()) return bound.status();
  acceptor_->listening(*bound, inbox_);
  // A name with several addresses, such as localhost: the others too, where they exist.
  for (size_t i = 1; i < endpoints.size(); ++i) {
    endpoints[i].set_port(bound->port());
    if (auto other = open_door(endpoints[i], false); other.ok()) acceptor_->listening(*other, inbox_);
  }
  return Address{address.host, bound->port()};
}

Result<LocalEndpoint> TcpTransport::open(const ConnectOptions& options, TimePoint now) {
  context_.now = now;
  if (!options.address) return open_passive(options);
  const Connection& connection = add_connection();
  opened_[connection.id()] = Opened{.options = options, .token = {}, .arrival = {}};
  return LocalEndpoint{connection.id(), {}};
}

Result<LocalEndpoint> TcpTransport::open_passive(const ConnectOptions& options) {
  auto port = passive_port(options);
  if (!port.ok()) return port.status();
  Opened opened{.options = options, .token = {}, .arrival = {}};
  base::system_random(opened.token);
  const Connection& connection = add_connection();
  LocalEndpoint endpoint{connection.id(), std::vector<std::byte>(wire::LaneEndpoint::bytes)};
  wire::encode({.token = opened.token, .port = *port}, std::span(endpoint.bytes).first<wire::LaneEndpoint::bytes>());
  expected_[opened.token] = connection.id();
  acceptor_->expect(opened.token, inbox_);
  opened_[connection.id()] = std::move(opened);
  return endpoint;
}

// The port at which the peer can reach this side, beside a connection that exists.
Result<uint16_t> TcpTransport::passive_port(const ConnectOptions& options) {
  const Connection* beside = find(options.beside);
  if (beside == nullptr || beside->socket() < 0) {
    return Status(StatusCode::invalid, "a lane without an address needs an established connection to go beside");
  }
  Endpoint local = local_endpoint(beside->socket());
  if (const auto port = acceptor_->port_at(local)) return *port;
  local.set_port(0);
  auto bound = open_door(local, false);
  if (!bound.ok()) return bound.status();
  acceptor_->listening(*bound, inbox_);
  return bound->port();
}

Status TcpTransport::join(ConnectionId connection, std::span<const std::byte> peer_endpoint, TimePoint now) {
  context_.now = now;
  Connection* found = find(connection);
  const auto opened = opened_.find(connection);
  if (found == nullptr || opened == opened_.end() || found->state() != Connection::State::opened) {
    return Status(StatusCode::invalid, "there is no such opened end to join");
  }
  if (opened->second.options.address) return join_active(*found, opened->second, peer_endpoint);
  join_passive(*found, opened->second);
  return {};
}

Status TcpTransport::join_active(Connection& connection, Opened& opened, std::span<const std::byte> peer_endpoint) {
  const Address& address = *opened.options.address;
  const Protection weakest = opened.options.protection.value_or(context_.protection);
  if (peer_endpoint.empty()) {
    if (address.host.empty() || address.port == 0)
      return Status(StatusCode::invalid, "an address to connect to needs a host and a port");
    connection.begin_dialing(address.to_string(), {.kind = wire::PrefaceKind::bootstrap}, {weakest, address.host},
                             opened.options.timeout);
    resolver_.resolve(connection.id(), address);
    return {};
  }
  const auto lane = wire::decode_lane_endpoint(peer_endpoint);
  if (!lane.ok()) return lane.status();
  const wire::Preface own{.kind = wire::PrefaceKind::lane, .token = lane->token};
  const Connection* beside = find(opened.options.beside);
  const bool has_path = beside != nullptr && beside->socket() >= 0;
  if (!has_path && address.host.empty()) {
    return Status(StatusCode::invalid, "a lane needs the peer's address, or an established connection to go beside");
  }
  const Address target{has_path ? remote_endpoint(beside->socket()).address().host : address.host, lane->port};
  // The engine compares the peer's identity with the one that it has.
  connection.begin_dialing(target.to_string(), own, {weakest, {}}, opened.options.timeout);
  if (has_path) {
    Endpoint endpoint = remote_endpoint(beside->socket());
    endpoint.set_port(lane->port);
    connection.dial({endpoint});
  } else {
    resolver_.resolve(connection.id(), target);
  }
  return {};
}

void TcpTransport::join_passive(Connection& connection, Opened& opened) {
  connection.expect(opened.options.timeout);
  if (!opened.arrival) return;
  Arrival arrival = std::move(*opened.arrival);
  opened.arrival.reset();
  settle(std::move(arrival));
}

void TcpTransport::on_arrival(Arrival arrival) {
  const auto owner = acceptor_->route(arrival.preface);
  if (owner == inbox_) {
    settle(std::move(arrival));
  } else if (owner) {
    owner->put(std::move(arrival));
  } else {
    context_.log(LogLevel::warning,
                 fmt::format("{} was turned away: nobody expects its lane", remote_endpoint(arrival.socket.get()).to_string()));
  }
}

void TcpTransport::settle(Arrival arrival) {
  if (arrival.preface.kind == wire::PrefaceKind::bootstrap) {
    add_connection().adopt(std::move(arrival), Event::Kind::accepted);
    return;
  }
  const auto expected = expected_.find(arrival.preface.token);
  if (expected == expected_.end()) return;
  Connection* connection = find(expected->second);
  if (connection != nullptr && connection->state() == Connection::State::opened) {
    opened_[expected->second].arrival = std::move(arrival);
  } else if (connection != nullptr && connection->state() == Connection::State::expecting) {
    // One socket a token.
    acceptor_->forget(arrival.preface.token);
    opened_.erase(expected->second);
    expected_.erase(expected);
    connection->adopt(std::move(arrival), Event::Kind::connected);
  }
}

void TcpTransport::take_inbox() {
  inbox_ready_ = false;
  for (Inbox::Item& item : inbox_->take()) {
    if (auto* arrival = std::get_if<Arrival>(&item)) {
      settle(std::move(*arrival));
    } else {
      resolver_.finished();
      on_resolved(std::get<Resolution>(std::move(item)));
    }
  }
  watch_inbox();
}

void TcpTransport::on_resolved(Resolution resolution) {
  Connection* connection = find(resolution.connection);
  if (connection == nullptr || connection->state() != Connection::State::dialing) return;
  if (resolution.status.ok()) {
    connection->dial(std::move(resolution.endpoints));
  } else {
    connection->fail(std::move(resolution.status));
  }
}

Status uring_works() { return uring_probe(); }

namespace {

Status check(const Options& options) {
  constexpr uint32_t max_threshold_bytes = 32U << 10;
  constexpr uint64_t max_renew_bytes = uint64_t{160} << 30;  // twice as much is below what one key may protect
  if (options.direct_threshold_bytes == 0 || options.direct_threshold_bytes > max_threshold_bytes) {
    return Status(StatusCode::invalid, fmt::format("direct_threshold_bytes is {}; 1 to {} are possible",
                                                   options.direct_threshold_bytes, max_threshold_bytes));
  }
  if (options.max_handshakes_per_s == 0) return Status(StatusCode::invalid, "max_handshakes_per_s is 0: nobody could connect");
  if (options.renew_keys_after_bytes == 0 || options.renew_keys_after_bytes > max_renew_bytes) {
    return Status(StatusCode::invalid, fmt::format("renew_keys_after_bytes is {}; 1 to {} are possible",
                                                   options.renew_keys_after_bytes, max_renew_bytes));
  }
  if (options.max_unidentified == 0) return Status(StatusCode::invalid, "max_unidentified is 0: nobody could connect");
  if (options.zero_copy == ZeroCopy::always && options.io == Io::epoll) {
    return Status(StatusCode::unsupported, "zero-copy sends need io_uring: choose Io::uring, or ZeroCopy::automatic");
  }
  return {};
}

Result<TcpTransport::Steering> find_steering(const Options& options) {
  if (options.kernel_controller == KernelController::off) return TcpTransport::Steering{};
  auto maps = KernelMaps::open(options.kernel_controller_directory);
  if (maps.ok()) return TcpTransport::Steering{.maps = std::move(*maps), .why_not = {}};
  if (options.kernel_controller == KernelController::require) return maps.status();
  return TcpTransport::Steering{.maps = {}, .why_not = std::string(maps.status().message())};
}

}  // namespace

Result<std::unique_ptr<Transport>> make_transport(Options options) {
  if (Status status = check(options); !status.ok()) return status;
  auto steering = find_steering(options);
  if (!steering.ok()) return steering.status();
  auto io = options.io == Io::epoll ? make_epoll_io() : make_uring_io(options.zero_copy != ZeroCopy::off);
  if (!io.ok() && options.io == Io::prefer_uring) {
    if (options.log)
      options.log({LogLevel::warning, "tcp", fmt::format("epoll instead of io_uring: {}", io.status().message())});
    io = make_epoll_io();
  }
  if (!io.ok()) return io.status();
  auto inbox = Inbox::create();
  if (!inbox.ok()) return inbox.status();
  return std::unique_ptr<Transport>(
      std::make_unique<TcpTransport>(std::move(options), std::move(*io), std::move(*inbox), std::move(*steering)));
}

}  // namespace haul::tcp
