// How connections come to be: listening, dialing, lanes by token. And the making of the transport.
#include <fmt/format.h>
#include <sys/epoll.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "quic/quic_transport.h"

namespace haul::quic {

namespace {

net::Endpoint wildcard(int family, uint16_t port) {
  net::Endpoint endpoint;
  endpoint.storage.ss_family = static_cast<sa_family_t>(family);
  endpoint.bytes = family == AF_INET6 ? sizeof(sockaddr_in6) : sizeof(sockaddr_in);
  endpoint.set_port(port);
  return endpoint;
}

Status no_credentials() {
  return Status(StatusCode::refused, "quic is always authenticated: give the engine credentials (`haul keygen`)");
}

}  // namespace

Result<Outlet*> QuicTransport::open_outlet(const net::Endpoint& endpoint, bool both_families, bool listens) {
  auto socket = context_.surroundings.open_socket(endpoint, both_families, options_.socket_buffer_bytes);
  if (!socket.ok()) return socket.status();
  epoll_event event{.events = EPOLLIN, .data = {}};
  const int fd = (*socket)->fd();
  if (fd >= 0 && epoll_ctl(watch_.get(), EPOLL_CTL_ADD, fd, &event) != 0) {
    return Status::from_errno(StatusCode::exhausted, errno, "a UDP socket can't be watched");
  }
  outlets_.push_back(std::make_unique<Outlet>(std::move(*socket), listens));
  return outlets_.back().get();
}

Result<Outlet*> QuicTransport::dialing_outlet(int family) {
  Outlet*& outlet = family == AF_INET6 ? dials_v6_ : dials_v4_;
  if (outlet == nullptr) {
    auto made = open_outlet(wildcard(family, 0), false, false);
    if (!made.ok()) return made.status();
    outlet = *made;
  }
  return outlet;
}

Result<Address> QuicTransport::listen(const Address& address) {
  if (!context_.security) return no_credentials();
  std::vector<net::Endpoint> endpoints;
  const bool everywhere = address.host.empty();
  if (everywhere) {
    endpoints.push_back(wildcard(AF_INET6, address.port));
  } else {
    auto resolved = net::resolve_now(address);
    if (!resolved.ok()) return resolved.status();
    endpoints = std::move(*resolved);
  }
  const bool listens_first =
      std::none_of(outlets_.begin(), outlets_.end(), [](const auto& outlet) { return outlet->listens(); });
  Result<Outlet*> bound = open_outlet(endpoints.front(), everywhere, true);
  if (!bound.ok() && everywhere) bound = open_outlet(wildcard(AF_INET, address.port), false, true);  // IPv6 is switched off
  if (!bound.ok()) return bound.status();
  const uint16_t port = (*bound)->local().port();
  if (options_.resets_across_restarts && listens_first) {
    secret_ = context_.security->derive_secret(fmt::format("quic stateless resets at port {}", port));
  }
  // A name with several addresses, such as localhost: the others too, where they exist.
  for (size_t i = 1; i < endpoints.size(); ++i) {
    endpoints[i].set_port(port);
    if (auto other = open_outlet(endpoints[i], false, true); !other.ok()) continue;
  }
  return Address{address.host, port};
}

Result<LocalEndpoint> QuicTransport::open(const ConnectOptions& options, TimePoint now) {
  context_.now = std::max(context_.now, now);
  if (!context_.security) return no_credentials();
  if (!options.address) return open_passive(options);
  const ConnectionId id = ++last_id_;
  connections_.push_back(std::make_unique<Connection>(context_, host(), secret_, id));
  by_id_[id] = connections_.back().get();
  opened_[id] = Opened{.options = options};
  return LocalEndpoint{id, {}};
}

Result<LocalEndpoint> QuicTransport::open_passive(const ConnectOptions& options) {
  const Connection* beside = find(options.beside);
  if (beside == nullptr || beside->outlet() == nullptr) {
    return Status(StatusCode::invalid, "a lane without an address needs an established connection to go beside");
  }
  Opened opened{.options = options, .passive = true};
  context_.surroundings.random(opened.token);
  const ConnectionId id = ++last_id_;
  LocalEndpoint endpoint{id, std::vector<std::byte>(wire::LaneEndpoint::bytes)};
  // The same port takes the lane: sockets are not for one connection only.
  wire::encode({.token = opened.token, .port = beside->outlet()->local().port()},
               std::span(endpoint.bytes).first<wire::LaneEndpoint::bytes>());
  opened_[id] = std::move(opened);
  return endpoint;
}

Status QuicTransport::join(ConnectionId connection, std::span<const std::byte> peer_endpoint, TimePoint now) {
  context_.now = std::max(context_.now, now);
  work_ = true;
  const auto opened = opened_.find(connection);
  if (opened == opened_.end() || opened->second.joined) {
    return Status(StatusCode::invalid, "there is no such opened end to join");
  }
  if (opened->second.passive) return join_passive(connection, opened->second);
  Connection* found = find(connection);
  if (found == nullptr) return Status(StatusCode::invalid, "there is no such opened end to join");
  return join_active(*found, opened->second, peer_endpoint);
}

Status QuicTransport::join_passive(ConnectionId id, Opened& opened) {
  opened.joined = true;
  opened.deadline = context_.now + opened.options.timeout;
  if (opened.arrival == nullptr) return {};
  Connection* arrival = opened.arrival;
  opened_.erase(id);
  by_id_[id] = arrival;
  arrival->settle(id, Event::Kind::connected);
  return {};
}

Status QuicTransport::join_active(Connection& connection, Opened& opened, std::span<const std::byte> peer_endpoint) {
  const Address& address = *opened.options.address;
  if (peer_endpoint.empty()) {
    if (address.host.empty() || address.port == 0) {
      return Status(StatusCode::invalid, "an address to connect to needs a host and a port");
    }
    opened.joined = true;
    connection.begin_resolving(address.to_string(), opened.options.timeout);
    resolver_.resolve(connection.id(), address);
    return {};
  }
  const auto lane = wire::decode_lane_endpoint(peer_endpoint);
  if (!lane.ok()) return lane.status();
  opened.peer_token = lane->token;
  opened.lane = true;
  const Connection* beside = find(opened.options.beside);
  const bool has_path = beside != nullptr && beside->outlet() != nullptr;
  if (!has_path && address.host.empty()) {
    return Status(StatusCode::invalid, "a lane needs the peer's address, or an established connection to go beside");
  }
  opened.joined = true;
  const Address target{has_path ? beside->remote().address().host : address.host, lane->port};
  connection.begin_resolving(target.to_string(), opened.options.timeout);
  if (has_path) {
    net::Endpoint remote = beside->remote();
    remote.set_port(lane->port);
    dial(connection, {remote});
  } else {
    resolver_.resolve(connection.id(), target);
  }
  return {};
}

void QuicTransport::take_resolutions() {
  for (net::Resolution& resolution : resolutions_->take()) {
    resolver_.finished();
    Connection* connection = find(resolution.connection);
    if (connection == nullptr || connection->state() != Connection::State::resolving) continue;
    if (resolution.status.ok()) {
      dial(*connection, resolution.endpoints);
    } else {
      connection->fail(std::move(resolution.status));
    }
  }
}

void QuicTransport::dial(Connection& connection, const std::vector<net::Endpoint>& endpoints) {
  const Opened opened = std::move(opened_[connection.id()]);
  opened_.erase(connection.id());
  std::vector<net::Endpoint> reachable;
  std::vector<Outlet*> outlets;
  Status failure;
  for (const net::Endpoint& endpoint : endpoints) {
    auto outlet = dialing_outlet(endpoint.family());
    if (!outlet.ok()) {
      failure = outlet.status();
      continue;
    }
    reachable.push_back(endpoint);
    outlets.push_back(*outlet);
  }
  if (reachable.empty()) return connection.fail(std::move(failure));
  // On a lane the engine compares the peer's identity with the one that it has.
  const std::string host = opened.lane ? std::string() : opened.options.address->host;
  connection.dial(std::move(reachable), std::move(outlets), {.host = host, .token = opened.peer_token, .lane = opened.lane});
}

void QuicTransport::end_opened(ConnectionId id, Status status) {
  const auto found = opened_.find(id);
  if (found == opened_.end()) return;
  if (found->second.arrival != nullptr) found->second.arrival->close(CloseMode::abort);
  const bool passive = found->second.passive;
  opened_.erase(found);
  if (passive) context_.emit(Event::Kind::closed, id).status = std::move(status);
}

void QuicTransport::run_opened() {
  for (auto it = opened_.begin(); it != opened_.end();) {
    const ConnectionId id = (it++)->first;
    const Opened& opened = opened_[id];
    if (opened.deadline && *opened.deadline <= context_.now) {
      end_opened(id, Status(StatusCode::timed_out, "the peer did not connect its end of the lane in time"));
    }
  }
}

namespace {

Status check(const Options& options) {
  constexpr uint32_t least_payload = 1200;  // RFC 9000 section 14
  constexpr uint32_t most_payload = 65000;
  const bool sized = options.udp_payload_bytes == 0 ||
                     (options.udp_payload_bytes >= least_payload && options.udp_payload_bytes <= most_payload);
  if (!sized) {
    return Status(StatusCode::invalid, fmt::format("udp_payload_bytes is {}; 0, or {} to {} are possible",
                                                   options.udp_payload_bytes, least_payload, most_payload));
  }
  if (options.max_unidentified == 0) return Status(StatusCode::invalid, "max_unidentified is 0: nobody could connect");
  if (options.renew_keys_bytes == 0 || options.renew_keys_after <= Duration::zero()) {
    return Status(StatusCode::invalid, "renew_keys_bytes and renew_keys_after are 0: keys would be renewed all the time");
  }
  if (options.dead_after <= Duration::zero()) return Status(StatusCode::invalid, "dead_after is no time");
  if (options.make_controller) return {};
  return congestion::make(options.controller, {}).status();
}

}  // namespace

Result<std::unique_ptr<Transport>> make_transport(Options options) {
  return make_transport(std::move(options), Surroundings());
}

Result<std::unique_ptr<Transport>> make_transport(Options options, Surroundings surroundings) {
  if (Status status = check(options); !status.ok()) return status;
  base::UniqueFd watch(epoll_create1(EPOLL_CLOEXEC));
  base::UniqueFd event(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!watch || !event) return Status::from_errno(StatusCode::exhausted, errno, "no file descriptor is left (`ulimit -n`)");
  return std::unique_ptr<Transport>(std::make_unique<QuicTransport>(
      std::move(options), std::move(surroundings), std::move(watch), std::make_shared<Resolutions>(std::move(event))));
}

}  // namespace haul::quic
