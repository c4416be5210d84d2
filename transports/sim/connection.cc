// The life of a simulated connection: handshake, acknowledgements, timers, the close.
#include "connection.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/bytes.h"

namespace haul::sim {
namespace {

constexpr uint8_t endpoint_version = 1;
constexpr size_t max_endpoint_bytes = 512;
constexpr Duration first_handshake_wait = std::chrono::milliseconds(50);
constexpr Duration longest_handshake_wait = std::chrono::seconds(1);
constexpr int probes_until_dead = 4;

}  // namespace

Connection::Connection(World::State& world, Outlet& outlet, ConnectionId id, NodeIndex node, const TransportOptions& options)
    : world_(world), outlet_(outlet), id_(id), node_(node), options_(options), sender_(mtu_bytes_, options.dead_after) {
  world_.random.fill(token_);
}

std::vector<std::byte> Connection::endpoint() const {
  std::vector<std::byte> bytes(max_endpoint_bytes);
  base::ByteWriter writer(bytes);
  writer.put(endpoint_version);
  writer.put_text(world_.nodes[node_].name);
  writer.put(id_);
  writer.put_bytes(token_);
  bytes.resize(writer.size());
  return bytes;
}

Status Connection::join(std::span<const std::byte> peer_endpoint) {
  if (state_ != State::opened) return Status(StatusCode::invalid, "the connection was joined before: open another one");
  if (!peer_endpoint.empty()) return join_by_endpoint(peer_endpoint);
  if (connect_.address) return join_by_address();
  start_handshake(State::waiting, connect_.timeout);
  return Status();
}

Status Connection::join_by_address() {
  const Address& address = *connect_.address;
  const auto node = address.is_loopback() ? std::optional(node_) : world_.find_node(address.host);
  if (!node) {
    finish(Status(StatusCode::unavailable, fmt::format("no simulated node is named {}: check the address", address.host)));
    return Status();
  }
  peer_node_ = *node;
  start_handshake(State::connecting, connect_.timeout);
  return Status();
}

Status Connection::join_by_endpoint(std::span<const std::byte> peer_endpoint) {
  base::ByteReader reader(peer_endpoint);
  const auto version = reader.get<uint8_t>();
  const auto node = world_.find_node(reader.get_text());
  const auto peer = reader.get<uint64_t>();
  const auto token = reader.get_bytes(peer_token_.size());
  if (!reader.finished() || version != endpoint_version || !node || peer == 0)
    return Status(StatusCode::invalid, "the peer's endpoint is not one of the simulated transport: pass its bytes unchanged");
  peer_node_ = *node;
  peer_ = peer;
  std::copy(token.begin(), token.end(), peer_token_.begin());
  start_handshake(State::connecting, connect_.timeout);
  return Status();
}

void Connection::accept(const Packet& open) {
  if (state_ != State::opened) return send_open_reply();
  accepted_ = true;
  announced_ = false;
  peer_node_ = open.from;
  peer_ = open.source;
  receiver_.on_handshake(open);
  start_handshake(State::answering, options_.dead_after);
}

void Connection::start_handshake(State state, Duration timeout) {
  state_ = state;
  connect_deadline_ = now() + timeout;
  handshake_wait_ = first_handshake_wait;
  send_handshake();
}

void Connection::send_handshake() {
  handshake_again_ = now() + handshake_wait_;
  handshake_wait_ = std::min(longest_handshake_wait, 2 * handshake_wait_);
  if (state_ == State::answering) return send_open_reply();
  if (state_ != State::connecting) return;
  Packet open = make_packet(PacketKind::open);
  if (peer_ == 0) open.port = connect_.address->port;
  open.token = peer_token_;
  outlet_.transmit(std::move(open));
}

void Connection::send_open_reply() {
  Packet reply = make_packet(PacketKind::open_reply);
  reply.ack = receiver_.ack();
  outlet_.transmit(std::move(reply));
}

Packet Connection::make_packet(PacketKind kind) const {
  Packet packet;
  packet.kind = kind;
  packet.from = node_;
  packet.to = peer_node_;
  packet.source = id_;
  packet.destination = peer_;
  return packet;
}

void Connection::handle(const Packet& packet) {
  switch (packet.kind) {
    case PacketKind::open: return handle_open(packet);
    case PacketKind::open_reply: return handle_open_reply(packet);
    case PacketKind::reset: return handle_reset(packet);
    case PacketKind::data:
    case PacketKind::ack: return handle_stream(packet);
  }
}

void Connection::handle_open(const Packet& packet) {
  const bool is_other = peer_ != 0 && peer_ != packet.source;
  if (packet.token != token_ || is_other) return world_.reply_reset(packet);
  if (state_ == State::opened) return;  // not joined yet: the peer asks again
  receiver_.on_handshake(packet);
  if (state_ == State::waiting) {
    peer_node_ = packet.from;
    peer_ = packet.source;
    return start_handshake(State::answering, connect_.timeout);
  }
  send_open_reply();
}

void Connection::handle_open_reply(const Packet& packet) {
  if (state_ == State::connecting && peer_ == 0) peer_ = packet.source;
  if (peer_ != packet.source) return world_.reply_reset(packet);
  if (!established()) {
    sender_.on_rtt(now() - packet.ack.newest_sent_at);
    receiver_.on_handshake(packet);
    become_ready();
  }
  ack_due_ = true;
}

void Connection::handle_reset(const Packet& packet) {
  if (packet.source != peer_) return;
  if (established()) {
    if (finish_sent_) return finish(Status());
    return finish(Status(StatusCode::peer_lost, fmt::format("{} ended the connection", world_.nodes[peer_node_].name)));
  }
  const std::string target = connect_.address ? connect_.address->to_string() : world_.nodes[peer_node_].name;
  finish(
      Status(StatusCode::unavailable, fmt::format("nobody answers at {}: start the listener, or check the address", target)));
}

void Connection::handle_stream(const Packet& packet) {
  if (packet.source != peer_) return world_.reply_reset(packet);
  if (state_ == State::connecting || state_ == State::answering) become_ready();
  last_heard_ = now();
  bytes_received_ += packet.payload.size();
  if (packet.kind == PacketKind::ack) {
    if (packet.ack.newest_sent_at > newest_echo_) {
      newest_echo_ = packet.ack.newest_sent_at;
      sender_.on_rtt(now() - newest_echo_);
    }
    for (const Frame& frame : sender_.on_ack(packet.ack, now())) on_acknowledged(frame);
    return;
  }
  ack_due_ = true;
  if (receiver_.accept(packet)) handle_frame(packet);
  if (peer_finished_ && receiver_.complete_below(*peer_finished_)) {
    send_ack();
    finish(Status());
  }
}

void Connection::become_ready() {
  state_ = State::ready;
  last_heard_ = now();
  mtu_bytes_ = world_.mtu(node_, peer_node_);
  sender_.set_mtu(mtu_bytes_);
  announced_ = true;
  Event event;
  event.kind = accepted_ ? Event::Kind::accepted : Event::Kind::connected;
  event.connection = id_;
  outlet_.emit(event, {});
}

void Connection::send_ack() {
  ack_due_ = false;
  Packet packet = make_packet(PacketKind::ack);
  packet.ack = receiver_.ack();
  outlet_.transmit(std::move(packet));
}

void Connection::send_reset() {
  if (peer_ != 0) outlet_.transmit(make_packet(PacketKind::reset));
}

void Connection::close(CloseMode mode) {
  if (state_ == State::closed) return;
  if (mode == CloseMode::drain && established()) {
    if (state_ == State::ready) drain_deadline_ = now() + options_.dead_after;
    state_ = State::draining;
    return pump();
  }
  send_reset();
  finish(Status());
}

void Connection::finish(Status status) {
  state_ = State::closed;
  closed_status_ = std::move(status);
  while (!operations_.empty())
    complete(operations_.begin()->second, Status(StatusCode::peer_lost, "the connection closed before the operation was over"));
  control_.clear();
  jobs_.clear();
  messages_.clear();
  grants_.clear();
  incoming_.clear();
  serving_.clear();
  arriving_.clear();
}

void Connection::work() {
  if (state_ == State::closed) return;
  if (ack_due_) send_ack();
  on_timers();
  pump();
  if (finish_sent_ && sender_.idle() && state_ != State::closed) finish(Status());
}

void Connection::on_timers() {
  const std::string& peer_name = world_.nodes[peer_node_].name;
  if (state_ == State::waiting || state_ == State::connecting || state_ == State::answering) {
    if (now() >= connect_deadline_) {
      send_reset();
      return finish(Status(StatusCode::unavailable, "the connection was not established in time: check the peer and the path"));
    }
    if (now() >= handshake_again_) send_handshake();
    return;
  }
  if (!established()) return;
  sender_.on_timer(now());
  const bool drain_stalled = state_ == State::draining && now() >= drain_deadline_;
  if (sender_.peer_silent(now()) || drain_stalled) {
    send_reset();
    return finish(Status(StatusCode::peer_lost, fmt::format("{} did not answer for {} ms", peer_name,
                                                            options_.dead_after / std::chrono::milliseconds(1))));
  }
  const bool probe = !operations_.empty() && sender_.idle() && now() >= last_heard_ + options_.dead_after / probes_until_dead;
  if (probe) send_segment(sender_.add(Frame{}));
}

std::optional<TimePoint> Connection::deadline() const {
  switch (state_) {
    case State::opened: return std::nullopt;
    case State::closed: return now();
    case State::waiting: return connect_deadline_;
    case State::connecting:
    case State::answering: return std::min(connect_deadline_, handshake_again_);
    case State::ready:
    case State::draining: break;
  }
  if (would_be_writable()) return now();
  std::optional<TimePoint> earliest = sender_.deadline();
  const auto consider = [&](TimePoint time) { earliest = std::min(time, earliest.value_or(time)); };
  if (state_ == State::draining) consider(drain_deadline_);
  if (!operations_.empty() && sender_.idle()) consider(last_heard_ + options_.dead_after / probes_until_dead);
  if (sender_.paced_until() > now()) consider(sender_.paced_until());
  return earliest;
}

std::string Connection::describe() const {
  if (peer_ == 0) return fmt::format("sim {}", world_.nodes[node_].name);
  return fmt::format("sim {} > {}, mtu {}", world_.nodes[node_].name, world_.nodes[peer_node_].name, mtu_bytes_);
}

}  // namespace haul::sim
