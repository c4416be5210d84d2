// Memory that the processor does not read: which lanes can move it, and what becomes of transfers that none can.
#include <algorithm>

#include "engine/core.h"

namespace haul::detail {

using engine::LanePhase;

// Once: no silent downgrade.
void EngineCore::tell_unchecked() {
  if (told_unchecked_ || options_.integrity == Integrity::off) return;
  told_unchecked_ = true;
  log(LogLevel::warning,
      "device memory, ours or a peer's, is moved without CRC32C, which the processor would have to read it for: its bytes are "
      "as "
      "safe as the fabric's own checks make them");
}

Status EngineCore::no_lane_for_device_memory() {
  return Status(
      StatusCode::unavailable,
      "device memory can't be moved: no lane over a transport that can hold it is up. Connect over rdma on both sides "
      "(TransportPolicy::require; command: --transport rdma), or try again once its lanes are back (Peer::explain)");
}

// Or may have, once it is ready and the owner's word came of the grant there.
bool EngineCore::has_lane_for(const PeerEntry& peer, const transfer::PlannedPiece& piece) {
  return std::any_of(peer.lanes.begin(), peer.lanes.end(), [&](const auto& lane) {
    const bool stands = lane->phase == LanePhase::opening || lane->phase == LanePhase::ready;
    if (!stands || !may_carry_payload(peer, *lane) || !piece.local->held_by(lane->transport_index)) return false;
    if (lane->phase == LanePhase::opening || piece.remote->on_lane(lane->number) != nullptr) return true;
    return lane->transport_index != peer.control().transport_index;
  });
}

// A lane that was lost may come back; until when its transfers wait is bounded as where all lanes are lost.
void EngineCore::check_device_transfers(PeerEntry& peer) {
  std::vector<std::shared_ptr<TransferState>> stuck;
  for (auto* transfer = peer.transfers.front(); transfer != nullptr; transfer = peer.transfers.next(*transfer)) {
    if (!transfer->on_device) continue;
    const bool moves = !transfer->has_work() || !transfer->outstanding.empty() ||
                       std::any_of(peer.data_lanes.begin(), peer.data_lanes.end(), [&](const schedule::Lane* lane) {
                         return transfer::has_operation_for(*transfer, {lane->number, lane->transport_index});
                       });
    if (moves) {
      transfer->stuck_since.reset();
    } else if (!transfer->stuck_since) {
      transfer->stuck_since = now_;
    } else if (now_ - *transfer->stuck_since >= options_.peer_timeout) {
      stuck.push_back(transfers_.at(transfer->id));
    }
  }
  for (const auto& transfer : stuck) end_early(peer, *transfer, no_lane_for_device_memory());
}

}  // namespace haul::detail
