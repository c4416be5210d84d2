// Transfers: from the call to the end.
#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "engine/core.h"
#include "transfer/tag.h"

namespace haul::detail {

using engine::PeerPhase;
using transfer::Phase;

namespace {

// Fewer than what a receiver may have open (LandingTracker::max_open), so that a burst of them is never a fault.
// Notifications that the peer has not confirmed; more go over the first lane.
constexpr size_t max_unconfirmed = 1024;

constexpr uint64_t max_open_notifications = 2048;

constexpr size_t max_spare_transfers = 256;

template <typename T>
void keep(std::vector<std::shared_ptr<T>>& owners, const std::shared_ptr<T>& owner) {
  if (owners.empty() || (owners.back() != owner && std::find(owners.begin(), owners.end(), owner) == owners.end()))
    owners.push_back(owner);
}

bool within(uint64_t offset, uint64_t length, uint64_t size) { return offset <= size && length <= size - offset; }

}  // namespace

Transfer EngineCore::start(uint64_t peer_id, Op op, std::span<const Piece> pieces, TransferOptions options) {
  now_ = clock_->now();
  auto state = new_transfer();
  state->peer = peer_id;
  state->op = op;
  state->priority = options.priority;
  state->checked = options_.integrity == Integrity::crc32c;
  state->on_done = std::move(options.on_done);
  if (options.notify) state->notify.emplace(reinterpret_cast<const char*>(options.notify->data()), options.notify->size());
  ++stats_.transfers_started;

  PeerEntry* peer = find_peer(peer_id);
  Status status = peer == nullptr ? peer_status(peer_id) : admit(*peer, options);
  if (status.ok() && op == Op::read && state->notify)
    status = Status(StatusCode::invalid, "only puts can notify: the bytes of a get land here");
  if (status.ok()) status = plan(*peer, *state, pieces);
  if (status.ok() && options.timeout && *options.timeout <= Duration::zero()) {
    status = Status(StatusCode::timed_out, "the deadline had passed when the transfer was started");
  }
  if (status.ok()) status = resolve(*peer, *state);
  if (!status.ok() && state->phase != Phase::waiting) {
    finish(nullptr, *state, status);
    return Transfer(std::move(state));
  }
  peer->transfers.push_back(*state);
  if (options.timeout) {
    state->deadline = now_ + *options.timeout;
    set_transfer_timer(*state, *state->deadline);
  }
  if (state->phase == Phase::waiting) {
    // The announcement of its grant is on the way, or never was sent: then the owner restarted or the handle is forged.
    if (!state->deadline) set_transfer_timer(*state, now_ + options_.peer_timeout);
  } else {
    activate(*peer, *state);
  }
  return Transfer(std::move(state));
}

std::shared_ptr<TransferState> EngineCore::new_transfer() {
  const uint64_t id = next_transfer_++;
  std::shared_ptr<TransferState> state;
  if (spare_transfers_.empty()) {
    state = std::make_shared<TransferState>();
    transfers_.emplace(id, state);
  } else {
    Transfers::node_type& spare = spare_transfers_.back();
    state = spare.mapped();
    spare.key() = id;
    transfers_.insert(std::move(spare));
    spare_transfers_.pop_back();
  }
  state->core = this;
  state->id = id;
  return state;
}

void EngineCore::retire(Transfers::node_type transfer) {
  // A handle may still ask how it ended.
  if (transfer.mapped().use_count() > 1 || spare_transfers_.size() == max_spare_transfers) return;
  transfer::renew(*transfer.mapped());
  spare_transfers_.push_back(std::move(transfer));
}

Transfer EngineCore::start_nowhere(Op op, const TransferOptions& options) {
  auto state = std::make_shared<TransferState>();
  state->op = op;
  state->phase = Phase::done;
  state->status = Status(StatusCode::invalid, "an empty Peer moves nothing: take one from Engine::connect or on_peer");
  // There is no poll() that the callback could come from.
  if (options.on_done) options.on_done(TransferResult{state->status, 0});
  return Transfer(std::move(state));
}

Status EngineCore::admit(const PeerEntry& peer, const TransferOptions& options) const {
  if (peer.phase == PeerPhase::losing || peer.phase == PeerPhase::leaving)
    return Status(StatusCode::peer_lost, "the peer is being closed");
  if (!peer.usable()) return Status(StatusCode::unavailable, "the peer is not connected yet: wait for on_ready");
  if (transfers_.size() > options_.max_transfers) {
    return Status(StatusCode::busy,
                  fmt::format("{} transfers run already (EngineOptions::max_transfers)", options_.max_transfers));
  }
  if (!options.notify) return {};
  const uint32_t max_bytes = std::min(options_.max_message_bytes, peer.theirs.max_message_bytes);
  if (options.notify->size() > max_bytes) {
    return Status(StatusCode::invalid,
                  fmt::format("a notification of {} bytes: at most {} are allowed", options.notify->size(), max_bytes));
  }
  if (peer.open_notifications + peer.control_queue.size() >= max_open_notifications) {
    return Status(StatusCode::busy, "too many transfers with notifications run already: try after some of them ended");
  }
  return {};
}

Status EngineCore::plan(PeerEntry& peer, TransferState& transfer, std::span<const Piece> pieces) const {
  transfer.pieces.reserve(pieces.size());
  for (const Piece& piece : pieces) {
    if (Status status = plan_piece(peer, transfer, piece); !status.ok()) return status;
  }
  uint32_t cut_bytes = most_operation_bytes_;
  for (const auto& lane : peer.lanes) cut_bytes = std::min(cut_bytes, lane->operation_bytes);
  if (transfer::count_operations(transfer.pieces, cut_bytes) >= transfer::max_operations_per_transfer) {
    return Status(StatusCode::invalid, "the transfer has too many operations (16 million): split it");
  }
  return {};
}

Status EngineCore::plan_piece(PeerEntry& peer, TransferState& transfer, const Piece& piece) const {
  const auto invalid = [](std::string what) { return Status(StatusCode::invalid, std::move(what)); };
  const auto& [local, remote] = piece;
  if (local.buffer == nullptr || local.buffer->empty()) return invalid("the local slice has no buffer");
  if (remote.buffer == nullptr) return invalid("the remote slice has no buffer");
  if (local.length != remote.length) {
    return invalid(
        fmt::format("the local slice has {} bytes, the remote one {}: they must be the same", local.length, remote.length));
  }
  if (!within(local.offset, local.length, local.buffer->size())) {
    return invalid(fmt::format("local range {}+{} is not inside its buffer of {} bytes", local.offset, local.length,
                               local.buffer->size()));
  }
  if (!within(remote.offset, remote.length, remote.buffer->size())) {
    return invalid(fmt::format("remote range {}+{} is not inside the granted {} bytes", remote.offset, remote.length,
                               remote.buffer->size()));
  }
  if (remote.buffer->owner_incarnation() != peer.theirs.incarnation) {
    return Status(StatusCode::refused,
                  "the remote buffer is stale: it was granted by an earlier life of the peer, or by another peer. "
                  "Ask its owner for a new one");
  }
  const Rights wanted = transfer.op == Op::write ? Rights::write : Rights::read;
  if (!allows(remote.buffer->rights(), wanted)) {
    return Status(StatusCode::refused,
                  fmt::format("the remote buffer may not be {}", transfer.op == Op::write ? "written" : "read"));
  }
  const auto& registration = local.buffer->registration_;
  if (registration->table != &memory_) return invalid("the local buffer belongs to another engine");
  if (local.length == 0) return {};
  keep(transfer.memory, registration);
  transfer.pieces.push_back(
      {registration.get(), local.offset, nullptr, remote.buffer->grant_id(), remote.offset, local.length});
  transfer.bytes_total += local.length;
  return {};
}

// Finds the grants of all pieces. `busy` (and phase waiting) if one is not announced yet.
Status EngineCore::resolve(PeerEntry& peer, TransferState& transfer) {
  const std::shared_ptr<memory::HeldGrant>* found = nullptr;
  bool unreachable = false;
  for (transfer::PlannedPiece& piece : transfer.pieces) {
    if (found == nullptr || (*found)->id != piece.remote_grant) {
      const auto held = peer.grants.held.find(piece.remote_grant);
      if (held == peer.grants.held.end()) {
        if (piece.remote_grant <= peer.grants.highest_held) {
          return Status(
              StatusCode::refused,
              fmt::format("grant {} was revoked by its owner, or expired, or was made for another peer", piece.remote_grant));
        }
        transfer.phase = Phase::waiting;
        return Status(StatusCode::busy, "the grant is not announced yet");
      }
      found = &held->second;
      keep(transfer.grants, *found);
    }
    if (!within(piece.remote_offset, piece.length, (*found)->length)) {
      return Status(StatusCode::invalid, "the remote buffer claims more bytes than its owner granted");
    }
    piece.remote = found->get();
    if (!piece.on_device()) continue;
    transfer.on_device = true;
    if (!has_lane_for(peer, piece)) unreachable = true;
  }
  transfer.phase = Phase::running;
  return unreachable ? no_lane_for_device_memory() : Status();
}

void EngineCore::activate(PeerEntry& peer, TransferState& transfer) {
  if (transfer.notify) {
    transfer.notify_counted = true;
    ++peer.open_notifications;
    if (may_be_immediate(peer, transfer)) {
      std::memcpy(transfer.immediate.emplace().data(), transfer.notify->data(), sizeof(Immediate));
    } else {
      transfer.notify_serial = peer.next_notify_serial++;
    }
  }
  if (transfer.has_work()) {
    peer.scheduler.enter(transfer);
  } else {
    on_all_posted(peer, transfer);
    finish_if_over(peer, transfer);
  }
}

// One operation, one notification of the right size, no checksum to wait for: then the write can be the notification.
bool EngineCore::may_be_immediate(const PeerEntry& peer, const TransferState& transfer) {
  if (transfer.checked || transfer.pieces.size() != 1 || transfer.notify->size() != sizeof(Immediate)) return false;
  if (peer.data_lanes.empty()) return false;
  const schedule::Lane& lane = *peer.data_lanes.front();
  return lane.transport->capabilities().carries_immediates && transfer.bytes_total <= lane.operation_bytes;
}

// The notification follows the writes at once: its receiver holds it back until it has counted all of them.
void EngineCore::on_all_posted(PeerEntry& peer, TransferState& transfer) {
  if (!transfer.notify || transfer.notify_sent || transfer.notify_after_completion || transfer.immediate) return;
  send_notification(peer, transfer, transfer.operations_cut);
}

void EngineCore::send_notification(PeerEntry& peer, TransferState& transfer, uint32_t count) {
  transfer.notify_sent = true;
  ++stats_.messages_sent;
  if (transfer.notify_serial == 0) transfer.notify_serial = peer.next_notify_serial++;
  const engine::Notify message{transfer.notify_serial, count, std::as_bytes(std::span(*transfer.notify))};
  if (!notify_beside_payload(peer, transfer, message)) send_control(peer, message);
}

// Lanes of another kind than the first are faster: the notification goes with the payload. It is kept until the peer has it.
bool EngineCore::notify_beside_payload(PeerEntry& peer, const TransferState& transfer, const engine::Notify& message) {
  if (peer.data_lanes.empty() || peer.unconfirmed.size() >= max_unconfirmed) return false;
  const auto* record = transfer.outstanding.front();
  const schedule::Lane* last = record != nullptr ? peer.lane(record->lane) : nullptr;
  const schedule::Lane& lane = last != nullptr && last->ready ? *last : *peer.data_lanes.front();
  if (lane.transport == peer.control().transport) return false;
  auto bytes = engine::encode(message);
  if (bytes.size() > lane.transport->capabilities().max_message_bytes) return false;
  if (!lane.transport->send(lane.connection, bytes, now_)) return false;
  peer.unconfirmed.insert_or_assign(message.serial, PeerEntry::SentNotification{lane.number, std::move(bytes)});
  return true;
}

// The peer delivers each once, though it may have come already.
void EngineCore::notify_again(PeerEntry& peer, const LaneState& lane) {
  for (auto it = peer.unconfirmed.begin(); it != peer.unconfirmed.end();) {
    if (it->second.lane != lane.number) {
      ++it;
      continue;
    }
    if (auto message = engine::decode(it->second.message)) send_control(peer, *message);
    it = peer.unconfirmed.erase(it);
  }
}

void EngineCore::cancel(TransferState& transfer) {
  if (transfer.phase == Phase::done || transfer.phase == Phase::ending) return;
  now_ = clock_->now();
  PeerEntry* peer = find_peer(transfer.peer);
  if (peer != nullptr) end_early(*peer, transfer, Status(StatusCode::cancelled, "cancelled by the caller"));
}

// A copy that stays valid while transfers end.
std::vector<std::shared_ptr<TransferState>> EngineCore::transfers_of(const PeerEntry& peer) const {
  std::vector<std::shared_ptr<TransferState>> all;
  all.reserve(peer.transfers.size());
  for (auto* transfer = peer.transfers.front(); transfer != nullptr; transfer = peer.transfers.next(*transfer)) {
    all.push_back(transfers_.at(transfer->id));
  }
  return all;
}

// Nothing new is posted; what is out is called back; the end comes when all of it is over.
void EngineCore::end_early(PeerEntry& peer, TransferState& transfer, Status status) {
  if (transfer.phase == Phase::done || transfer.phase == Phase::ending) return;
  transfer.phase = Phase::ending;
  transfer.status = std::move(status);
  peer.scheduler.leave(transfer);
  drop_unposted(transfer);
  transfer.quiet_deadline = now_ + options_.peer_timeout;
  set_transfer_timer(transfer, *transfer.quiet_deadline);
  for (auto* record = transfer.outstanding.front(); record != nullptr; record = transfer.outstanding.next(*record)) {
    if (record->state != transfer::OperationState::posted) continue;
    const LaneState* lane = peer.lane(record->lane);
    if (lane != nullptr) lane->transport->cancel(lane->connection, record->id, now_);
  }
  finish_if_over(peer, transfer);
}

void EngineCore::finish_if_over(PeerEntry& peer, TransferState& transfer) {
  if (!transfer.outstanding.empty() || transfer.phase == Phase::done || transfer.phase == Phase::waiting) return;
  if (transfer.phase == Phase::running) {
    if (transfer.has_work()) return;
    // Writes that moved to a lane which reports no landings are not counted there: a notification sent before is overtaken.
    if (transfer.notify && (!transfer.notify_sent || transfer.notify_after_completion)) send_notification(peer, transfer, 0);
    return finish(&peer, transfer, Status());
  }
  drop_unposted(transfer);
  // A cancel that came too late cancelled nothing.
  const bool complete =
      transfer.all_cut() && transfer.bytes_done == transfer.bytes_total && (!transfer.notify || transfer.notify_sent);
  if (complete && transfer.status.code() != StatusCode::corrupt) return finish(&peer, transfer, Status());
  if (transfer.notify_serial != 0 && peer.phase != PeerPhase::losing)
    send_control(peer, engine::Abandon{transfer.notify_serial});
  finish(&peer, transfer, transfer.status);
}

void EngineCore::finish(PeerEntry* peer, TransferState& transfer, Status status) {
  const bool ok = status.ok();
  if (ok) {
    ++stats_.transfers_completed;
  } else {
    ++stats_.transfers_failed;
  }
  transfer.phase = Phase::done;
  transfer.status = std::move(status);
  clear_transfer_timer(transfer);
  if (transfer.notify_counted && peer != nullptr) --peer->open_notifications;
  if (peer != nullptr) {
    peer->scheduler.leave(transfer);
    peer->transfers.remove(transfer);
  }
  transfer.memory.clear();
  transfer.grants.clear();
  transfer.pieces.clear();
  // The last use of `transfer`, unless a handle or the queue holds it.
  auto owned = transfers_.extract(transfer.id);
  if (transfer.on_done) {
    deferred_.emplace_back(std::move(owned));
  } else {
    retire(std::move(owned));
  }
  if (peer != nullptr) leave_if_idle(*peer);
}

// One timer a transfer, taken back when it ends: their number is bounded by the running transfers.
void EngineCore::set_transfer_timer(TransferState& transfer, TimePoint when) {
  clear_transfer_timer(transfer);
  transfer.timer = when;
  transfer_timers_.emplace(when, transfer.id);
}

void EngineCore::clear_transfer_timer(TransferState& transfer) {
  if (transfer.timer) transfer_timers_.erase({*transfer.timer, transfer.id});
  transfer.timer.reset();
}

void EngineCore::on_transfer_timer(TransferState& transfer) {
  PeerEntry* peer = find_peer(transfer.peer);
  if (peer == nullptr) return;
  switch (transfer.phase) {
    case Phase::done: return;
    case Phase::waiting:
      if (transfer.deadline && *transfer.deadline > now_) return;
      return finish(peer, transfer,
                    transfer.deadline
                        ? Status(StatusCode::timed_out, "the deadline passed before the grant was announced by its owner")
                        : Status(StatusCode::refused, "the remote buffer's owner never announced such a grant to this engine"));
    case Phase::running:
      if (transfer.deadline && *transfer.deadline <= now_) {
        end_early(*peer, transfer,
                  Status(StatusCode::timed_out, fmt::format("the deadline passed; {} of {} bytes were placed; it waited for {}",
                                                            transfer.bytes_done, transfer.bytes_total, waiting_for(transfer))));
      }
      return;
    case Phase::ending:
      if (!transfer.quiet_deadline || *transfer.quiet_deadline > now_) return;
      // Quiet could not be proven in time: the lanes that still hold operations are destroyed.
      for (auto* record = transfer.outstanding.front(); record != nullptr; record = transfer.outstanding.next(*record)) {
        if (LaneState* lane = peer->lane(record->lane)) close_lane(*lane, CloseMode::abort);
      }
      return;
  }
}

}  // namespace haul::detail
