// Cutting transfers into operations.
#include "transfer/state.h"

#include <algorithm>
#include <memory>
#include <utility>

namespace haul::transfer {

namespace {

constexpr uint64_t slot_of(uint64_t id) { return id & 0xffffffffU; }
constexpr uint64_t one_generation = uint64_t{1} << 32;

bool reached_by(const detail::TransferState& state, size_t piece, LaneName lane) {
  const PlannedPiece& planned = state.pieces[piece];
  return planned.remote->on_lane(lane.number) != nullptr && planned.local->held_by(lane.transport_index);
}

OperationRecord* find_again(const detail::TransferState& state, LaneName lane) {
  for (OperationRecord* record = state.again.front(); record != nullptr; record = state.again.next(*record)) {
    if (record->alone && !(state.outstanding.empty() && state.all_cut())) continue;
    if (reached_by(state, record->piece, lane)) return record;
  }
  return nullptr;
}

bool can_cut(const detail::TransferState& state, LaneName lane) {
  return !state.all_cut() && reached_by(state, state.cursor_piece, lane);
}

void skip_empty_pieces(detail::TransferState& state) {
  while (!state.all_cut() && state.cursor_offset == state.pieces[state.cursor_piece].length) {
    ++state.cursor_piece;
    state.cursor_offset = 0;
  }
}

}  // namespace

void renew(detail::TransferState& state) {
  const auto emptied = [](auto& vector) {
    vector.clear();
    return std::move(vector);
  };
  auto pieces = emptied(state.pieces);
  auto memory = emptied(state.memory);
  auto grants = emptied(state.grants);
  std::destroy_at(&state);
  std::construct_at(&state);
  state.pieces = std::move(pieces);
  state.memory = std::move(memory);
  state.grants = std::move(grants);
}

OperationRecord& OperationPool::take() {
  if (free_.empty()) {
    const auto slot = static_cast<uint32_t>(records_.size());
    records_.emplace_back().id = slot;
    free_.push_back(slot);
  }
  OperationRecord& record = records_[free_.back()];
  free_.pop_back();
  return record;
}

void OperationPool::give_back(OperationRecord& record) {
  base::check(!record.linked(), "a listed operation is given back");
  const uint64_t id = record.id + one_generation;
  record = OperationRecord();
  record.id = id;
  free_.push_back(static_cast<uint32_t>(slot_of(id)));
}

OperationRecord* OperationPool::find(uint64_t id) {
  if (slot_of(id) >= records_.size()) return nullptr;
  OperationRecord& record = records_[slot_of(id)];
  return record.id == id && record.state != OperationState::free ? &record : nullptr;
}

OperationRecord* next_operation(detail::TransferState& state, OperationPool& pool, LaneName lane, uint32_t max_bytes) {
  if (OperationRecord* record = find_again(state, lane)) {
    state.again.remove(*record);
    return record;
  }
  if (!can_cut(state, lane)) return nullptr;
  const PlannedPiece& piece = state.pieces[state.cursor_piece];
  OperationRecord& record = pool.take();
  record.transfer = &state;
  record.piece = static_cast<uint32_t>(state.cursor_piece);
  record.index = state.operations_cut++;
  record.piece_offset = state.cursor_offset;
  record.length = static_cast<uint32_t>(std::min<uint64_t>(max_bytes, piece.length - state.cursor_offset));
  record.state = OperationState::again;
  state.cursor_offset += record.length;
  skip_empty_pieces(state);
  return &record;
}

bool has_operation_for(const detail::TransferState& state, LaneName lane) {
  return find_again(state, lane) != nullptr || can_cut(state, lane);
}

bool is_checked(const OperationRecord& record) {
  return record.transfer->checked && !record.transfer->pieces[record.piece].on_device();
}

uint64_t count_operations(std::span<const PlannedPiece> pieces, uint32_t max_bytes) {
  uint64_t count = 0;
  for (const PlannedPiece& piece : pieces) count += (piece.length + max_bytes - 1) / max_bytes;
  return count;
}

std::span<std::byte> local_memory(const OperationRecord& record) {
  const PlannedPiece& piece = record.transfer->pieces[record.piece];
  return piece.local->memory.subspan(static_cast<size_t>(piece.local_offset + record.piece_offset), record.length);
}

}  // namespace haul::transfer
