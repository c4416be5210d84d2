// What a connection posts: payload, and behind it a bundle of records that tells of it.
#include <fmt/format.h>

#include <algorithm>
#include <typeinfo>

#include "rdma/connection.h"

namespace haul::rdma {

namespace {

constexpr size_t max_batch_requests = 64;  // behind one doorbell
constexpr size_t max_queued_message_bytes = 256U << 10;

/// How far one request may go: to the next end of a separately registered piece, here or there.
uint32_t segment_bytes(const std::byte* local, const Registered& memory, uint64_t remote, uint8_t remote_shift, uint32_t left) {
  const uint64_t here = wire::piece_end(address_of(local), memory.shift()) - address_of(local);
  const uint64_t there = wire::piece_end(remote, remote_shift) - remote;
  return static_cast<uint32_t>(std::min({uint64_t{left}, here, there}));
}

}  // namespace

Connection::Operations::node_type Connection::new_operation() {
  const uint32_t number = next_operation_++;
  if (spare_.empty()) return flying_.extract(flying_.try_emplace(number).first);
  Operations::node_type node = std::move(spare_.back());
  spare_.pop_back();
  node.key() = number;
  return node;
}

void Connection::retire_operation(Operations::node_type node) {
  node.mapped() = Outgoing();
  spare_.push_back(std::move(node));
}

Status Connection::check(const Operation& operation, Outgoing& outgoing) {
  // Not dynamic_cast, which takes several times as long, in each operation.
  const bool ours = operation.local != nullptr && typeid(*operation.local) == typeid(Region);
  const auto* region = ours ? static_cast<const Region*>(operation.local) : nullptr;
  if (region == nullptr) return Status(StatusCode::invalid, "the local region is not registered with rdma");
  if (operation.length == 0 || operation.length > wire::max_operation_bytes) {
    return Status(StatusCode::invalid, fmt::format("a length of {} bytes is not allowed", operation.length));
  }
  const uint64_t size = region->bytes().size();
  if (operation.local_offset > size || operation.length > size - operation.local_offset) {
    return Status(StatusCode::invalid, "the local range is outside its region");
  }
  if (operation.immediate && (operation.op != Op::write || operation.crc32c)) {
    return Status(StatusCode::invalid, "only a write without a checksum carries an immediate");
  }
  if (operation.remote == nullptr) return Status(StatusCode::invalid, "no remote region is named");
  auto key = wire::decode_key(*operation.remote);
  if (!key) return key.status();
  // The device of the owner would refuse these as well, at the price of the connection.
  if (key->queue_pair != peer_.queue_pair) return Status(StatusCode::refused, "the key is not one of this connection");
  if (!allows(key->rights, operation.op == Op::write ? Rights::write : Rights::read)) {
    return Status(StatusCode::refused, "the grant does not allow it");
  }
  if (operation.remote_offset > key->length || operation.length > key->length - operation.remote_offset) {
    return Status(StatusCode::refused, "it is outside the grant");
  }
  if (revoked_keys_.contains(key->number)) return Status(StatusCode::refused, "the grant was revoked");
  if (region->kind() == MemoryKind::device && operation.crc32c) {
    return Status(StatusCode::unsupported, "checksums of device memory can't be computed here: use Integrity::off");
  }
  auto memory = this->memory().of(*region);
  if (!memory) return memory.status();
  outgoing.op = operation.op;
  outgoing.id = operation.id;
  outgoing.tag = operation.tag;
  outgoing.local = region->bytes().subspan(static_cast<size_t>(operation.local_offset), operation.length);
  outgoing.memory = std::move(*memory);
  outgoing.key = *key;
  outgoing.remote_offset = operation.remote_offset;
  outgoing.crc32c = operation.crc32c;
  outgoing.doubted = operation.op == Op::read && !operation.crc32c && region->kind() == MemoryKind::host &&
                     !port_.owner->device->info().proves_reads;
  if (outgoing.doubted) outgoing.crc32c = 0;
  outgoing.immediate = operation.immediate;
  outgoing.answered = operation.immediate || (operation.op == Op::read && !outgoing.crc32c);
  return {};
}

bool Connection::room_for(uint64_t bytes) const {
  return queued_.size() + flying_.size() < wire::max_operations &&
         (unfinished_bytes_ == 0 || unfinished_bytes_ + bytes <= window_bytes());
}

size_t Connection::post(std::span<const Operation> operations, TimePoint now) {
  if (state_ == State::over) return 0;
  size_t taken = 0;
  for (const Operation& operation : operations) {
    if (!room_for(operation.length)) {
      refused_bytes_ = operation.length;
      break;
    }
    ++taken;
    auto node = new_operation();
    Outgoing& outgoing = node.mapped();
    const bool open = state_ == State::ready && !closing_ && !bye_heard_;
    Status wrong = open ? check(operation, outgoing) : Status(StatusCode::peer_lost, "the connection is not ready");
    if (!wrong.ok()) {
      report(Event::Kind::completed, operation.id, std::move(wrong));
      retire_operation(std::move(node));
      continue;
    }
    unfinished_bytes_ += operation.length;
    ++key_uses_[outgoing.key.number];
    queued_.push_back(std::move(node));
    dirty_ = true;
  }
  // Not at the next poll, which looks at much else first.
  if (dirty_ && state_ == State::ready && !flushed_at_ && async_error_.ok()) flush(now);
  return taken;
}

void Connection::cancel(uint64_t id) {
  const auto found = std::find_if(queued_.begin(), queued_.end(), [id](const auto& each) { return each.mapped().id == id; });
  if (state_ == State::over || found == queued_.end()) return;  // what the device has ends as itself
  const uint32_t key = found->mapped().key.number;
  finish(found->mapped(), Status(StatusCode::cancelled, "cancelled before it left"));
  retire_operation(std::move(*found));
  queued_.erase(found);
  used_once_less(key);
}

bool Connection::send(std::span<const std::byte> message) {
  if (state_ != State::ready || closing_ || bye_heard_ || message.empty() || message.size() > wire::max_message_bytes)
    return false;
  if (message_bytes_ + message.size() > max_queued_message_bytes) {
    refused_message_ = true;
    return false;
  }
  messages_.emplace_back(message.begin(), message.end());
  message_bytes_ += message.size();
  dirty_ = true;
  return true;
}

void Connection::answer(uint64_t id, const Status& status) {
  if (state_ == State::over || landed_.erase(id) == 0) return;
  owe(wire::Answer{static_cast<uint32_t>(id), status.code(), 0});
}

/// Queues a record that the peer asked for, one way or another. It has no honest way to make us queue very many.
void Connection::owe(const wire::Record& record) {
  if (owed_ >= wire::max_operations + 4 * wire::max_revokes) return broken("it asks for more than it listens to");
  ++owed_;
  answers_owed_ += std::holds_alternative<wire::Answer>(record) ? 1 : 0;
  records_.push_back(record);
  dirty_ = true;
}

/// Not before what was refused would be taken: it would only be refused again.
void Connection::tell_writable() {
  if (state_ != State::ready) return;
  const bool operation = refused_bytes_ && room_for(*refused_bytes_);
  const bool message = refused_message_ && message_bytes_ + wire::max_message_bytes <= max_queued_message_bytes;
  if (operation) refused_bytes_.reset();
  if (message) refused_message_ = false;
  if (operation || message) report(Event::Kind::writable, 0);
}

bool Connection::bundle_is_due() const { return probe_ || received_ - told_received_ >= wire::slots / 2; }

bool Connection::has_unsent() const {
  return !queued_.empty() || !records_.empty() || !messages_.empty() || !to_bind_.empty() || !to_invalidate_.empty() ||
         bound_ != told_bound_ || bundle_is_due();
}

size_t Connection::queue_room(const Batch& batch) const {
  const size_t used = posted_.size() + batch.requests.size();
  return send_requests_ > used ? send_requests_ - used : 0;
}

void Connection::flush(TimePoint now) {
  now_ = now;
  dirty_ = false;
  while (state_ == State::ready || state_ == State::joining) {
    batch_.shorten(0);
    fill(batch_);
    if (batch_.requests.empty() || !post_batch(batch_) || !has_unsent()) return;
  }
}

void Connection::fill(Batch& batch) {
  add_binds(batch);
  add_invalidations(batch);
  // The last credit is kept for giving credits back, so that two sides that fill each other's slots never wait for each other.
  const bool only_credits = credits() == 1;
  if (free_slots_.empty() || queue_room(batch) < 2 || credits() == 0 || (only_credits && !bundle_is_due())) return;
  const uint32_t slot = free_slots_.back();
  wire::BundleWriter bundle(send_slot(slot));
  if (!only_credits) {
    add_records(bundle);
    if (state_ == State::ready) {
      add_operations(batch, bundle);
      add_messages(bundle);
    }
  }
  if (!bundle.empty() || bundle_is_due()) add_bundle(batch, bundle, slot);
}

void Connection::add_binds(Batch& batch) {
  while (!to_bind_.empty()) {
    Grant& grant = grants_.at(to_bind_.front());
    if (queue_room(batch) <= grant.windows.size() + 1) return;
    for (size_t i = 0; i < grant.windows.size(); ++i) {
      const std::byte* begin = grant.range.data();
      const uint64_t first = address_of(begin) >> grant.key.shift;
      const uint64_t from = std::max(address_of(begin), (first + i) << grant.key.shift);
      const uint64_t to = std::min(address_of(begin) + grant.range.size(), (first + i + 1) << grant.key.shift);
      WorkRequest request;
      request.kind = WorkRequest::Kind::bind;
      request.signalled = true;
      request.window = grant.windows[i].get();
      request.address = begin + (from - address_of(begin));
      request.range = &grant.memory->piece_at(request.address);
      request.length = to - from;
      request.access.remote_read = allows(grant.key.rights, Rights::read);
      request.access.remote_write = allows(grant.key.rights, Rights::write);
      request.remote_key = grant.key.keys[i];
      batch.add(request, {Posted::Kind::bind, to_bind_.front()});
    }
    bound_ = to_bind_.front();
    to_bind_.pop_front();
  }
}

void Connection::add_invalidations(Batch& batch) {
  while (!to_invalidate_.empty()) {
    Grant& grant = grants_.at(to_invalidate_.front());
    if (queue_room(batch) <= grant.windows.size() + 1) return;
    for (size_t i = 0; i < grant.windows.size(); ++i) {
      WorkRequest request;
      request.kind = WorkRequest::Kind::invalidate;
      request.signalled = true;
      request.remote_key = grant.key.keys[i];
      batch.add(request, {Posted::Kind::invalidate, to_invalidate_.front()});
    }
    to_invalidate_.pop_front();
  }
}

void Connection::add_records(wire::BundleWriter& bundle) {
  const auto is_owed = [](const wire::Record& record) {
    return std::holds_alternative<wire::Answer>(record) || std::holds_alternative<wire::Released>(record) ||
           std::holds_alternative<wire::Fenced>(record);
  };
  while (!records_.empty() && bundle.fits(records_.front())) {
    bundle.add(records_.front());
    if (is_owed(records_.front())) --owed_;
    if (std::holds_alternative<wire::Answer>(records_.front())) --answers_owed_;
    records_.pop_front();
  }
  if (bound_ != told_bound_ && bundle.fits(wire::GrantsBound{bound_})) {
    bundle.add(wire::GrantsBound{bound_});
    told_bound_ = bound_;
  }
}

void Connection::add_operations(Batch& batch, wire::BundleWriter& bundle) {
  while (!queued_.empty() && batch.requests.size() < max_batch_requests) {
    const uint32_t number = queued_.front().key();
    const Outgoing& operation = queued_.front().mapped();
    // Its owner has announced the key, but perhaps not bound it yet.
    if (operation.key.number > grants_bound_) return;
    if (limits_.rate_bytes_s && now_ < next_post_) return;
    if (!add_operation(batch, bundle, number, operation)) return;
    pace(operation.local.size());
    flying_.insert(std::move(queued_.front()));
    queued_.pop_front();
  }
}

bool Connection::add_operation(Batch& batch, wire::BundleWriter& bundle, uint32_t number, const Outgoing& operation) {
  const bool writes = operation.op == Op::write;
  const auto length = static_cast<uint32_t>(operation.local.size());
  std::optional<wire::Record> record;
  if (operation.immediate) {
    // One for this batch's bundle, and the one that is kept.
    if (credits() <= 2) return false;
  } else if (writes) {
    record = wire::Landing{number, operation.key.number, operation.remote_offset, length, operation.tag, operation.crc32c};
  } else if (operation.crc32c) {
    record = wire::Question{number, operation.key.number, operation.remote_offset, length};
  }
  if (record && !bundle.fits(*record)) return false;

  const size_t begun = batch.requests.size();
  const auto kind = writes ? Posted::Kind::write : Posted::Kind::read;
  for (uint32_t done = 0; done < length;) {
    WorkRequest request;
    request.kind = writes ? WorkRequest::Kind::write : WorkRequest::Kind::read;
    request.signalled = !writes;  // the bundle behind writes tells of them too
    request.remote_address = operation.key.address + operation.remote_offset + done;
    request.remote_key = operation.key.key_at(request.remote_address);
    request.local.address = operation.local.data() + done;
    request.local.length =
        segment_bytes(request.local.address, *operation.memory, request.remote_address, operation.key.shift, length - done);
    request.local.local_key = operation.memory->piece_at(request.local.address).local_key();
    // Inlining reads with the processor, which device memory may not allow.
    request.inlined =
        writes && operation.memory->kind() == MemoryKind::host && request.local.length <= queue_pair_->inline_bytes();
    done += request.local.length;
    if (operation.immediate && done == length) {
      request.immediate = operation.immediate;
      request.signalled = true;
    }
    batch.add(request, {kind, number, done == length});
  }
  if (queue_room(batch) < 1) {
    batch.shorten(begun);
    return false;
  }
  if (record) bundle.add(*record);
  if (operation.immediate) ++sent_;
  return true;
}

void Connection::add_messages(wire::BundleWriter& bundle) {
  while (!messages_.empty() && bundle.fits(wire::Message{messages_.front()})) {
    bundle.add(wire::Message{messages_.front()});
    message_bytes_ -= messages_.front().size();
    messages_.pop_front();
  }
}

void Connection::add_bundle(Batch& batch, wire::BundleWriter& bundle, uint32_t slot) {
  const auto bytes = bundle.finish(received_);
  told_received_ = received_;
  probe_ = false;
  free_slots_.pop_back();
  ++sent_;
  last_sent_ = now_;
  WorkRequest request;
  request.kind = WorkRequest::Kind::send;
  request.signalled = true;
  request.local = {bytes.data(), static_cast<uint32_t>(bytes.size()), buffers_range_->local_key()};
  request.inlined = bytes.size() <= queue_pair_->inline_bytes();
  batch.add(request, {Posted::Kind::bundle, slot});
}

bool Connection::post_batch(Batch& batch) {
  uint64_t id = first_posted_ + posted_.size();
  for (WorkRequest& request : batch.requests) {
    request.id = id++;
    bytes_sent_ += request.kind == WorkRequest::Kind::read ? 0 : request.local.length;
  }
  posted_.insert(posted_.end(), batch.posted.begin(), batch.posted.end());
  const Status status = queue_pair_->post(batch.requests);
  if (!status.ok()) {
    end(Status(StatusCode::peer_lost, fmt::format("{} takes no requests: {}", port_.name(), status.message()),
               status.system_error()));
  }
  return status.ok();
}

void Connection::pace(uint64_t bytes) {
  if (!limits_.rate_bytes_s || *limits_.rate_bytes_s == 0) return;
  const auto takes =
      Duration(static_cast<int64_t>(static_cast<double>(bytes) * 1e9 / static_cast<double>(*limits_.rate_bytes_s)));
  next_post_ = std::max(now_, next_post_) + takes;
}

}  // namespace haul::rdma
