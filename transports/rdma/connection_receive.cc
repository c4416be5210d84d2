// What completes on a connection, and what its peer says.
#include <fmt/format.h>

#include "base/crc32c.h"
#include "rdma/connection.h"

namespace haul::rdma {

namespace {

constexpr int max_drains = 16;  // one poll must end although completions never do
// A connection's bundles are not read while the caller has this much of it to take: their sender runs out of credits.
constexpr size_t max_waiting_events = 1024;
constexpr size_t max_revoked_ranges = 1U << 16;
constexpr size_t max_emptied = wire::slots / 4;

std::string_view describe_outcome(Outcome outcome) {
  switch (outcome) {
    case Outcome::ok: return "it succeeded";
    case Outcome::local_error: return "a local queue-pair or protection error";
    case Outcome::flushed: return "it was flushed";
    case Outcome::remote_access: return "the peer's device refused the access (key, range or rights)";
    case Outcome::remote_error: return "the peer's device failed";
    case Outcome::retry_exceeded: return "no acknowledgement after all retries";
    case Outcome::receiver_not_ready: return "the peer had no receive posted, after all retries";
    case Outcome::fatal: return "a fatal device error";
  }
  return "an unknown error";
}

}  // namespace

void Connection::take_completions(NextPoll next) {
  const bool sleeps = next == NextPoll::when_woken;
  if (sleeps && completions_->armed()) return;
  if (!drain_completions() || !sleeps) return;
  if (Status status = completions_->arm(); !status.ok()) return end(status);
  // What came between the last look and the arming makes nothing readable.
  drain_completions();
}

/// False when the connection ended.
bool Connection::drain_completions() {
  size_t count = taken_.size();
  for (int i = 0; i < max_drains && count == taken_.size(); ++i) {
    auto taken = completions_->poll(taken_);
    if (!taken) {
      end(Status(StatusCode::peer_lost, fmt::format("{}: {}", port_.name(), taken.status().message())));
      return false;
    }
    count = *taken;
    for (const Completion& each : std::span(taken_).first(count)) {
      on_completion(each);
      if (state_ == State::over) return false;
    }
  }
  if (count == taken_.size()) dirty_ = true;
  return true;
}

void Connection::on_completion(const Completion& completion) {
  if (completion.outcome != Outcome::ok) return on_failure(completion);
  if (completion.foreign) return broken("a send with immediate data, or an invalidation, which are not used");
  if ((completion.id & receive_bit) != 0) return on_receive(completion);
  retire(completion.id);
}

void Connection::on_failure(const Completion& completion) {
  const bool receive = (completion.id & receive_bit) != 0;
  if (completion.outcome == Outcome::flushed) {
    if (!flushed_at_) flushed_at_ = now_;
    return;
  }
  const std::string text =
      fmt::format("{} to {}: {}", port_.name(), to_string(peer_.gid), describe_outcome(completion.outcome));
  if (receive) {
    const bool refused = completion.outcome == Outcome::remote_access;
    return end(refused ? access_error() : Status(StatusCode::peer_lost, text));
  }
  if (completion.id > first_posted_) retire(completion.id - 1);
  if (state_ == State::over || posted_.empty() || completion.id < first_posted_) return;
  const Posted failed = posted_.front();
  if (failed.kind == Posted::Kind::write || failed.kind == Posted::Kind::read) {
    if (const auto found = flying_.find(failed.subject); found != flying_.end()) {
      const bool refused = completion.outcome == Outcome::remote_access;
      found->second.outcome = Status(refused ? StatusCode::refused : StatusCode::peer_lost, text);
    }
  }
  if (completion.outcome == Outcome::retry_exceeded) fail_port();
  end(Status(state_ == State::joining ? StatusCode::unavailable : StatusCode::peer_lost, text));
}

/// The device is done with the requests up to this one.
void Connection::retire(uint64_t through) {
  while (state_ != State::over && !posted_.empty() && first_posted_ <= through) {
    const Posted done = posted_.front();
    posted_.pop_front();
    ++first_posted_;
    switch (done.kind) {
      case Posted::Kind::write:
      case Posted::Kind::read:
        if (!done.last) break;
        if (const auto found = flying_.find(done.subject); found != flying_.end()) {
          found->second.placed = true;
          bytes_acknowledged_ += found->second.local.size();
          finish_if_over(done.subject);
        }
        break;
      case Posted::Kind::bundle:
        free_slots_.push_back(done.subject);  // taken by the peer's device: no sign of life of its process
        last_heard_ = now_;
        if (answered_hello_) become_ready();  // packets went both ways
        break;
      case Posted::Kind::bind: break;
      case Posted::Kind::invalidate: on_invalidated(done.subject); break;
    }
    if (has_unsent()) dirty_ = true;  // there is room for it now
  }
}

void Connection::finish_if_over(uint32_t number) {
  const auto found = flying_.find(number);
  if (found == flying_.end() || !found->second.placed || !found->second.answered) return;
  const uint32_t key = found->second.key.number;
  finish(found->second, found->second.outcome);
  retire_operation(flying_.extract(found));
  used_once_less(key);
}

void Connection::broken(const std::string& what) {
  end(Status(StatusCode::protocol, fmt::format("the peer broke the rdma framing: {}", what)));
}

/// Credits count at once; the records wait while there is much to take already, so that a flood of them stays on the wire.
void Connection::on_receive(const Completion& completion) {
  Arrived arrived{static_cast<uint32_t>(completion.id & ~receive_bit), completion.bytes, completion.immediate};
  last_heard_ = now_;
  bytes_received_ += completion.bytes;
  if (!arrived.immediate) {
    arrived.bytes = std::min(arrived.bytes, wire::slot_bytes);
    const wire::BundleReader reader(receive_slot(arrived.slot).first(arrived.bytes));
    const uint32_t newly = reader.received() - peer_received_;
    if (newly > sent_ - peer_received_) return broken("it received more than was sent");
    peer_received_ = reader.received();
    dirty_ = true;
  }
  deferred_.push_back(arrived);
  read_deferred();
}

void Connection::read_deferred() {
  while (state_ != State::over && !deferred_.empty() && context_.events.waiting(id_) < max_waiting_events) {
    const Arrived next = deferred_.front();
    deferred_.pop_front();
    read(next);
  }
}

void Connection::read(const Arrived& arrived) {
  if (answered_hello_) become_ready();  // who speaks has heard our hello
  arrived.immediate ? read_immediate(arrived) : read_records(arrived);
  if (state_ == State::over) return;
  emptied_.push_back(arrived.slot);
  if (emptied_.size() >= max_emptied) post_receives();
}

/// At the next poll, so that who waits for what has just arrived does not wait for this as well.
void Connection::post_receives() {
  for (const uint32_t slot : emptied_) {
    const Element element{receive_slot(slot).data(), wire::slot_bytes, buffers_range_->local_key()};
    if (Status status = queue_pair_->post_receive(receive_id(slot), element); !status.ok()) return end(status);
    ++received_;
  }
  emptied_.clear();
  if (bundle_is_due()) dirty_ = true;
}

void Connection::read_immediate(const Arrived& arrived) {
  if (state_ == State::joining) return broken("a write before the hello");
  Event event;
  event.kind = Event::Kind::immediate;
  event.connection = id_;
  event.tag = arrived.bytes;
  context_.events.push(std::move(event), *arrived.immediate);
}

void Connection::read_records(const Arrived& arrived) {
  wire::BundleReader reader(receive_slot(arrived.slot).first(arrived.bytes));
  while (state_ != State::over) {
    const auto record = reader.next();
    if (!record) break;
    if (state_ == State::joining && !std::holds_alternative<wire::Hello>(*record)) return broken("records before the hello");
    std::visit([this](const auto& each) { on_record(each); }, *record);
  }
  if (state_ == State::over) return;
  if (!reader.sound()) return broken("a malformed record");
  dirty_ = true;
}

void Connection::on_record(const wire::Hello& hello) {
  if (state_ != State::joining) return broken("a second hello");
  if (hello.secret != own_.secret) return broken("its hello is for another connection");
  if (options_.address) return become_ready();
  records_.emplace_front(wire::Hello{peer_.secret});
  answered_hello_ = dirty_ = true;
}

/// What an operation of the peer's may still need an answer to.
bool Connection::has_room_for_another() {
  if (landed_.size() + answers_owed_ < wire::max_operations) return true;
  broken("more operations unanswered than it may have");
  return false;
}

void Connection::on_record(const wire::Landing& landing) {
  if (!has_room_for_another()) return;
  if (landing.length > wire::max_operation_bytes) return broken("a write that is too long");
  const auto payload = granted(landing.grant, landing.offset, landing.length, Rights::write);
  if (state_ == State::over) return;
  if (payload.empty()) return owe(wire::Answer{landing.operation, StatusCode::refused, 0});
  if (landing.crc32c && grants_.at(landing.grant).memory->kind() == MemoryKind::device) {
    return owe(wire::Answer{landing.operation, StatusCode::unsupported, 0});
  }
  if (!landed_.insert(landing.operation).second) return broken("a landing told twice");
  bytes_received_ += payload.size();
  Event event;
  event.kind = Event::Kind::landed;
  event.connection = id_;
  event.id = landing.operation;
  event.tag = landing.tag;
  event.payload = payload;
  event.crc32c = landing.crc32c;
  context_.events.push(std::move(event));
}

void Connection::on_record(const wire::Answer& answer) {
  const auto found = flying_.find(answer.operation);
  if (found == flying_.end() || found->second.answered) return broken("an answer to nothing");
  Outgoing& operation = found->second;
  operation.answered = true;
  operation.told_crc32c = answer.crc32c;
  if (operation.doubted && answer.code == StatusCode::unsupported)
    operation.told_crc32c.reset();  // device memory of the peer, which has no checksums
  else if (answer.code == StatusCode::corrupt)
    operation.outcome = Status(answer.code, "the peer found another checksum");
  else if (answer.code != StatusCode::ok)
    operation.outcome = Status(answer.code, "the peer refused the operation");
  finish_if_over(answer.operation);
}

void Connection::on_record(const wire::Question& question) {
  if (!has_room_for_another()) return;
  if (question.length > wire::max_operation_bytes) return broken("a read that is too long");
  const auto payload = granted(question.grant, question.offset, question.length, Rights::read);
  if (state_ == State::over) return;
  if (payload.empty()) return owe(wire::Answer{question.operation, StatusCode::refused, 0});
  if (grants_.at(question.grant).memory->kind() == MemoryKind::device) {
    return owe(wire::Answer{question.operation, StatusCode::unsupported, 0});
  }
  owe(wire::Answer{question.operation, StatusCode::ok, base::crc32c(payload)});
}

void Connection::on_record(const wire::Message& message) {
  if (message.payload.empty() || message.payload.size() > wire::max_message_bytes) {
    return broken("a message that is empty or too long");
  }
  Event event;
  event.kind = Event::Kind::message;
  event.connection = id_;
  context_.events.push(std::move(event), message.payload);
}

void Connection::on_record(const wire::GrantsBound& bound) {
  if (bound.number < grants_bound_) return broken("grants that are unbound");
  grants_bound_ = bound.number;
}

void Connection::on_record(const wire::Revoke& revoke) {
  if (revoked_keys_.contains(revoke.grant)) return broken("a grant revoked twice");
  if (revoked_keys_.ranges() >= max_revoked_ranges) return broken("too many revoked grants beside standing ones");
  revoked_keys_.add(revoke.grant, uint64_t{revoke.grant} + 1);
  to_release_.insert(revoke.grant);
  // Those that have not left are refused; the word follows when the others are over.
  for (auto it = queued_.begin(); it != queued_.end();) {
    if (it->mapped().key.number != revoke.grant) {
      ++it;
      continue;
    }
    finish(it->mapped(), Status(StatusCode::refused, "the grant was revoked"));
    retire_operation(std::move(*it));
    it = queued_.erase(it);
    --key_uses_[revoke.grant];
  }
  release_if_unused(revoke.grant);
}

void Connection::on_record(const wire::Released& released) {
  const auto found = grants_.find(released.grant);
  if (found == grants_.end() || found->second.state > Grant::State::asked) return;  // taken without its word
  const bool was_asked = found->second.state == Grant::State::asked && found->second.deadline != TimePoint();
  if (!was_asked) return broken("a grant released that nobody asked back");
  take_back(released.grant, found->second);
}

/// It arrived behind all that its sender's device may still have been placing here; so does what we answer.
void Connection::on_record(const wire::Fence& fence) {
  if (!revoked_keys_.contains(fence.grant)) return broken("a fence behind a grant that stands");
  owe(wire::Fenced{fence.grant});
}

void Connection::on_record(const wire::Fenced& fenced) {
  const auto found = grants_.find(fenced.grant);
  if (found == grants_.end() || found->second.state != Grant::State::proving) return broken("an answer to no fence");
  give_up(fenced.grant);
}

void Connection::on_record(const wire::Bye&) {
  if (bye_heard_) return broken("a second bye");
  bye_heard_ = true;
}

}  // namespace haul::rdma
