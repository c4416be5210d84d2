// The lane that carries control messages, and its move to another one when its keys wear out. docs/wire-format.md, "Moving".
#include <fmt/format.h>

#include "engine/core.h"

namespace haul::detail {

using engine::ControlMove;
using engine::ControlMoved;
using engine::LanePhase;
using engine::Move;

// Each side says on the old lane that nothing of it follows there, so that the order of messages does not depend on two
// connections: what is sent meanwhile waits in the queue, for three crossings of the path.
void EngineCore::move_control_if_worn(PeerEntry& peer) {
  if (!peer.initiator || !peer.usable() || peer.move != Move::none || !peer.control().aging) return;
  const LaneState* takes_over = heir(peer);
  if (takes_over == nullptr || takes_over->number == peer.control_lane) return;
  peer.move_to = takes_over->number;
  peer.control_queue.push_back(engine::encode(ControlMove{peer.move_to}));
  peer.move = Move::asked;
  peer.before_move = peer.control_queue.size();
  flush_control(peer);
}

void EngineCore::on_control_move(PeerEntry& peer, const ControlMove& message) {
  const LaneState* lane = peer.lane(message.lane);
  if (peer.initiator || lane == nullptr || lane->number == peer.control_lane) {
    return lose(peer, Status(StatusCode::protocol, "the peer moves its control messages to a lane that is not there"));
  }
  // A lane that was lost in the meantime cannot take them.
  if (lane->phase == LanePhase::closing || lane->phase == LanePhase::closed) {
    return send_control(peer, ControlMoved{peer.control_lane});
  }
  peer.control_queue.push_back(engine::encode(ControlMoved{message.lane}));
  peer.move_to = message.lane;
  peer.move = Move::agreed;
  peer.before_move = peer.control_queue.size();
  flush_control(peer);
}

void EngineCore::on_control_moved(PeerEntry& peer, const ControlMoved& message) {
  const bool stays = peer.move == Move::asked && message.lane == peer.control_lane;
  if (peer.move == Move::none || (message.lane != peer.move_to && !stays)) {
    return lose(peer, Status(StatusCode::protocol, "the peer moved its control messages without being asked"));
  }
  if (stays) {
    peer.move = Move::none;
    flush_control(peer);
    return leave_if_idle(peer);
  }
  const LaneState* lane = peer.lane(message.lane);
  if (lane == nullptr || !lane->ready) {
    return lose(peer, Status(StatusCode::peer_lost, "the lane that control messages moved to was lost meanwhile"));
  }
  const uint32_t old_lane = peer.control_lane;
  peer.control_lane = message.lane;
  if (peer.move == Move::asked) peer.control_queue.push_front(engine::encode(message));
  peer.move = Move::none;
  flush_control(peer);
  log(LogLevel::info, fmt::format("peer {}: control messages moved from lane {} to lane {}", peer.id, old_lane, message.lane));
  if (LaneState* old = peer.lane(old_lane); old != nullptr && old->over()) release_parked(peer, *old);
  retire_lanes(peer);
  leave_if_idle(peer);
  move_control_if_worn(peer);
}

}  // namespace haul::detail
