// What the fake one-sided transport does a little of in every poll: joining, placing, messages, revoking.
#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "base/bytes.h"
#include "contract/onesided/transport.h"

namespace haul::onesided {

Status OneSidedTransport::check(const Operation& operation) const {
  if (!regions_.contains(operation.local)) return Status(StatusCode::invalid, "the local region is not registered here");
  if (operation.length == 0 || operation.length > capabilities_.max_operation_bytes) {
    return Status(StatusCode::invalid, fmt::format("a length of {} bytes is not allowed", operation.length));
  }
  const uint64_t size = operation.local->bytes().size();
  if (operation.local_offset > size || operation.length > size - operation.local_offset) {
    return Status(StatusCode::invalid, "the local range is outside its region");
  }
  if (operation.remote == nullptr || operation.remote->size != sizeof(uint64_t)) {
    return Status(StatusCode::invalid, "the remote region is not one of this transport");
  }
  return {};
}

size_t OneSidedTransport::post(ConnectionId connection, std::span<const Operation> operations, TimePoint now) {
  QueuePair* pair = mine(connection);
  size_t taken = 0;
  for (const Operation& operation : operations) {
    if (pair == nullptr || pair->state != QueuePair::State::ready) {
      // After `closed` there are no more events, so nothing can be taken.
      if (pair == nullptr && !closed_is_pending(connection)) break;
      report(Event::Kind::completed, *pairs_.at(connection), operation.id,
             Status(StatusCode::peer_lost, "the connection is not ready"));
      ++taken;
      continue;
    }
    if (pair->work.size() >= capabilities_.max_operations || pending_completions_ >= fabric_.options_.completion_queue) {
      pair->refused_more = true;
      break;
    }
    ++taken;
    if (const Status wrong = check(operation); !wrong.ok()) {
      report(Event::Kind::completed, *pair, operation.id, wrong);
      continue;
    }
    if (pair->work.empty() && pair->outbox.empty()) pair->last_progress = now;
    const uint64_t key = base::ByteReader(operation.remote->bytes()).get<uint64_t>();
    pair->work.push_back({operation.op, operation.id, operation.local->bytes().data() + operation.local_offset, operation.local,
                          key, operation.remote_offset, operation.length});
  }
  return taken;
}

void OneSidedTransport::cancel(ConnectionId connection, uint64_t id, TimePoint) {
  QueuePair* pair = mine(connection);
  if (pair == nullptr) return;
  for (size_t i = 0; i < pair->work.size(); ++i) {
    if (pair->work[i].id != id) continue;
    if (!pair->work[i].started) finish(*pair, i, Status(StatusCode::cancelled, "cancelled before it left"));
    return;
  }
}

void OneSidedTransport::finish(QueuePair& pair, size_t index, Status status) {
  report(Event::Kind::completed, pair, pair.work[index].id, std::move(status));
  pair.work.erase(pair.work.begin() + static_cast<ptrdiff_t>(index));
}

void OneSidedTransport::progress(QueuePair& pair, TimePoint now) {
  using State = QueuePair::State;
  if (pair.state == State::joining) progress_join(pair, now);
  if (pair.state != State::ready && pair.state != State::draining) return;
  progress_revokes(pair);
  if (pair.peer_finished) return end(pair, Status());
  QueuePair* peer = reachable_peer(pair);
  if (peer == nullptr) {
    const bool busy = !pair.work.empty() || !pair.outbox.empty() || pair.state == State::draining;
    if (busy && now >= pair.last_progress + fabric_.options_.dead_after)
      end(pair, Status(StatusCode::peer_lost, "no answer from the peer"));
    return;
  }
  if (peer->state == State::over) return end(pair, Status(StatusCode::peer_lost, "the peer's end is gone"));
  if (fabric_.random_.chance(0.25)) return;  // the wire was busy with something else
  progress_messages(pair, *peer, now);
  progress_work(pair, *peer, now);
  if (pair.state == State::draining && pair.work.empty() && pair.outbox.empty()) {
    peer->peer_finished = true;
    end(pair, Status());
  }
}

/// Whether the next poll can settle how joining ends, or only time can.
bool OneSidedTransport::can_join(const QueuePair& pair) const {
  if (pair.peer == 0) {
    const auto listener = fabric_.listeners_.find(*pair.options.address);
    return listener == fabric_.listeners_.end() || fabric_.reaches(node_, listener->second->node_);
  }
  const QueuePair* peer = reachable_peer(pair);
  return peer != nullptr && peer->state != QueuePair::State::opened;
}

void OneSidedTransport::progress_join(QueuePair& pair, TimePoint now) {
  if (pair.peer == 0) {
    const auto listener = fabric_.listeners_.find(*pair.options.address);
    if (listener == fabric_.listeners_.end()) {
      return end(pair,
                 Status(StatusCode::unavailable, fmt::format("nothing listens at {}", pair.options.address->to_string())));
    }
    OneSidedTransport& server = *listener->second;
    if (!can_join(pair)) {
      if (now >= pair.join_deadline) end(pair, Status(StatusCode::unavailable, "connecting timed out"));
      return;
    }
    QueuePair& accepted = server.add_pair({});
    accepted.peer = pair.number;
    accepted.state = QueuePair::State::ready;
    server.report(Event::Kind::accepted, accepted, 0, {});
    pair.peer = accepted.number;
  }
  const QueuePair* peer = fabric_.find(pair.peer);
  if (peer == nullptr || peer->state == QueuePair::State::over || now >= pair.join_deadline) {
    return end(pair, Status(StatusCode::unavailable, "the peer did not join in time"));
  }
  if (!can_join(pair) || (peer->peer != 0 && peer->peer != pair.number)) return;
  pair.state = QueuePair::State::ready;
  pair.last_progress = now;
  report(Event::Kind::connected, pair, 0, {});
}

void OneSidedTransport::progress_messages(QueuePair& pair, QueuePair& peer, TimePoint now) {
  while (!pair.outbox.empty() && peer.state != QueuePair::State::opened && peer.state != QueuePair::State::joining) {
    Pending pending;
    pending.event.kind = Event::Kind::message;
    pending.event.connection = peer.number;
    pending.message = std::move(pair.outbox.front());
    peer.owner->pending_.push_back(std::move(pending));
    pair.outbox.pop_front();
    pair.last_progress = now;
  }
  const bool room = pair.outbox.size() < fabric_.options_.max_messages && pair.work.size() < capabilities_.max_operations &&
                    pending_completions_ < fabric_.options_.completion_queue;
  if (pair.refused_more && room) {
    pair.refused_more = false;
    report(Event::Kind::writable, pair, 0, {});
  }
}

std::string OneSidedTransport::why_refused(const QueuePair& peer, const Work& work) const {
  const auto it = peer.grants.find(work.key);
  if (it == peer.grants.end()) return "the key is not one of this connection";
  const Grant& grant = it->second;
  if (grant.polls_to_revoked) return "the grant was revoked";
  if (!allows(grant.rights, work.op == Op::write ? Rights::write : Rights::read)) return "the grant does not allow it";
  if (work.remote_offset > grant.range.length || work.length > grant.range.length - work.remote_offset)
    return "it is outside the grant";
  return {};
}

bool OneSidedTransport::start(QueuePair& pair, QueuePair& peer, Work& work) {
  if (work.started) return true;
  const std::string why = why_refused(peer, work);
  if (why.empty()) return work.started = true;
  const auto index = static_cast<size_t>(
      std::find_if(pair.work.begin(), pair.work.end(), [&work](const Work& each) { return &each == &work; }) -
      pair.work.begin());
  finish(pair, index, Status(StatusCode::refused, why));
  fail(pair, Status(StatusCode::peer_lost, "remote access error: " + why));
  return false;
}

void OneSidedTransport::place(QueuePair& peer, Work& work, uint32_t bytes) {
  const Grant& grant = peer.grants.at(work.key);
  std::byte* remote = grant.region->bytes().data() + grant.range.offset + work.remote_offset + work.placed;
  std::byte* local = work.local + work.placed;
  std::byte* to = work.op == Op::write ? remote : local;
  std::memcpy(to, work.op == Op::write ? local : remote, bytes);
  work.placed += bytes;
  if (work.placed == work.length && fabric_.corrupt_left_ > 0) {
    --fabric_.corrupt_left_;
    to[fabric_.random_.below(bytes)] ^= static_cast<std::byte>(1U << fabric_.random_.below(8));
  }
}

bool OneSidedTransport::can_report_completion() const {
  return pending_completions_ < fabric_.options_.completion_queue && !fabric_.held_.contains(node_);
}

/// Several operations are under way at once and end in any order, as a network card with several engines does it.
void OneSidedTransport::progress_work(QueuePair& pair, QueuePair& peer, TimePoint now) {
  constexpr size_t at_once = 4;
  for (uint32_t piece = 0; piece < fabric_.options_.pieces_a_poll && !pair.work.empty(); ++piece) {
    const size_t index = fabric_.random_.below(std::min(at_once, pair.work.size()));
    Work& work = pair.work[index];
    if (!start(pair, peer, work)) return;
    const uint32_t left = work.length - work.placed;
    if (left > 0) place(peer, work, std::min(left, fabric_.options_.piece_bytes));
    pair.last_progress = now;
    if (work.placed == work.length && can_report_completion()) finish(pair, index, {});
  }
}

bool OneSidedTransport::in_use(const QueuePair& pair, uint64_t key) const {
  const QueuePair* peer = fabric_.find(pair.peer);
  if (peer == nullptr || peer->state == QueuePair::State::over) return false;
  return std::any_of(peer->work.begin(), peer->work.end(),
                     [key](const Work& work) { return work.started && work.key == key && work.placed < work.length; });
}

void OneSidedTransport::progress_revokes(QueuePair& pair) {
  for (auto it = pair.grants.begin(); it != pair.grants.end();) {
    Grant& grant = it->second;
    if (grant.polls_to_revoked && !in_use(pair, it->first) && (*grant.polls_to_revoked)-- == 0) {
      report(Event::Kind::revoked, pair, grant.id, {});
      it = pair.grants.erase(it);
    } else {
      ++it;
    }
  }
}

}  // namespace haul::onesided
