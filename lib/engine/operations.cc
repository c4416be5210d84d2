// Operations: what landed here, what completed there.
#include <fmt/format.h>

#include <algorithm>

#include "base/crc32c.h"
#include "engine/core.h"
#include "transfer/tag.h"

namespace haul::detail {

using transfer::OperationRecord;
using transfer::OperationState;
using transfer::Phase;

namespace {

// Whether the peer's engine, not its network card alone, had to do something for an operation that completed well.
bool took_part(const Capabilities& capabilities, Op op, bool checked) {
  return op == Op::write ? capabilities.reports_landed : checked && capabilities.carries_checksums;
}

}  // namespace

void EngineCore::on_landed(PeerEntry& peer, LaneState& lane, const Event& event) {
  if (event.crc32c && base::crc32c(event.payload) != *event.crc32c) {
    ++stats_.checksum_failures;
    lane.transport->answer(lane.connection, event.id, Status(StatusCode::corrupt, "the checksum does not match"), now_);
    return;
  }
  stats_.bytes_landed += event.payload.size();
  lane.carried = true;
  lane.transport->answer(lane.connection, event.id, Status(), now_);
  if (event.tag == transfer::untracked_tag) return;
  const auto ready = peer.landings.landed(transfer::tag_serial(event.tag), transfer::tag_index(event.tag));
  check_landings(peer);
  if (ready) deliver(peer, *ready, true);
}

void EngineCore::on_immediate(PeerEntry& peer, LaneState& lane, const Event& event) {
  ++lane.immediates_heard;
  stats_.bytes_landed += event.tag;
  lane.carried = true;
  deliver(peer, event.payload, true);
}

void EngineCore::on_completed(PeerEntry& peer, LaneState& lane, const Event& event) {
  lane.blocked = false;
  OperationRecord* record = operations_.find(event.id);
  if (record == nullptr || record->state != OperationState::posted) return;
  --lane.operations_outstanding;
  lane.bytes_outstanding -= record->length;
  if (record->ticket != 0) end_ticket(peer, lane, *record, end_of(event.status));
  if (lane.aging && lane.operations_outstanding == 0) retire_lanes(peer);
  Status status = event.status;
  TransferState& transfer = *record->transfer;
  if (status.ok()) lane.carried = true;
  if (status.ok() && record->immediate_number != 0) {
    lane.immediates.placed(record->immediate_number);
    transfer.notify_sent = true;
    ++stats_.messages_sent;
  }
  const bool checked = transfer::is_checked(*record);
  // A write with an immediate is acknowledged by the peer's device alone.
  const bool by_peer = record->immediate_number == 0 && took_part(lane.transport->capabilities(), transfer.op, checked);
  if (status.ok() && by_peer) peer.heard = true;
  if (status.ok() && checked && !lane.transport->capabilities().carries_checksums) {
    // The owner's memory is compared with ours by a question.
    record->state = OperationState::verifying;
    const transfer::PlannedPiece& piece = transfer.pieces[record->piece];
    return send_control(
        peer, engine::Verify{record->id, piece.remote_grant, piece.remote_offset + record->piece_offset, record->length});
  }
  // Also one that nobody asked for: the lane's device needs it.
  if (status.ok() && transfer.op == Op::read && event.crc32c &&
      base::crc32c(transfer::local_memory(*record)) != *event.crc32c) {
    ++stats_.checksum_failures;
    status = Status(StatusCode::corrupt, "the checksum does not match");
  }
  conclude(peer, *record, status);
}

// An operation has its outcome: count it, send it again, or let its transfer fail.
void EngineCore::conclude(PeerEntry& peer, OperationRecord& record, const Status& status) {
  TransferState& transfer = *record.transfer;
  switch (status.code()) {
    case StatusCode::ok:
      transfer.bytes_done += record.length;
      (transfer.op == Op::write ? stats_.bytes_put : stats_.bytes_got) += record.length;
      drop_operation(record);
      // A checksum that failed may now be tried again, alone.
      if (transfer.has_work()) peer.scheduler.enter(transfer);
      break;
    case StatusCode::corrupt:
      record.alone = true;
      repeat_or_fail(peer, record,
                     Status(StatusCode::corrupt, fmt::format("a checksum failed {} times: memory, network card or driver "
                                                             "damage the data; the destination must not be used",
                                                             record.attempts)));
      break;
    case StatusCode::peer_lost:
    case StatusCode::unavailable:
      // The lane is gone. Until the peer says that its end is gone too, bytes of this operation may still land.
      record.state = OperationState::parked;
      return;
    case StatusCode::cancelled:
      drop_operation(record);
      if (transfer.phase == Phase::running) end_early(peer, transfer, status);
      break;
    default:
      drop_operation(record);
      end_early(peer, transfer, status);
      break;
  }
  finish_if_over(peer, transfer);
}

void EngineCore::repeat_or_fail(PeerEntry& peer, OperationRecord& record, const Status& status) {
  TransferState& transfer = *record.transfer;
  if (transfer.phase != Phase::running || record.attempts >= options_.max_attempts) {
    drop_operation(record);
    return end_early(peer, transfer, status);
  }
  ++stats_.operations_retried;
  transfer.outstanding.remove(record);
  record.state = OperationState::again;
  record.crc32c.reset();
  transfer.again.push_back(record);
  peer.scheduler.enter(transfer);
}

// The record leaves whichever list it is in.
void EngineCore::drop_operation(OperationRecord& record) {
  if (record.state == OperationState::again) {
    record.transfer->again.remove(record);
  } else {
    record.transfer->outstanding.remove(record);
  }
  operations_.give_back(record);
}

void EngineCore::drop_unposted(TransferState& transfer) {
  while (OperationRecord* record = transfer.again.front()) drop_operation(*record);
}

// What was posted while the lane's end was on its way to us got no completion of its own.
void EngineCore::park_posted(PeerEntry& peer, LaneState& lane) {
  for (auto* transfer = peer.transfers.front(); transfer != nullptr; transfer = peer.transfers.next(*transfer)) {
    for (auto* record = transfer->outstanding.front(); record != nullptr; record = transfer->outstanding.next(*record)) {
      if (record->lane != lane.number || record->state != OperationState::posted) continue;
      record->state = OperationState::parked;
      if (record->ticket != 0) end_ticket(peer, lane, *record, congestion::OperationPath::End::lost);
    }
  }
}

// Both ends of a lane are gone. What the peer did not hear of, though it was placed, it is told; what it heard of, though the
// lane ended before its completion came, is over.
void EngineCore::settle_immediates(PeerEntry& peer, const LaneState& lane) {
  for (const Immediate& value : lane.immediates.unheard(lane.immediates_heard_by_peer)) {
    send_control(peer, engine::Notify{peer.next_notify_serial++, 0, {value.begin(), value.end()}});
  }
  for (const auto& transfer : transfers_of(peer)) {
    auto* record = transfer->outstanding.front();
    if (record == nullptr || record->lane != lane.number || record->state != OperationState::parked) continue;
    if (record->immediate_number == 0 || record->immediate_number > lane.immediates_heard_by_peer) continue;
    transfer->notify_sent = true;
    ++stats_.messages_sent;
    conclude(peer, *record, Status());
  }
}

// Both ends of a lane are gone: what it held can't land any more, and goes over another one.
void EngineCore::release_parked(PeerEntry& peer, LaneState& lane) {
  const memory::LaneNumber number = lane.number;
  settle_immediates(peer, lane);
  for (const auto& transfer : transfers_of(peer)) {
    OperationRecord* next = nullptr;
    for (OperationRecord* record = transfer->outstanding.front(); record != nullptr; record = next) {
      next = transfer->outstanding.next(*record);
      if (record->lane != number || record->state != OperationState::parked) continue;
      if (transfer->phase == Phase::running) {
        repeat_or_fail(peer, *record,
                       Status(StatusCode::unavailable, fmt::format("its lane was lost {} times", record->attempts)));
        if (transfer->phase != Phase::running) break;
      } else {
        drop_operation(*record);
      }
    }
    // A failure above leaves the rest of this lane's operations parked.
    if (transfer->phase == Phase::ending) {
      for (OperationRecord* record = transfer->outstanding.front(); record != nullptr; record = next) {
        next = transfer->outstanding.next(*record);
        if (record->lane == number && record->state == OperationState::parked) drop_operation(*record);
      }
    }
    finish_if_over(peer, *transfer);
  }
  if (number == peer.control_lane) return;
  std::erase_if(peer.lanes, [number](const auto& entry) { return entry->number == number; });
}

// Only where it is needed: the checksum of a few bytes tells what they are, also to a peer that may only write.
void EngineCore::on_verify(PeerEntry& peer, const engine::Verify& message) {
  uint32_t max_bytes = 0;
  for (const auto& lane : peer.lanes) {
    const Capabilities& capabilities = lane->transport->capabilities();
    if (!capabilities.carries_checksums) max_bytes = std::max(max_bytes, capabilities.max_operation_bytes);
  }
  if (message.length > max_bytes) {
    return lose(peer, Status(StatusCode::protocol, "the peer asked for a checksum of more than an operation that needs one"));
  }
  engine::Verified answer{message.check, false, 0};
  const auto grant = peer.grants.made.find(message.grant);
  const bool readable = grant != peer.grants.made.end() && !grant->second.registration->on_device();
  if (readable && !grant->second.revoking) {
    const auto memory = grant->second.memory();
    if (message.offset <= memory.size() && message.length <= memory.size() - message.offset) {
      answer.ok = true;
      answer.crc32c = base::crc32c(memory.subspan(static_cast<size_t>(message.offset), message.length));
    }
  }
  send_control(peer, answer);
}

void EngineCore::on_verified(PeerEntry& peer, const engine::Verified& message) {
  OperationRecord* record = operations_.find(message.check);
  if (record == nullptr || record->state != OperationState::verifying || record->transfer->peer != peer.id) return;
  if (!message.ok)
    return conclude(peer, *record, Status(StatusCode::refused, "the grant was revoked before its bytes were verified"));
  if (base::crc32c(transfer::local_memory(*record)) == message.crc32c) return conclude(peer, *record, Status());
  ++stats_.checksum_failures;
  conclude(peer, *record, Status(StatusCode::corrupt, "the checksum does not match"));
}

}  // namespace haul::detail
