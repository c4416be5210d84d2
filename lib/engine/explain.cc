// What the engine tells about itself: statistics, states, explanations.
#include <fmt/format.h>

#include <algorithm>
#include <sstream>

#include "engine/core.h"
#include "security/context.h"

namespace haul::detail {

using engine::LanePhase;
using engine::PeerPhase;
using transfer::OperationState;
using transfer::Phase;

namespace {

std::string_view name_of(PeerPhase phase) {
  switch (phase) {
    case PeerPhase::connecting:
    case PeerPhase::greeting:
    case PeerPhase::widening: return "connecting";
    case PeerPhase::ready: return "ready";
    case PeerPhase::leaving:
    case PeerPhase::losing: return "closing";
  }
  return "unknown";
}

template <typename Lanes, typename Counted>
std::map<std::string_view, size_t> count_by_transport(const Lanes& lanes, const Counted& counted) {
  std::map<std::string_view, size_t> counts;
  for (const auto& lane : lanes) {
    if (counted(lane)) ++counts[lane->transport->capabilities().name];
  }
  return counts;
}

}  // namespace

PeerState EngineCore::peer_state(uint64_t peer_id) const noexcept {
  const PeerEntry* peer = find_peer(peer_id);
  if (peer == nullptr || peer->phase == PeerPhase::losing || peer->phase == PeerPhase::leaving) return PeerState::closed;
  return peer->usable() ? PeerState::ready : PeerState::connecting;
}

Status EngineCore::peer_status(uint64_t peer_id) const {
  if (const PeerEntry* peer = find_peer(peer_id)) return peer->phase == PeerPhase::losing ? peer->why_lost : Status();
  const auto obituary =
      std::find_if(obituaries_.begin(), obituaries_.end(), [&](const auto& entry) { return entry.first == peer_id; });
  return obituary != obituaries_.end() ? obituary->second
                                       : Status(StatusCode::peer_lost, "no such peer: it is gone, or never was");
}

std::string EngineCore::peer_name(uint64_t peer_id) const {
  const PeerEntry* peer = find_peer(peer_id);
  return peer != nullptr ? peer->theirs.name : std::string();
}

PeerIdentity EngineCore::peer_identity(uint64_t peer_id) const {
  const PeerEntry* peer = find_peer(peer_id);
  return peer != nullptr ? peer->identity : PeerIdentity();
}

// What goes over which lanes now, and what is still on its way.
std::string EngineCore::lanes_line(const PeerEntry& peer) {
  constexpr size_t most_described = 4;
  const LaneState& control = peer.control();
  std::vector<std::string> described;
  for (const schedule::Lane* lane : peer.data_lanes) {
    if (described.size() < most_described) described.push_back(lane->transport->describe(lane->connection));
  }
  if (peer.data_lanes.size() > most_described) described.emplace_back("…");
  std::vector<std::string> counted;
  for (const auto& [name, count] : count_by_transport(peer.data_lanes, [](const auto&) { return true; }))
    counted.push_back(fmt::format("{} {} lane(s)", count, name));
  std::string text = fmt::format("payload over {}: {}", fmt::join(counted, ", "), fmt::join(described, "; "));
  const bool apart = std::none_of(peer.data_lanes.begin(), peer.data_lanes.end(),
                                  [&control](const auto* lane) { return lane->transport == control.transport; });
  if (apart) text += fmt::format("; control messages over {}", control.transport->capabilities().name);
  const auto opening = [](const auto& lane) { return lane->phase == LanePhase::opening; };
  for (const auto& [name, count] : count_by_transport(peer.lanes, opening))
    text += fmt::format("; {} {} lane(s) still opening", count, name);
  return text;
}

std::vector<Peer> EngineCore::peers() {
  std::vector<Peer> handles;
  for (const auto& [id, peer] : peers_) {
    if (peer->usable()) handles.push_back(Peer(this, id));
  }
  return handles;
}

PeerStats EngineCore::peer_stats(uint64_t peer_id) const {
  PeerStats stats;
  const PeerEntry* peer = find_peer(peer_id);
  stats.id = peer_id;
  stats.state = "closed";
  if (peer == nullptr) return stats;
  stats.name = peer->theirs.name;
  stats.address = peer->initiator ? peer->address.to_string() : std::string();
  stats.state = name_of(peer->phase);
  stats.incarnation = peer->theirs.incarnation;
  stats.transfers_active = peer->transfers.size();
  stats.grants_made = peer->grants.made.size();
  stats.grants_held = peer->grants.held.size();
  if (!peer->lanes.empty() && (peer->initiator || has_trials(*peer))) stats.lanes_wanted = wanted_lanes(*peer);
  for (const auto& lane : peer->lanes) {
    if (lane->phase == LanePhase::closed) continue;
    LaneStats& entry = stats.lanes.emplace_back();
    entry.lane = lane->number;
    entry.transport = lane->transport->capabilities().name;
    entry.description = lane->transport->describe(lane->connection);
    entry.operations_outstanding = lane->operations_outstanding;
    entry.bytes_outstanding = lane->bytes_outstanding;
    entry.path = lane->transport->sample(lane->connection);
  }
  stats.paths = path_stats(*peer);
  tell_rates(*peer, stats);
  return stats;
}

EngineStats EngineCore::stats() const {
  EngineStats stats = stats_;
  stats.registered_bytes = memory_.registered_bytes();
  for (const auto& [id, peer] : peers_) stats.peers.push_back(peer_stats(id));
  return stats;
}

std::string EngineCore::explain_peer(uint64_t peer_id) const {
  const PeerEntry* peer = find_peer(peer_id);
  if (peer == nullptr) return fmt::format("peer {}: {}\n", peer_id, peer_status(peer_id).to_string());
  std::string text = fmt::format("peer {} \"{}\" {}: {}, library {}\n", peer->id, peer->theirs.name,
                                 peer->initiator ? peer->address.to_string() : "(accepted)", name_of(peer->phase),
                                 peer->theirs.library_version.empty() ? "unknown" : peer->theirs.library_version);
  for (const std::string& choice : peer->choices) text += fmt::format("  transport {}\n", choice);
  for (const auto& lane : peer->lanes) {
    text += fmt::format("  lane {}: {}{}\n", lane->number, lane->transport->describe(lane->connection),
                        lane->ready ? "" : " (not ready)");
  }
  text += explain_lanes(*peer);
  text += explain_rates(*peer);
  text += explain_paths(*peer);
  text += fmt::format("  integrity: {} for what this side starts, {} for what the peer starts\n",
                      options_.integrity == Integrity::crc32c ? "crc32c" : "off", peer->theirs.integrity ? "crc32c" : "off");
  if (peer->identity.authenticated()) {
    text += fmt::format("  security: authenticated as \"{}\", {}\n", peer->identity.name, peer->identity.fingerprint);
    return text;
  }
  text += fmt::format("  security: {}\n", options_.security == SecurityPolicy::insecure
                                              ? "none (policy insecure): peers are not authenticated, data is not encrypted"
                                              : "loopback only: every local user is trusted, data is not encrypted");
  return text;
}

std::string EngineCore::security_line() const {
  if (security_) {
    return fmt::format("this side is {}; trusted are {}; links are at least {}", security_->own_fingerprint().to_string(),
                       security_->trust_files(), to_string(options_.protection));
  }
  return options_.security == SecurityPolicy::insecure ? "insecure: any address, unauthenticated, not encrypted"
                                                       : "loopback addresses only (no credentials)";
}

std::string EngineCore::explain() const {
  std::string text = fmt::format("haul {}, engine \"{}\", incarnation {:016x}\n", version(), options_.name, incarnation_);
  for (const auto& transport : transports_) {
    const Capabilities& capabilities = transport->capabilities();
    text +=
        fmt::format("  transport {}: operations of {} to {} bytes, {} outstanding a lane, checksums {}\n", capabilities.name,
                    capabilities.preferred_operation_bytes, capabilities.max_operation_bytes, capabilities.max_operations,
                    capabilities.carries_checksums ? "travel with the data" : "are asked for afterwards");
    std::istringstream lines(transport->describe(0));
    for (std::string line; std::getline(lines, line);) text += fmt::format("    {}\n", line);
  }
  for (const std::string& address : listening_) text += fmt::format("  listening on {}\n", address);
  const auto& preferred = options_.accept_policy.prefer;
  if (accepted_.for_data.size() < transports_.size() || !preferred.empty()) {
    text += fmt::format("  payload of peers that connect: over {}{}\n", accepted_names(),
                        preferred.empty() ? "" : fmt::format(", best over {}", fmt::join(preferred, ", ")));
  }
  text += fmt::format("  security: {}\n", security_line());
  text += fmt::format("  integrity: {}{}\n", options_.integrity == Integrity::crc32c ? "crc32c per operation" : "off",
                      told_unchecked_ ? ", but none of device memory" : "");
  text += fmt::format("  {}\n", congestion_line());
  text += explain_tenants();
  text +=
      fmt::format("  peer timeout {} ms, keep-alive {} ms, spin {}\n", options_.peer_timeout / std::chrono::milliseconds(1),
                  options_.keepalive / std::chrono::milliseconds(1),
                  options_.spin == Duration::max() ? "always (busy polling)"
                                                   : fmt::format("up to {} us", options_.spin / std::chrono::microseconds(1)));
  for (const auto& [id, peer] : peers_) text += explain_peer(id);
  return text;
}

std::string EngineCore::waiting_for(const TransferState& transfer) const {
  if (transfer.phase == Phase::done) return {};
  if (transfer.phase == Phase::waiting) return "the owner's announcement of the grant";
  size_t posted = 0;
  size_t parked = 0;
  size_t verifying = 0;
  for (auto* record = transfer.outstanding.front(); record != nullptr; record = transfer.outstanding.next(*record)) {
    posted += record->state == OperationState::posted ? 1U : 0U;
    parked += record->state == OperationState::parked ? 1U : 0U;
    verifying += record->state == OperationState::verifying ? 1U : 0U;
  }
  if (parked > 0) return fmt::format("the peer's word that a lost lane with {} operations is closed", parked);
  if (verifying > 0) return fmt::format("the checksums of {} operations", verifying);
  if (posted > 0) return fmt::format("the peer's answer to {} operations", posted);
  const PeerEntry* peer = find_peer(transfer.peer);
  if (peer != nullptr && peer->data_lanes.empty()) return "a lane to the peer";
  if (transfer.stuck_since) return "a lane that can move device memory";
  return "room on the peer's lanes";
}

}  // namespace haul::detail
