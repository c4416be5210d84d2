// Grants: made to peers on our memory, held on theirs.
#include <fmt/format.h>

#include <algorithm>

#include "engine/core.h"

namespace haul::detail {

using engine::LanePhase;

namespace {

bool within(const Slice& slice) {
  return slice.buffer != nullptr && slice.offset <= slice.buffer->size() && slice.length <= slice.buffer->size() - slice.offset;
}

// What a transport answers when a connection ended, though its `closed` has not been seen yet. The range was checked before.
bool is_over(const Status& status) {
  return status.code() == StatusCode::peer_lost || status.code() == StatusCode::unavailable ||
         status.code() == StatusCode::invalid;
}

}  // namespace

Result<RemoteBuffer> EngineCore::grant(uint64_t peer_id, Slice slice, Rights rights, const GrantOptions& options) {
  now_ = clock_->now();
  PeerEntry* peer = find_peer(peer_id);
  if (peer == nullptr || !peer->usable()) return Status(StatusCode::peer_lost, "the peer is not connected");
  if (!within(slice) || slice.length == 0)
    return Status(StatusCode::invalid, "the range to grant is empty or not inside its buffer");
  if (slice.buffer->registration_->table != &memory_)
    return Status(StatusCode::invalid, "the buffer to grant belongs to another engine");
  if (rights == Rights::none) return Status(StatusCode::invalid, "a grant without rights is useless");
  if (peer->grants.made.size() >= options_.max_grants_per_peer) {
    return Status(StatusCode::busy,
                  fmt::format("the peer already has {} grants (EngineOptions::max_grants_per_peer): revoke some",
                              peer->grants.made.size()));
  }
  const bool on_device = slice.buffer->registration_->on_device();
  if (on_device && (peer->theirs.features & engine::feature_device_memory) == 0) {
    return Status(StatusCode::unsupported, "the peer's haul does not know grants of device memory: upgrade it");
  }
  memory::MadeGrant made;
  made.id = next_grant_++;
  made.registration = slice.buffer->registration_;
  made.range = Range{slice.offset, slice.length};
  made.rights = rights;
  engine::GrantMade announcement{made.id, slice.length, rights, {}, on_device};
  if (Status status = grant_on_lanes(*peer, made, announcement.regions); !status.ok()) return status;
  if (on_device && made.lanes.empty()) return no_lane_for_device_memory();
  if (options.expires_after) {
    made.expires = now_ + *options.expires_after;
    set_timer(*made.expires, Timer{TimerKind::grant_expiry, peer->id, made.id});
  }
  const RemoteBuffer remote(incarnation_, made.id, slice.length, rights);
  peer->grants.made.emplace(made.id, std::move(made));
  send_control(*peer, announcement);
  return remote;
}

// On all that stand. One that can't take it is no reason to fail where payload may go over others.
Status EngineCore::grant_on_lanes(PeerEntry& peer, memory::MadeGrant& grant, std::vector<engine::GrantRegion>& regions) {
  for (const auto& lane : peer.lanes) {
    if (!lane->ready || !may_carry_payload(peer, *lane) || !grant.registration->held_by(lane->transport_index)) continue;
    engine::GrantRegion region{lane->number, {}};
    Status status = grant_on_lane(peer, *lane, grant, region.region);
    if (status.ok()) {
      regions.push_back(region);
      continue;
    }
    const bool carries_control = lane->number == peer.control_lane || lane->number == peer.vital_lane();
    // Where no other lane can take it, or the peer would end with this one.
    if ((peer.control_only || carries_control || grant.registration->on_device()) && !is_over(status)) {
      for (const auto& entry : grant.lanes) {
        if (LaneState* granted = peer.lane(entry.lane))
          granted->transport->revoke(granted->connection, entry.transport_grant, now_);
      }
      return status;
    }
    if (!carries_control) close_without_grant(peer, *lane, grant.id, status);
  }
  return {};
}

// Payload would wait for ever on a lane that lacks a grant.
void EngineCore::close_without_grant(PeerEntry& peer, LaneState& lane, uint64_t grant, const Status& why) {
  log(LogLevel::warning, fmt::format("peer {}: lane {} is closed, for grant {} can't be made on it: {}", peer.id, lane.number,
                                     grant, why.message()));
  peer.last_lane_failure = why;
  close_lane(lane, CloseMode::abort);
}

Status EngineCore::grant_on_lane(PeerEntry&, LaneState& lane, memory::MadeGrant& grant, RemoteRegion& region) {
  auto local = lane.transport->grant(lane.connection, *grant.registration->regions[lane.transport_index], grant.range,
                                     grant.rights, now_);
  if (!local) return local.status();
  region = local->remote;
  grant.lanes.push_back({lane.number, local->id, false});
  lane.grants.emplace(local->id, grant.id);
  return {};
}

// A lane that is ready later than a grant was made.
void EngineCore::extend_grants(PeerEntry& peer, LaneState& lane) {
  for (auto& [id, grant] : peer.grants.made) {
    if (grant.revoking || !grant.registration->held_by(lane.transport_index)) continue;
    engine::GrantRegion region{lane.number, {}};
    if (Status status = grant_on_lane(peer, lane, grant, region.region); !status.ok())
      return close_without_grant(peer, lane, id, status);
    send_control(peer, engine::GrantExtended{id, region});
  }
}

Status EngineCore::revoke(uint64_t peer_id, const RemoteBuffer& granted, std::function<void()> on_revoked) {
  now_ = clock_->now();
  PeerEntry* peer = find_peer(peer_id);
  if (peer == nullptr) return Status(StatusCode::peer_lost, "the peer is not connected: its grants ended with it");
  const auto grant = peer->grants.made.find(granted.grant_id());
  if (granted.owner_incarnation() != incarnation_ || grant == peer->grants.made.end()) {
    return Status(StatusCode::invalid, "this engine made no such grant to this peer, or it is revoked already");
  }
  if (on_revoked) grant->second.on_revoked.push_back(std::move(on_revoked));
  start_revoking(*peer, grant->second);
  return {};
}

void EngineCore::start_revoking(PeerEntry& peer, memory::MadeGrant& grant) {
  if (grant.revoking) return;
  grant.revoking = true;
  grant.revoke_deadline = now_ + options_.peer_timeout;
  set_timer(grant.revoke_deadline, Timer{TimerKind::revocation, peer.id, grant.id});
  send_control(peer, engine::GrantRevoked{grant.id});
  for (const auto& entry : grant.lanes) {
    LaneState* lane = peer.lane(entry.lane);
    if (lane != nullptr && !entry.revoked) lane->transport->revoke(lane->connection, entry.transport_grant, now_);
  }
  finish_revoking_if_quiet(peer, grant.id);
}

void EngineCore::on_revoked(PeerEntry& peer, LaneState& lane, uint64_t transport_grant) {
  const auto known = lane.grants.find(transport_grant);
  if (known == lane.grants.end()) return;
  const uint64_t id = known->second;
  lane.grants.erase(known);
  const auto grant = peer.grants.made.find(id);
  if (grant == peer.grants.made.end()) return;
  for (auto& entry : grant->second.lanes) {
    if (entry.lane == lane.number) entry.revoked = true;
  }
  finish_revoking_if_quiet(peer, id);
}

void EngineCore::finish_revoking_if_quiet(PeerEntry& peer, uint64_t id) {
  const auto grant = peer.grants.made.find(id);
  if (grant == peer.grants.made.end() || !grant->second.revoking || !grant->second.quiet()) return;
  for (auto& call : grant->second.on_revoked) deferred_.emplace_back(std::move(call));
  peer.grants.made.erase(grant);
}

// The end of a lane is the end of every grant on it, in both directions.
void EngineCore::lane_ends_grants(PeerEntry& peer, LaneState& lane) {
  lane.grants.clear();
  std::vector<uint64_t> touched;
  for (auto& [id, grant] : peer.grants.made) {
    for (auto& entry : grant.lanes) {
      if (entry.lane == lane.number && !entry.revoked) {
        entry.revoked = true;
        touched.push_back(id);
      }
    }
  }
  for (const uint64_t id : touched) finish_revoking_if_quiet(peer, id);
  for (auto& [id, held] : peer.grants.held) {
    std::erase_if(held->lanes, [&](const auto& entry) { return entry.lane == lane.number; });
  }
}

void EngineCore::on_grant_made(PeerEntry& peer, const engine::GrantMade& message) {
  if (peer.grants.held.size() >= options_.max_grants_per_peer || message.id <= peer.grants.highest_held ||
      message.regions.size() > options_.max_lanes_per_peer) {
    return lose(peer, Status(StatusCode::protocol, "the peer made more grants than this engine allows, or one twice"));
  }
  auto held = std::make_shared<memory::HeldGrant>();
  held->id = message.id;
  held->length = message.length;
  held->rights = message.rights;
  held->on_device = message.on_device;
  if (message.on_device) tell_unchecked();
  for (const engine::GrantRegion& region : message.regions) held->lanes.push_back({region.lane, region.region});
  peer.grants.held.emplace(message.id, std::move(held));
  peer.grants.highest_held = message.id;
  for (const auto& transfer : transfers_of(peer)) {
    if (transfer->phase != transfer::Phase::waiting) continue;
    const Status status = resolve(peer, *transfer);
    if (status.ok()) {
      activate(peer, *transfer);
    } else if (status.code() != StatusCode::busy) {
      finish(&peer, *transfer, status);
    }
  }
}

void EngineCore::on_grant_extended(PeerEntry& peer, const engine::GrantExtended& message) {
  const auto held = peer.grants.held.find(message.id);
  const LaneState* lane = peer.lane(message.region.lane);
  if (held == peer.grants.held.end() || lane == nullptr || lane->phase == LanePhase::closed) return;
  if (held->second->on_lane(message.region.lane) != nullptr) return;
  held->second->lanes.push_back({message.region.lane, message.region.region});
}

void EngineCore::on_grant_revoked(PeerEntry& peer, uint64_t id) {
  const auto found = peer.grants.held.find(id);
  if (found == peer.grants.held.end()) return;
  const std::shared_ptr<memory::HeldGrant> held = found->second;
  peer.grants.held.erase(found);
  held->revoked = true;
  // What was placed already stays placed: a transfer of which nothing is left to post may still end ok.
  for (const auto& transfer : transfers_of(peer)) {
    if (!transfer->has_work() || std::find(transfer->grants.begin(), transfer->grants.end(), held) == transfer->grants.end())
      continue;
    end_early(peer, *transfer, Status(StatusCode::refused, fmt::format("grant {} was revoked by its owner, or expired", id)));
  }
}

}  // namespace haul::detail
