// Transfers of a random schedule, and what must be true of memory.
#include <fmt/format.h>

#include "base/bytes.h"
#include "contract/schedules/schedule.h"

namespace haul::contract {

using namespace std::chrono_literals;

void Schedule::start_move() {
  const size_t index = random_.below(2);
  Side& side = sides_[index];
  if (!side.connected || !side.remote) return;
  auto move = std::make_unique<Move>();
  move->number = moves_.size();
  move->side = index;
  move->epoch = epoch_;
  move->op = random_.chance(0.6) ? Op::write : Op::read;
  move->remote = side.remote;
  const bool as_batch = random_.chance(0.4);
  const uint64_t pieces = as_batch ? 1 + random_.below(12) : 1;
  for (uint64_t i = 0; i < pieces && add_segment(*move); ++i) {
  }
  if (move->segments.empty()) return;
  moves_.push_back(std::move(move));
  begin(*moves_.back(), as_batch);
}

bool Schedule::add_segment(Move& move) {
  const bool writes = move.op == Op::write;
  Arena& here = *sides_[move.side].arena;
  Arena& there = *sides_[other(move.side)].arena;
  const size_t slots = 1 + random_.below(move.segments.empty() ? 12 : 2);
  const auto local = here.take(random_, slots, writes ? Arena::Use::source : Arena::Use::destination);
  if (!local) return false;
  const auto remote = there.take(random_, slots, writes ? Arena::Use::destination : Arena::Use::source);
  if (!remote) {
    here.release(*local, slots);
    return false;
  }
  Segment segment{};
  segment.length = random_.below(slots * Arena::slot_bytes + 1);
  segment.local_offset = *local * Arena::slot_bytes + random_.below(slots * Arena::slot_bytes - segment.length + 1);
  segment.remote_offset = *remote * Arena::slot_bytes + random_.below(slots * Arena::slot_bytes - segment.length + 1);
  segment.local_slot = *local;
  segment.remote_slot = *remote;
  segment.slots = slots;
  const auto source =
      writes ? here.bytes(segment.local_offset, segment.length) : there.bytes(segment.remote_offset, segment.length);
  segment.expected.assign(source.begin(), source.end());
  move.segments.push_back(std::move(segment));
  return true;
}

void Schedule::begin(Move& move, bool as_batch) {
  Side& side = sides_[move.side];
  move.losses_before = losses();
  TransferOptions options;
  if (random_.chance(0.2)) options.timeout = Duration(random_.below(20'000'000));
  if (random_.chance(0.3)) options.priority = static_cast<uint8_t>(random_.below(256));
  options.on_done = [this, &move](const TransferResult& result) { on_done(move, result); };
  std::array<std::byte, 9> note{};
  base::ByteWriter writer(note);
  writer.put(uint8_t{'n'});
  writer.put(move.number);
  move.notifies = move.op == Op::write && random_.chance(0.4);
  if (move.notifies) options.notify = note;

  std::vector<Piece> pieces;
  for (const Segment& segment : move.segments) {
    pieces.push_back(
        {side.buffer.slice(segment.local_offset, segment.length), move.remote->slice(segment.remote_offset, segment.length)});
  }
  if (as_batch) {
    move.transfer = move.op == Op::write ? side.peer.put_batch(pieces, std::move(options))
                                         : side.peer.get_batch(pieces, std::move(options));
  } else {
    const Piece& piece = pieces.front();
    move.transfer = move.op == Op::write ? side.peer.put(piece.local, piece.remote, std::move(options))
                                         : side.peer.get(piece.local, piece.remote, std::move(options));
  }
}

void Schedule::check_placed(const Move& move, const char* when) const {
  const bool writes = move.op == Op::write;
  const Arena& arena = *sides_[writes ? other(move.side) : move.side].arena;
  for (const Segment& segment : move.segments) {
    const auto there = arena.bytes(writes ? segment.remote_offset : segment.local_offset, segment.length);
    if (!std::equal(there.begin(), there.end(), segment.expected.begin())) {
      throw Broken(fmt::format("transfer {}: the bytes are not there {}", move.number, when));
    }
  }
}

void Schedule::on_done(Move& move, const TransferResult& result) {
  try {
    if (++move.calls > 1) throw Broken(fmt::format("transfer {} ended twice", move.number));
    move.saw_loss = losses() != move.losses_before;
    if (move.orphaned) throw Broken(fmt::format("transfer {} of a destroyed engine ended", move.number));
    const StatusCode code = result.status.code();
    if (code == StatusCode::ok) check_placed(move, "although it ended ok");
    if (code == StatusCode::internal || code == StatusCode::busy || code == StatusCode::invalid ||
        code == StatusCode::protocol) {
      throw Broken(fmt::format("transfer {} ended as {}", move.number, result.status.to_string()));
    }
    if (code == StatusCode::corrupt && !corrupts_)
      throw Broken(fmt::format("transfer {} is corrupt on a clean link", move.number));
    release_local(move);
    // After a loss the other side's memory is suspect until its engine reports it, which it may have done.
    const bool other_side_over = move.epoch != epoch_ || !sides_[other(move.side)].connected;
    const bool suspect = code == StatusCode::peer_lost && !other_side_over;
    const bool notification_due = move.notifies && code == StatusCode::ok && move.notifications == 0 && !other_side_over;
    if (!suspect && !notification_due) release_remote(move);
  } catch (const Broken& found) {
    if (first_broken_.empty()) first_broken_ = found.what();
  }
}

void Schedule::on_message(size_t side, const Message& message) {
  try {
    base::ByteReader reader(message.payload);
    const uint8_t kind = reader.get<uint8_t>();
    const uint64_t number = reader.get<uint64_t>();
    if (!reader.ok() || (kind == 'n') != message.notification) throw Broken("a message is not one that was sent");
    if (kind == 'n') return on_notification(side, number);
    if (number != sides_[side].next_received) {
      throw Broken(fmt::format("message {} came, {} was next", number, sides_[side].next_received));
    }
    ++sides_[side].next_received;
  } catch (const Broken& found) {
    if (first_broken_.empty()) first_broken_ = found.what();
  }
}

void Schedule::on_notification(size_t side, uint64_t number) {
  if (number >= moves_.size() || moves_[number]->side == side || !moves_[number]->notifies)
    throw Broken("a notification of no transfer");
  Move& move = *moves_[number];
  if (++move.notifications > 1) throw Broken(fmt::format("transfer {} notified twice", number));
  if (move.remote_held) check_placed(move, "when its notification came");
  const bool ended_ok = move.calls == 1 && move.transfer.status().ok();
  if (ended_ok) release_remote(move);
}

/// This side's engine promised that nothing of the connection touches its memory any more.
void Schedule::on_closed(size_t side) {
  sides_[side].connected = false;
  quiet_side(side);
}

void Schedule::quiet_side(size_t side) {
  sides_[other(side)].remote.reset();
  for (const auto& move : moves_) {
    if (move->side == side) {
      if (move->calls == 0 && !move->orphaned && move->transfer.valid() && !move->transfer.done() && first_broken_.empty()) {
        first_broken_ = fmt::format("transfer {} outlived its connection", move->number);
      }
      if (move->orphaned) release_local(*move);
    } else if (move->calls > 0 || move->orphaned) {
      release_remote(*move);
    } else {
      expect_quiet(*move);  // its initiator does not know yet
    }
  }
}

void Schedule::release_local(Move& move) {
  if (!std::exchange(move.local_held, false)) return;
  Arena& arena = *sides_[move.side].arena;
  for (const Segment& segment : move.segments) {
    if (move.op == Op::read) arena.accept(segment.local_offset, segment.length);
    arena.release(segment.local_slot, segment.slots);
  }
}

void Schedule::release_remote(Move& move) {
  if (!std::exchange(move.remote_held, false)) return;
  Arena& arena = *sides_[other(move.side)].arena;
  for (const Segment& segment : move.segments) {
    if (move.op == Op::write && !move.quiet) arena.accept(segment.remote_offset, segment.length);
    arena.release(segment.remote_slot, segment.slots);
  }
}

/// What is there now must be there when the transfer is over: a late byte will show.
void Schedule::expect_quiet(Move& move) {
  if (move.op != Op::write || !move.remote_held || std::exchange(move.quiet, true)) return;
  for (const Segment& segment : move.segments) sides_[other(move.side)].arena->accept(segment.remote_offset, segment.length);
}

void Schedule::check_intact(const char* when) const {
  for (const Side& side : sides_) {
    if (!side.arena->intact()) broken(fmt::format("memory of {} changed that nobody may write, {}", side.node, when));
  }
}

/// Lets everything that was begun come to its end.
void Schedule::settle() {
  world_.heal("a", "b");
  constexpr Duration limit = 60s;
  const auto all_over = [this] {
    return std::all_of(moves_.begin(), moves_.end(), [](const auto& move) { return move->calls > 0 || move->orphaned; });
  };
  if (!step(all_over, limit)) {
    for (const auto& move : moves_) {
      if (move->calls > 0 || move->orphaned) continue;
      broken(fmt::format("transfer {} did not end; it waits for {}", move->number, move->transfer.waiting_for()));
    }
  }
  step([] { return false; }, 5s);
  check_intact("after all had ended");
}

void Schedule::check_end() {
  for (const auto& move : moves_) {
    if (move->orphaned) continue;
    const StatusCode code = move->transfer.status().code();
    const bool may_notify = code == StatusCode::ok || code == StatusCode::peer_lost || move->saw_loss;
    if (move->notifications > 0 && !may_notify)
      broken(fmt::format("transfer {} notified, but ended as {}", move->number, to_string(code)));
    const bool connection_lives = move->epoch == epoch_ && sides_[0].connected && sides_[1].connected;
    if (move->notifies && code == StatusCode::ok && connection_lives && move->notifications == 0) {
      broken(fmt::format("the notification of transfer {} never came", move->number));
    }
  }
  for (const Side& side : sides_) {
    if (side.record->operations_outstanding > 0) broken(fmt::format("{} still has operations outstanding", side.node));
  }
}

}  // namespace haul::contract
