// Filling lanes: the least loaded one first, a bounded batch at a time.
#include "schedule/scheduler.h"

#include <algorithm>

#include "base/crc32c.h"
#include "transfer/tag.h"

namespace haul::schedule {

namespace {

constexpr size_t max_batch_operations = 64;

// Small enough that several lanes share a large transfer, large enough that one call feeds a socket well.
constexpr uint64_t max_batch_bytes = uint64_t{1} << 20;

struct Choice {
  Lane* lane = nullptr;
  size_t index = 0;
};

Choice least_loaded(std::span<Lane* const> lanes, uint64_t excluded) {
  Choice best;
  for (size_t i = 0; i < lanes.size(); ++i) {
    Lane& lane = *lanes[i];
    if (!lane.ready || lane.blocked || ((excluded >> i) & 1U) != 0) continue;
    if (lane.operations_outstanding >= lane.transport->capabilities().max_operations) continue;
    if (best.lane == nullptr || lane.bytes_outstanding < best.lane->bytes_outstanding) best = {&lane, i};
  }
  return best;
}

}  // namespace

struct Scheduler::Batch {
  std::array<Operation, max_batch_operations> operations;
  std::array<transfer::OperationRecord*, max_batch_operations> records{};
  size_t size = 0;
  uint64_t bytes = 0;

  bool full() const { return size == max_batch_operations || bytes >= max_batch_bytes; }
};

Scheduler::Scheduler() : batch_(std::make_unique<Batch>()) {}
Scheduler::~Scheduler() = default;

void Scheduler::enter(detail::TransferState& transfer) {
  if (static_cast<base::ListLink<transfer::InReady>&>(transfer).linked()) return;
  ready_[transfer.priority].push_back(transfer);
  ++waiting_;
}

void Scheduler::leave(detail::TransferState& transfer) {
  if (!static_cast<base::ListLink<transfer::InReady>&>(transfer).linked()) return;
  ready_.at(transfer.priority).remove(transfer);
  --waiting_;
}

size_t Scheduler::run(std::span<Lane* const> lanes, transfer::OperationPool& pool, TimePoint now,
                      std::vector<detail::TransferState*>& posted, Gate* gate) {
  Admission admission(gate, now);
  size_t total = 0;
  uint64_t excluded = 0;  // lanes for which nothing is ready; there are at most 64
  while (!empty()) {
    const auto [lane, lane_index] = least_loaded(lanes, excluded);
    if (lane == nullptr) break;
    Batch& batch = *batch_;
    batch.size = 0;
    batch.bytes = 0;
    if (fill(*lane, pool, admission, batch) == 0) {
      excluded |= uint64_t{1} << lane_index;
      continue;
    }
    total += post(*lane, batch, now, admission);
    for (size_t i = 0; i < batch.size; ++i) {
      detail::TransferState& transfer = *batch.records[i]->transfer;
      if (transfer.has_work()) continue;
      if (!static_cast<base::ListLink<transfer::InReady>&>(transfer).linked()) continue;
      leave(transfer);
      posted.push_back(&transfer);
    }
  }
  return total;
}

size_t Scheduler::fill(Lane& lane, transfer::OperationPool& pool, Admission& admission, Batch& batch) {
  for (auto& [priority, queue] : ready_) {
    // One turn for each transfer of this priority; those that still have work go to the back. Who got nothing because the gate
    // is closed keeps its turn.
    detail::TransferState* next = queue.front();
    for (size_t turns = queue.size(); turns > 0 && !batch.full(); --turns) {
      detail::TransferState& transfer = *next;
      next = queue.next(transfer);
      const size_t before = batch.size;
      if (!admission.closed(transfer.op)) take_from(transfer, lane, pool, admission, batch);
      if (batch.size == before && admission.closed(transfer.op)) continue;
      queue.remove(transfer);
      queue.push_back(transfer);
    }
    if (batch.full()) break;
  }
  return batch.size;
}

void Scheduler::take_from(detail::TransferState& transfer, Lane& lane, transfer::OperationPool& pool, Admission& admission,
                          Batch& batch) {
  const Capabilities& capabilities = lane.transport->capabilities();
  while (!batch.full() && lane.operations_outstanding + batch.size < capabilities.max_operations) {
    transfer::OperationRecord* record =
        transfer::next_operation(transfer, pool, {lane.number, lane.transport_index}, lane.operation_bytes);
    if (record == nullptr) return;
    if (admission.controlled() && !admission.admits(transfer.op, record->length, transfer.priority)) {
      record->state = transfer::OperationState::again;
      return transfer.again.push_front(*record);
    }
    const transfer::PlannedPiece& piece = transfer.pieces[record->piece];
    record->lane = lane.number;
    transfer.outstanding.push_back(*record);
    const bool whole = record->length == transfer.bytes_total;
    const bool immediate = transfer.immediate && capabilities.carries_immediates && whole && !transfer.notify_after_completion;
    // Without an immediate, or a count of what landed, only completion tells that all is placed.
    if (!immediate && (transfer.immediate || !capabilities.reports_landed)) transfer.notify_after_completion = true;

    Operation& operation = batch.operations[batch.size];
    operation.op = transfer.op;
    operation.id = record->id;
    operation.tag =
        transfer.notify_serial != 0 ? transfer::make_tag(transfer.notify_serial, record->index) : transfer::untracked_tag;
    operation.local = piece.local->regions[lane.transport_index].get();
    operation.local_offset = piece.local_offset + record->piece_offset;
    operation.remote = piece.remote->on_lane(lane.number);
    operation.remote_offset = piece.remote_offset + record->piece_offset;
    operation.length = record->length;
    operation.crc32c.reset();
    operation.immediate.reset();
    if (immediate) operation.immediate = transfer.immediate;
    if (capabilities.carries_checksums && transfer::is_checked(*record)) {
      if (!record->crc32c) record->crc32c = transfer.op == Op::write ? base::crc32c(transfer::local_memory(*record)) : 0;
      operation.crc32c = record->crc32c;
    }
    batch.records[batch.size++] = record;
    batch.bytes += record->length;
  }
}

size_t Scheduler::post(Lane& lane, Batch& batch, TimePoint now, Admission& admission) {
  const size_t taken = lane.transport->post(lane.connection, std::span(batch.operations).first(batch.size), now);
  for (size_t i = 0; i < taken; ++i) {
    batch.records[i]->state = transfer::OperationState::posted;
    ++batch.records[i]->attempts;
    const auto& immediate = batch.operations[i].immediate;
    batch.records[i]->immediate_number = immediate ? lane.immediates.add(*immediate) : 0;
    ++lane.operations_outstanding;
    lane.bytes_outstanding += batch.records[i]->length;
    if (admission.controlled()) batch.records[i]->ticket = admission.posted(batch.operations[i].op, batch.records[i]->length);
  }
  // What was not taken keeps its place at the front.
  for (size_t i = batch.size; i > taken; --i) {
    transfer::OperationRecord& record = *batch.records[i - 1];
    if (admission.controlled()) admission.refused(record.transfer->op, record.length);
    record.transfer->outstanding.remove(record);
    record.state = transfer::OperationState::again;
    record.transfer->again.push_front(record);
  }
  if (taken < batch.size) lane.blocked = true;
  return taken;
}

}  // namespace haul::schedule
