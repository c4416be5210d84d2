// Messages: the engine's own and the application's, in order on the control lane.
#include <fmt/format.h>

#include "engine/core.h"

namespace haul::detail {

using engine::PeerPhase;

namespace {

// The engine's own messages may exceed the application's share of the queue, but not without bound: a peer that makes us answer
// and does not read is dropped.
constexpr size_t max_control_backlog = 1U << 18;

// Of the part of a message that is the application's.
size_t application_bytes(const engine::Control& message) {
  if (const auto* user = std::get_if<engine::UserMessage>(&message)) return user->payload.size();
  if (const auto* notify = std::get_if<engine::Notify>(&message)) return notify->payload.size();
  return 0;
}

}  // namespace

void EngineCore::send_control(PeerEntry& peer, const engine::Control& message) {
  LaneState& lane = peer.control();
  const bool moving = peer.move != engine::Move::none;
  auto bytes = engine::encode(message);
  if (peer.control_queue.empty() && !moving && lane.ready && lane.transport->send(lane.connection, bytes, now_)) return;
  if (!moving && (lane.phase == engine::LanePhase::closed || lane.phase == engine::LanePhase::closing)) return;
  peer.control_queue.push_back(std::move(bytes));
  if (peer.control_queue.size() == max_control_backlog) {
    const uint64_t id = peer.id;
    deferred_.emplace_back([this, id] {
      if (PeerEntry* stuck = find_peer(id)) lose(*stuck, Status(StatusCode::exhausted, "the peer does not read its messages"));
    });
  }
}

void EngineCore::flush_control(PeerEntry& peer) {
  LaneState& lane = peer.control();
  const bool moving = peer.move != engine::Move::none;
  while (lane.ready && !peer.control_queue.empty() && !(moving && peer.before_move == 0)) {
    if (!lane.transport->send(lane.connection, peer.control_queue.front(), now_)) return;
    peer.control_queue.pop_front();
    if (moving) --peer.before_move;
  }
  leave_if_idle(peer);
}

Status EngineCore::send_message(uint64_t peer_id, std::span<const std::byte> message) {
  now_ = clock_->now();
  PeerEntry* peer = find_peer(peer_id);
  if (peer == nullptr) return peer_status(peer_id);
  if (!peer->usable()) return Status(StatusCode::peer_lost, "the peer is not connected");
  const uint32_t max_bytes = std::min(options_.max_message_bytes, peer->theirs.max_message_bytes);
  if (message.size() > max_bytes) {
    return Status(StatusCode::invalid, fmt::format("a message of {} bytes: at most {} are allowed", message.size(), max_bytes));
  }
  if (peer->control_queue.size() >= options_.max_queued_messages) {
    return Status(StatusCode::busy,
                  fmt::format("{} messages wait already (EngineOptions::max_queued_messages): try after poll()",
                              peer->control_queue.size()));
  }
  send_control(*peer, engine::UserMessage{message});
  ++stats_.messages_sent;
  return {};
}

void EngineCore::on_message(PeerEntry& peer, const LaneState& lane, std::span<const std::byte> payload) {
  if (peer.phase == PeerPhase::losing) return;
  auto message = engine::decode(payload);
  if (!message) return lose(peer, message.status());
  if (lane.number != peer.vital_lane()) {
    // Notifications may come beside their payload, over lanes of another kind.
    const auto* notify = std::get_if<engine::Notify>(&*message);
    const bool may_come = notify != nullptr || std::holds_alternative<engine::Notified>(*message);
    if (!may_come || lane.transport == peer.control().transport) {
      return lose(peer, Status(StatusCode::protocol,
                               fmt::format("the peer sent a message on lane {}, where none may come now", lane.number)));
    }
    if (notify != nullptr) confirm(peer, lane, notify->serial);
  }
  handle(peer, *message);
}

// On the same lane, where it travels with answers. Lost with the lane, it costs a repetition.
void EngineCore::confirm(PeerEntry& peer, const LaneState& lane, uint64_t serial) {
  const engine::Notified message{serial};
  if (!lane.transport->send(lane.connection, engine::encode(message), now_)) send_control(peer, message);
}

void EngineCore::handle(PeerEntry& peer, const engine::Control& message) {
  if (const auto* hello = std::get_if<engine::Hello>(&message)) {
    if (peer.phase == PeerPhase::greeting && peer.initiator) return on_hello(peer, *hello);
    return lose(peer, Status(StatusCode::protocol, "the peer introduced itself twice"));
  }
  if (const auto* goodbye = std::get_if<engine::Goodbye>(&message)) {
    if (goodbye->code == StatusCode::ok) return lose(peer, Status(), CloseMode::drain);
    return lose(peer, Status(goodbye->code, fmt::format("the peer says: {}", goodbye->reason)), CloseMode::drain);
  }
  if (!peer.usable() && peer.phase != PeerPhase::leaving) {
    return lose(peer, Status(StatusCode::protocol, "the peer sent something else before its hello"));
  }
  if (application_bytes(message) > options_.max_message_bytes) {
    return lose(peer, Status(StatusCode::protocol, "the peer sent a message that is longer than this side allows"));
  }
  struct Visitor {
    EngineCore& core;
    PeerEntry& peer;
    void operator()(const engine::Hello&) const {}
    void operator()(const engine::Goodbye&) const {}
    void operator()(const engine::LaneOpen& m) const { core.on_lane_open(peer, m); }
    void operator()(const engine::LaneAccept& m) const { core.on_lane_accept(peer, m); }
    void operator()(const engine::LaneRefuse& m) const { core.on_lane_refuse(peer, m); }
    void operator()(const engine::LaneClosed& m) const { core.on_lane_closed_by_peer(peer, m); }
    void operator()(const engine::GrantMade& m) const { core.on_grant_made(peer, m); }
    void operator()(const engine::GrantExtended& m) const { core.on_grant_extended(peer, m); }
    void operator()(const engine::GrantRevoked& m) const { core.on_grant_revoked(peer, m.id); }
    void operator()(const engine::UserMessage& m) const { core.deliver(peer, m.payload, false); }
    void operator()(const engine::Notify& m) const {
      const auto ready = peer.landings.announced(m.serial, m.count, m.payload);
      core.check_landings(peer);
      if (ready) core.deliver(peer, *ready, true);
    }
    void operator()(const engine::Notified& m) const {
      peer.unconfirmed.erase(m.serial);
      core.leave_if_idle(peer);
    }
    void operator()(const engine::Abandon& m) const {
      peer.landings.abandoned(m.serial);
      core.check_landings(peer);
    }
    void operator()(const engine::Verify& m) const { core.on_verify(peer, m); }
    void operator()(const engine::Verified& m) const { core.on_verified(peer, m); }
    void operator()(const engine::Ping& m) const { core.send_control(peer, engine::Pong{m.number}); }
    void operator()(const engine::Pong& m) const {
      if (peer.ping_outstanding == m.number) peer.ping_outstanding.reset();
    }
    void operator()(const engine::ControlMove& m) const { core.on_control_move(peer, m); }
    void operator()(const engine::ControlMoved& m) const { core.on_control_moved(peer, m); }
    void operator()(const engine::LanesWanted& m) const { core.on_lanes_wanted(peer, m); }
  };
  std::visit(Visitor{*this, peer}, message);
}

void EngineCore::check_landings(PeerEntry& peer) {
  if (!peer.landings.overflowed()) return;
  lose(peer, Status(StatusCode::protocol, "the peer has more unfinished notified transfers than it may have"));
}

void EngineCore::deliver(PeerEntry& peer, std::span<const std::byte> payload, bool notification) {
  if (peer.phase == PeerPhase::losing) return;
  ++stats_.messages_received;
  // A peer that payload can't go to is not ready, whatever it says.
  if (peer.phase == PeerPhase::widening && peer.data_lanes.empty()) {
    if (peer.early.size() < options_.max_queued_messages)
      return void(peer.early.push_back({{payload.begin(), payload.end()}, notification}));
    return lose(peer, Status(StatusCode::exhausted,
                             fmt::format("the peer sent more than {} messages before a lane for payload was ready "
                                         "(EngineOptions::max_queued_messages)",
                                         peer.early.size())));
  }
  // The application hears of a peer before it hears from it: on_ready may be among what was deferred.
  announce_ready(peer);
  if (!deferred_.empty()) run_deferred();
  if (peer.phase == PeerPhase::losing || !options_.on_message) return;
  in_callback_ = true;
  options_.on_message(Peer(this, peer.id), Message{payload, notification});
  in_callback_ = false;
}

// Among what was deferred, behind the word that the peer is ready.
void EngineCore::deliver_early(uint64_t peer_id) {
  for (PeerEntry* peer = find_peer(peer_id); peer != nullptr && !peer->early.empty(); peer = find_peer(peer_id)) {
    if (peer->phase == PeerPhase::losing || !options_.on_message) return peer->early.clear();
    const PeerEntry::EarlyMessage message = std::move(peer->early.front());
    peer->early.pop_front();
    options_.on_message(Peer(this, peer_id), Message{message.payload, message.notification});
  }
}

}  // namespace haul::detail
