// Peers come: connecting, accepting, introductions.
#include <fmt/format.h>

#include <algorithm>

#include "engine/core.h"
#include "engine/policy.h"

namespace haul::detail {

using engine::PeerPhase;
using engine::Tenant;

namespace {

constexpr const char* all_peers_are_there = "this engine has all the peers it may have: try later";

}  // namespace

Status EngineCore::check_security(const Address& address, std::string_view what) const {
  if (security_ || options_.security == SecurityPolicy::insecure || address.is_loopback()) return {};
  return Status(
      StatusCode::refused,
      fmt::format(
          "{} {} is not a loopback address: without credentials peers cannot be authenticated. Use 127.0.0.1 or "
          "[::1], give credentials (command: `haul keygen`, --credentials), or choose the insecure policy (--insecure) if "
          "you accept that anyone who reaches the port may connect",
          what, address.to_string()));
}

Result<Address> EngineCore::listen(const Address& address) {
  const Address named{address.host.empty() ? "0.0.0.0" : address.host, address.port};
  if (Status status = check_security(named, "listening on"); !status.ok()) return status;
  if (accepted_.first_lane.empty()) {
    return Status(StatusCode::unsupported,
                  "none of this engine's transports can listen, or EngineOptions::accept_policy forbids those that can");
  }
  Transport& transport = *transports_[accepted_.first_lane.front()];
  auto bound = transport.listen(address);
  if (bound) listening_.push_back(fmt::format("{} {}", transport.capabilities().name, bound->to_string()));
  return bound;
}

PeerEntry& EngineCore::add_peer() {
  auto peer = std::make_unique<PeerEntry>();
  peer->id = next_peer_++;
  peer->progress_at = now_;
  peer->budget.emplace(congestion::Budget::Options{.rate_bytes_s = {}, .outer = &link_budget_}, now_);
  peer->place = link_turns_.join();
  PeerEntry& entry = *peer;
  peers_.emplace(entry.id, std::move(peer));
  if (!check_pending_) {
    check_pending_ = true;
    set_timer(now_ + options_.keepalive / 4, Timer{TimerKind::check});
  }
  return entry;
}

Result<Peer> EngineCore::connect(const Address& address, PeerOptions options) {
  now_ = clock_->now();
  if (Status status = check_security(address, "connecting to"); !status.ok()) return status;
  if (address.host.empty() || address.port == 0) {
    return Status(StatusCode::invalid, fmt::format("address \"{}\" names no host and port to connect to", address.to_string()));
  }
  if (peers_.size() >= options_.max_peers) {
    return Status(StatusCode::exhausted,
                  fmt::format("this engine already has {} peers (EngineOptions::max_peers)", peers_.size()));
  }
  if (options.lanes > options_.max_lanes_per_peer) {
    return Status(StatusCode::invalid,
                  fmt::format("{} lanes were asked for, {} are allowed (EngineOptions::max_lanes_per_peer)", options.lanes,
                              options_.max_lanes_per_peer));
  }
  if (options.congestion) {
    if (Status status = check_congestion(*options.congestion, "PeerOptions::congestion"); !status.ok()) return status;
  }
  std::vector<std::string> choices;
  auto found = engine::candidates(options.policy, transports_, choices);
  if (found.first_lane.empty()) {
    return Status(StatusCode::refused,
                  fmt::format("no transport may be used for {}: {}", address.to_string(), fmt::join(choices, "; ")));
  }
  for (const std::string& choice : choices) log(LogLevel::warning, fmt::format("{}: {}", address.to_string(), choice));
  Tenant* tenant = nullptr;
  if (options.tenant && !options.tenant->empty()) {
    auto joined = tenants_.join(now_, *options.tenant, nullptr);
    if (!joined) return joined.status();
    tenant = *joined;
  }
  PeerEntry& peer = add_peer();
  if (tenant != nullptr) enter_tenant(peer, *tenant);
  peer.initiator = true;
  peer.address = address;
  peer.options = std::move(options);
  if (peer.options.rate_limit_bytes_s) limit_peer_rate(peer.id, peer.options.rate_limit_bytes_s);
  peer.candidates = std::move(found.first_lane);
  peer.for_data = std::move(found.for_data);
  peer.choices = std::move(choices);
  peer.connect_deadline = now_ + peer.options.connect_timeout;
  set_timer(peer.connect_deadline, Timer{TimerKind::connecting, peer.id});
  try_next_transport(peer);
  return Peer(this, peer.id);
}

// Precondition: candidates are left.
void EngineCore::try_next_transport(PeerEntry& peer) {
  Status why(StatusCode::unavailable, "no transport is left to try");
  while (!peer.candidates.empty()) {
    const uint32_t index = peer.candidates.front();
    peer.candidates.erase(peer.candidates.begin());
    Transport& transport = *transports_[index];
    ConnectOptions options;
    options.address = peer.address;
    options.timeout = peer.connect_deadline - now_;
    options.protection = peer.options.protection;
    auto endpoint = transport.open(options, now_);
    if (endpoint) {
      why = transport.join(endpoint->connection, {}, now_);
      if (why.ok()) {
        peer.phase = PeerPhase::connecting;
        add_lane(peer, 0, index, endpoint->connection);
        return;
      }
      transport.close(endpoint->connection, CloseMode::abort, now_);
    } else {
      why = endpoint.status();
    }
    peer.choices.push_back(fmt::format("{}: {}", transport.capabilities().name, why.message()));
    log(LogLevel::warning, fmt::format("{}: {}", peer.address.to_string(), peer.choices.back()));
  }
  lose(peer, why);
}

void EngineCore::on_accepted(uint32_t transport, const Event& event) {
  std::string fingerprint = transports_[transport]->identity(event.connection).fingerprint;
  const size_t of_identity = fingerprint.empty() ? 0 : connections_of(fingerprint);
  links_[transport].emplace(event.connection,
                            Link{.deadline = now_ + options_.handshake_timeout, .fingerprint = std::move(fingerprint)});
  ++unidentified_;
  if (shutting_down_) return transports_[transport]->close(event.connection, CloseMode::abort, now_);
  if (unidentified_ > options_.max_unidentified || peers_.size() >= options_.max_peers) {
    return refuse(transport, event.connection, StatusCode::exhausted, all_peers_are_there);
  }
  if (of_identity >= options_.max_peers_per_identity) {
    return refuse(transport, event.connection, StatusCode::exhausted,
                  fmt::format("this identity already has the {} connections that this engine grants to one "
                              "(EngineOptions::max_peers_per_identity)",
                              of_identity));
  }
  set_timer(now_ + options_.handshake_timeout, Timer{TimerKind::introduction, transport, event.connection});
}

size_t EngineCore::connections_of(std::string_view fingerprint) const {
  const auto of_peer = [&](const auto& entry) { return entry.second->identity.fingerprint == fingerprint; };
  auto count = std::count_if(peers_.begin(), peers_.end(), of_peer);
  for (const Links& links : links_) {
    count += std::count_if(links.begin(), links.end(),
                           [&](const auto& entry) { return !entry.second.peer && entry.second.fingerprint == fingerprint; });
  }
  return static_cast<size_t>(count);
}

// The connection stays known until `closed`.
void EngineCore::refuse(uint32_t transport, ConnectionId connection, StatusCode code, const std::string& reason) {
  links_[transport].at(connection).refused = true;
  log(LogLevel::warning, fmt::format("refused {}: {}", transports_[transport]->describe(connection), reason));
  transports_[transport]->send(connection, engine::encode(engine::Goodbye{code, reason}), now_);
  transports_[transport]->close(connection, CloseMode::drain, now_);
}

void EngineCore::on_unidentified_message(uint32_t transport, ConnectionId connection, std::span<const std::byte> payload) {
  if (links_[transport].at(connection).refused) return;
  auto message = engine::decode(payload);
  if (!message) return refuse(transport, connection, StatusCode::protocol, std::string(message.status().message()));
  auto* hello = std::get_if<engine::Hello>(&*message);
  if (hello == nullptr) return refuse(transport, connection, StatusCode::protocol, "the first message is not a hello");
  // Others may have introduced themselves since this one was accepted.
  if (peers_.size() >= options_.max_peers) return refuse(transport, connection, StatusCode::exhausted, all_peers_are_there);
  links_[transport].erase(connection);
  --unidentified_;
  PeerEntry& peer = add_peer();
  add_lane(peer, 0, transport, connection);
  on_connected(peer, peer.control());
  on_hello(peer, std::move(*hello));
}

engine::Hello EngineCore::our_hello(const PeerEntry& peer) const {
  engine::Hello hello;
  if (peer.initiator && peer.options.lanes != 0) hello.features &= ~engine::feature_lanes_wanted;
  hello.incarnation = incarnation_;
  hello.max_message_bytes = options_.max_message_bytes;
  hello.max_lanes = options_.max_lanes_per_peer;
  hello.integrity = options_.integrity == Integrity::crc32c;
  hello.control_only = peer.control_only;
  if (!peer.initiator && accepted_.for_data.size() < transports_.size()) hello.payload_over = accepted_names();
  hello.name = options_.name;
  hello.library_version = version();
  return hello;
}

void EngineCore::greet(PeerEntry& peer) {
  peer.phase = PeerPhase::greeting;
  const uint32_t first = peer.control().transport_index;
  peer.control_only = std::find(peer.for_data.begin(), peer.for_data.end(), first) == peer.for_data.end();
  send_control(peer, our_hello(peer));
}

void EngineCore::on_hello(PeerEntry& peer, engine::Hello hello) {
  if (hello.version_min > engine::protocol_version_max || hello.version_max < engine::protocol_version_min) {
    Status why(StatusCode::protocol,
               fmt::format("the peer speaks protocol versions {} to {}, this side ({}) speaks {} to {}: upgrade the older one",
                           hello.version_min, hello.version_max, version(), engine::protocol_version_min,
                           engine::protocol_version_max));
    send_control(peer, engine::Goodbye{StatusCode::protocol, std::string(why.message())});
    return lose(peer, why, CloseMode::drain);
  }
  peer.theirs = std::move(hello);
  if (!peer.initiator) {
    peer.control_only = peer.theirs.control_only || !accepts_payload_over(peer.control().transport_index);
    send_control(peer, our_hello(peer));
  }
  become_ready(peer);
}

void EngineCore::become_ready(PeerEntry& peer) {
  peer.progress_at = now_;
  if (peer.initiator && !decide_for_data(peer)) return;
  peer.choices.push_back(fmt::format("{}: {}", transport_of(peer.control()).capabilities().name,
                                     peer.control_only ? "carries the control messages, no payload" : "chosen"));
  for (const uint32_t left : peer.candidates) {
    peer.choices.push_back(fmt::format("{}: not tried, an earlier choice worked", transports_[left]->capabilities().name));
  }
  peer.candidates.clear();
  if (may_carry_payload(peer, peer.control())) enter_path(peer, peer.control());
  refresh_data_lanes(peer);
  peer.phase = PeerPhase::widening;
  if (!peer.initiator) return admit_payload(peer);
  widen(peer);
  settle_lanes(peer, Status(StatusCode::unavailable, "no lane could be opened"));
}

bool EngineCore::accepts_payload_over(uint32_t transport) const {
  return std::find(accepted_.for_data.begin(), accepted_.for_data.end(), transport) != accepted_.for_data.end();
}

std::string EngineCore::accepted_names() const {
  std::vector<std::string_view> names;
  for (const uint32_t index : accepted_.for_data) names.push_back(transports_[index]->capabilities().name);
  return fmt::format("{}", fmt::join(names, ", "));
}

// Who came is ready at once, unless payload may not go over its first lane: then once another lane is.
void EngineCore::admit_payload(PeerEntry& peer) {
  const bool by_us = !accepts_payload_over(peer.control().transport_index);
  // The peer bounds what only its own policy asks for; this bounds peers that don't.
  const Duration limit =
      peer.control_only && !by_us ? std::max(options_.handshake_timeout, options_.peer_timeout) : options_.handshake_timeout;
  if (peer.control_only || !options_.accept_policy.prefer.empty())
    set_timer(now_ + limit, Timer{TimerKind::accepting, peer.id});
  if (!peer.control_only) announce_ready(peer);
}

// It had its time to open the lanes that policy asks for.
void EngineCore::check_accepted(PeerEntry& peer) {
  if (!peer.usable()) return;
  if (peer.phase == PeerPhase::widening) return send_away(peer);
  const auto& preferred = options_.accept_policy.prefer;
  const bool met = std::any_of(peer.lanes.begin(), peer.lanes.end(), [&](const auto& lane) {
    return lane->ready && engine::contains(preferred, lane->transport->capabilities().name);
  });
  if (met || preferred.empty() || peer.data_lanes.empty()) return;
  peer.choices.push_back(fmt::format("{}: preferred, but the peer opened no lane over it; payload goes over {}",
                                     fmt::join(preferred, ", "), peer.data_lanes.front()->transport->capabilities().name));
  log(LogLevel::warning, fmt::format("peer {}: {}", peer.id, peer.choices.back()));
}

void EngineCore::send_away(PeerEntry& peer) {
  const std::string_view first = transport_of(peer.control()).capabilities().name;
  std::string reason =
      accepts_payload_over(peer.control().transport_index)
          ? fmt::format("{} carries no payload by the peer's own policy, and none of its other lanes was ready in time", first)
          : fmt::format(
                "this engine accepts payload over {0} only (EngineOptions::accept_policy; command: --transport {0}), and "
                "no lane over it was ready in time",
                accepted_names());
  if (!peer.last_lane_failure.ok()) reason += fmt::format(": {}", peer.last_lane_failure.message());
  send_control(peer, engine::Goodbye{StatusCode::refused, reason});
  lose(peer, Status(StatusCode::refused, reason), CloseMode::drain);
}

void EngineCore::announce_ready(PeerEntry& peer) {
  if (peer.phase != PeerPhase::widening) return;
  peer.phase = PeerPhase::ready;
  peer.announced = true;
  tell_stand_in(peer);
  // Those that failed while others were still being decided.
  if (peer.initiator && count_lanes(peer, lane_transport(peer)) < wanted_lanes(peer)) reopen_later(peer);
  log(LogLevel::info, fmt::format("peer {} ({}) is ready: {}", peer.id, peer.theirs.name, lanes_line(peer)));
  // Through the queue, so that the application may do anything in it, and hears of the peer before it hears from it.
  const Peer handle(this, peer.id);
  if (peer.initiator) {
    if (peer.options.on_ready)
      deferred_.emplace_back([handle, call = std::move(peer.options.on_ready)] { call(handle, Status()); });
    peer.options.on_ready = nullptr;
  } else if (options_.on_peer) {
    in_callback_ = true;
    options_.on_peer(handle);
    in_callback_ = false;
  }
  if (!peer.early.empty()) deferred_.emplace_back([this, id = peer.id] { deliver_early(id); });
}

}  // namespace haul::detail
