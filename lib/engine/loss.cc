// Peers go: closing, dying, falling silent.
#include <fmt/format.h>

#include <algorithm>

#include "engine/core.h"

namespace haul::detail {

using engine::LanePhase;
using engine::PeerPhase;

namespace {

constexpr size_t max_obituaries = 1024;

}  // namespace

void EngineCore::close_peer(uint64_t peer_id, bool graceful) {
  now_ = clock_->now();
  PeerEntry* peer = find_peer(peer_id);
  if (peer == nullptr || peer->phase == PeerPhase::losing || peer->phase == PeerPhase::leaving) return;
  if (!graceful || !peer->usable()) {
    send_control(*peer, engine::Goodbye{StatusCode::peer_lost, "the peer aborted the connection"});
    return lose(*peer, Status(StatusCode::peer_lost, "closed by this side"));
  }
  peer->phase = PeerPhase::leaving;
  peer->leave_deadline = now_ + options_.peer_timeout;
  set_timer(*peer->leave_deadline, Timer{TimerKind::leaving, peer->id});
  leave_if_idle(*peer);
}

void EngineCore::leave_if_idle(PeerEntry& peer) {
  if (peer.phase != PeerPhase::leaving || !peer.transfers.empty() || !peer.unconfirmed.empty()) return;
  if (!immediates_are_settled(peer) || !peer.control_queue.empty() || peer.move != engine::Move::none) return;
  send_control(peer, engine::Goodbye{StatusCode::ok, {}});
  lose(peer, Status(), CloseMode::drain);
}

// What was placed may not have been heard of: a lane that ended in good order tells.
bool EngineCore::immediates_are_settled(PeerEntry& peer) {
  bool settled = true;
  for (const auto& lane : peer.lanes) {
    if (lane->immediates.sent() == 0 || lane->over()) continue;
    close_lane(*lane, CloseMode::drain);
    settled = false;
  }
  return settled;
}

// From here on nothing new happens with the peer. Its lanes close; when all are closed, its transfers and grants are over.
void EngineCore::lose(PeerEntry& peer, Status why, CloseMode mode) {
  if (peer.phase == PeerPhase::losing) return;
  peer.phase = PeerPhase::losing;
  peer.why_lost = std::move(why);
  const std::string reason = peer.why_lost.ok() ? "the peer closed the connection" : std::string(peer.why_lost.message());
  for (const auto& transfer : transfers_of(peer)) {
    end_early(peer, *transfer, Status(StatusCode::peer_lost, reason, peer.why_lost.system_error()));
  }
  for (const auto& lane : peer.lanes) close_lane(*lane, mode);
  if (mode == CloseMode::drain) set_timer(now_ + options_.peer_timeout, Timer{TimerKind::draining, peer.id});
  finish_loss_if_quiet(peer);
}

void EngineCore::finish_loss_if_quiet(PeerEntry& peer) {
  for (const auto& lane : peer.lanes) {
    if (lane->phase != LanePhase::closed) return;
  }
  const bool graceful = peer.why_lost.ok();
  // Every lane is closed: operations that wait for the peer's word are quiet on this side, which is all that can be known.
  for (const auto& transfer : transfers_of(peer)) {
    if (transfer->phase == transfer::Phase::ending) {
      transfer->status =
          Status(StatusCode::peer_lost, std::string(graceful ? "the peer closed the connection" : peer.why_lost.message()),
                 peer.why_lost.system_error());
    }
    while (auto* record = transfer->outstanding.front()) drop_operation(*record);
    finish_if_over(peer, *transfer);
  }
  for (auto& [id, grant] : peer.grants.made) {
    for (auto& call : grant.on_revoked) deferred_.emplace_back(std::move(call));
  }
  peer.grants.made.clear();
  remember_paths(peer);
  save_memories();
  const Peer handle(this, peer.id);
  // Who connects in vain hears it from on_ready.
  const LogLevel level = peer.initiator && !peer.announced ? LogLevel::debug : graceful ? LogLevel::info : LogLevel::warning;
  log(level, fmt::format("peer {} ({}) is gone: {}", peer.id, peer.theirs.name, peer.why_lost.to_string()));
  if (peer.options.on_ready) {
    Status why =
        graceful ? Status(StatusCode::unavailable, "the peer closed the connection before it was ready") : peer.why_lost;
    deferred_.emplace_back([handle, call = std::move(peer.options.on_ready), why = std::move(why)] { call(handle, why); });
  } else if (peer.announced && options_.on_peer_closed) {
    deferred_.emplace_back([this, handle, why = peer.why_lost] { options_.on_peer_closed(handle, why); });
  }
  obituaries_.emplace_back(peer.id, graceful ? Status(StatusCode::peer_lost, "the peer closed the connection") : peer.why_lost);
  if (obituaries_.size() > max_obituaries) obituaries_.pop_front();
  dead_peers_.push_back(peer.id);
}

// Runs a few times in each keep-alive period while there are peers.
void EngineCore::check_peers() {
  std::vector<uint64_t> ids;
  for (const auto& [id, peer] : peers_) ids.push_back(id);
  for (const uint64_t id : ids) {
    if (PeerEntry* peer = find_peer(id); peer != nullptr && (peer->usable() || peer->phase == PeerPhase::leaving))
      check_life(*peer);
  }
  if (peers_.empty()) return;
  check_pending_ = true;
  set_timer(now_ + options_.keepalive / 4, Timer{TimerKind::check});
}

// Signs of life: an event that the peer's engine made, or bytes that came in, or, while bytes wait to go out, bytes that it
// took. A stopped process's kernel takes bytes too, so taking alone is no sign once nothing waits.
void EngineCore::check_life(PeerEntry& peer) {
  check_device_transfers(peer);
  if (!peer.trials || !peer.trials->look_pending) look_at_lanes(peer);
  if (peer.stranded_since && peer.announced && now_ - *peer.stranded_since >= options_.peer_timeout &&
      !peer.transfers.empty()) {
    std::string why = fmt::format("no lane that may carry payload could be opened for {} ms",
                                  (now_ - *peer.stranded_since) / std::chrono::milliseconds(1));
    if (!peer.last_lane_failure.ok()) why += fmt::format(": {}", peer.last_lane_failure.message());
    return lose(peer, Status(StatusCode::peer_lost, std::move(why)));
  }
  uint64_t progress = 0;
  for (const auto& lane : peer.lanes) {
    if (!lane->ready) continue;
    const PathSample sample = lane->transport->sample(lane->connection);
    progress += sample.bytes_received + (sample.bytes_unsent > 0 ? sample.progress_bytes : 0);
  }
  if (peer.heard || progress != peer.progress) {
    peer.heard = false;
    peer.progress = progress;
    peer.progress_at = now_;
    return;
  }
  const Duration silence = now_ - peer.progress_at;
  if (silence >= options_.peer_timeout) {
    return lose(
        peer, Status(StatusCode::peer_lost, fmt::format("no sign of life from the peer for {} ms (EngineOptions::peer_timeout)",
                                                        silence / std::chrono::milliseconds(1))));
  }
  if (silence + options_.keepalive / 4 >= options_.keepalive && !peer.ping_outstanding) {
    peer.ping_outstanding = peer.next_ping++;
    send_control(peer, engine::Ping{*peer.ping_outstanding});
  }
}

}  // namespace haul::detail
