// Queues operations and messages, frames them in order, and completes them.
#include "tcp/outbound.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "net/broken.h"

namespace haul::tcp {

namespace {

constexpr uint64_t max_unsent_bytes = 4U << 20;
constexpr size_t max_message_queue_bytes = 256U << 10;
constexpr size_t max_message_queue = 1024;

Status invalid(std::string message) { return Status(StatusCode::invalid, std::move(message)); }

Status answer_status(StatusCode code) {
  switch (code) {
    case StatusCode::ok: return {};
    case StatusCode::refused:
      return Status(code, "the peer refused: the grant is unknown, revoked or expired, or does not allow this access or range");
    case StatusCode::corrupt: return Status(code, "the peer found that the checksum does not match");
    default: return Status(code, fmt::format("the peer answered {}", to_string(code)));
  }
}

}  // namespace

void Outbound::set_peer(const wire::Preface& preface) {
  credits_ = std::min(preface.credits, context_.capabilities->max_operations);
  max_payload_bytes_ = preface.max_payload_bytes;
}

bool Outbound::has_room(uint32_t length) const noexcept {
  if (window_bytes_ && outstanding_bytes_ > 0 && outstanding_bytes_ + length > *window_bytes_) return false;
  return unsent_bytes_ < max_unsent_bytes && queued_.size() + sent_.size() < context_.capabilities->max_operations;
}

std::optional<Status> Outbound::fill(const Operation& operation, Outgoing& outgoing) const {
  const uint32_t limit = max_payload_bytes_ > 0 ? std::min(max_payload_bytes_, context_.capabilities->max_operation_bytes)
                                                : context_.capabilities->max_operation_bytes;
  if (operation.length == 0 || operation.length > limit) {
    return invalid(fmt::format("an operation of {} bytes; 1 to {} are possible here", operation.length, limit));
  }
  if (operation.local == nullptr || operation.remote == nullptr) return invalid("an operation without memory");
  const auto& region = static_cast<const Region&>(*operation.local);
  const auto local = region.bytes();
  if (operation.local_offset > local.size() || operation.length > local.size() - operation.local_offset) {
    return invalid(fmt::format("{} bytes at {} are not within the local region of {} bytes", operation.length,
                               operation.local_offset, local.size()));
  }
  const auto key = operation.remote->bytes();
  if (key.size() != outgoing.key.size()) return invalid("the remote region was not made by a tcp transport");
  outgoing =
      Outgoing{.op = operation.op, .id = operation.id, .tag = operation.tag, .memory = local.data() + operation.local_offset};
  std::memcpy(outgoing.key.data(), key.data(), key.size());
  outgoing.remote_offset = operation.remote_offset;
  outgoing.length = operation.length;
  outgoing.crc = operation.crc32c;
  outgoing.region = &region;
  return {};
}

size_t Outbound::post(std::span<const Operation> operations) {
  size_t taken = 0;
  for (const Operation& operation : operations) {
    if (!has_room(operation.length)) {
      refused_ = true;
      break;
    }
    ++taken;
    Outgoing outgoing;
    if (auto wrong = fill(operation, outgoing)) {
      context_.emit(Event::Kind::completed, connection_, operation.id).status = std::move(*wrong);
      continue;
    }
    queued_.push() = outgoing;
    ++live_queued_;
    unsent_bytes_ += operation.length;
    outstanding_bytes_ += operation.length;
  }
  return taken;
}

bool Outbound::send(std::span<const std::byte> message) {
  if (messages_.size() >= max_message_queue || message_bytes_ + message.size() > max_message_queue_bytes) {
    refused_ = true;
    return false;
  }
  messages_.push().assign(message.begin(), message.end());
  message_bytes_ += message.size();
  return true;
}

void Outbound::cancel(uint64_t id) {
  for (uint64_t number = queued_.first_number(); number != queued_.end_number(); ++number) {
    Outgoing& outgoing = queued_[number];
    if (outgoing.over || outgoing.id != id) continue;
    --live_queued_;
    unsent_bytes_ -= outgoing.length;
    complete(outgoing, Status(StatusCode::cancelled, "cancelled before any byte was sent"));
    while (!queued_.empty() && queued_.front().over) queued_.pop_front();
    return;
  }
}

void Outbound::frame_messages(SendBatch& batch) {
  while (!messages_.empty()) {
    const std::vector<std::byte>& message = messages_.front();
    const wire::Record record{.type = wire::RecordType::message, .length = static_cast<uint32_t>(message.size())};
    if (!batch.record(record, message, true)) return;
    message_bytes_ -= message.size();
    messages_.pop_front();
  }
}

bool Outbound::frame_operation(SendBatch& batch, std::optional<size_t> zero_copy_from_bytes,
                               std::optional<ZeroCopyPayload>& later) {
  while (!queued_.empty() && queued_.front().over) queued_.pop_front();
  if (queued_.empty() || sent_.size() >= credits_ || batch.full()) return false;
  Outgoing& next = queued_.front();
  const std::span<const std::byte> payload(next.memory, next.length);
  const uint64_t sequence = sent_.end_number();
  const bool write = next.op == Op::write;
  const bool large = write && next.length >= context_.options->direct_threshold_bytes;
  if (large) {
    const wire::FrameHeader header{.type = wire::FrameType::write,
                                   .has_crc = next.crc.has_value(),
                                   .body_bytes = next.length,
                                   .key = next.key,
                                   .offset = next.remote_offset,
                                   .tag = next.tag,
                                   .sequence = sequence,
                                   .crc = next.crc.value_or(0)};
    next.zero_copy = zero_copy_from_bytes && next.length >= *zero_copy_from_bytes;
    batch.frame(header, next.zero_copy ? std::span<const std::byte>() : payload);
    if (next.zero_copy) later = ZeroCopyPayload{.memory = payload, .region = next.region, .number = sequence};
  } else {
    const wire::Record record{.type = write ? wire::RecordType::write : wire::RecordType::read,
                              .has_crc = next.crc.has_value(),
                              .length = next.length,
                              .key = next.key,
                              .offset = next.remote_offset,
                              .tag = next.tag,
                              .crc = next.crc.value_or(0)};
    if (!batch.record(record, write ? payload : std::span<const std::byte>(), false)) return false;
  }
  if (batch_bytes_ == 0) batch_begin_ = sequence;
  batch_bytes_ += next.length;
  next.in_kernel = write;
  sent_.push() = next;
  queued_.pop_front();
  --live_queued_;
  batch.next_sequence = sent_.end_number();
  return true;
}

void Outbound::batch_sent() {
  if (batch_bytes_ == 0) return;
  unsent_bytes_ -= batch_bytes_;
  batch_bytes_ = 0;
  for (uint64_t sequence = std::max(batch_begin_, sent_.first_number()); sequence != sent_.end_number(); ++sequence) {
    Outgoing& outgoing = sent_[sequence];
    if (outgoing.zero_copy) continue;
    outgoing.in_kernel = false;
    complete_if_over(outgoing);
  }
  drop_finished();
}

void Outbound::payload_released(uint64_t sequence) {
  if (!sent_.holds(sequence)) return;
  sent_[sequence].in_kernel = false;
  complete_if_over(sent_[sequence]);
  drop_finished();
}

Status Outbound::answered(uint64_t first, uint32_t count, uint16_t code) {
  if (code > static_cast<uint16_t>(StatusCode::internal)) return net::broken("an answer with an unknown status");
  if (first < sent_.first_number() || first > sent_.end_number() || count > sent_.end_number() - first)
    return net::broken("an answer to an operation never sent");
  const auto status = static_cast<StatusCode>(code);
  for (uint64_t sequence = first; sequence != first + count; ++sequence) {
    Outgoing& outgoing = sent_[sequence];
    const bool fits = outgoing.op == Op::write || status != StatusCode::ok;
    if (outgoing.over || outgoing.answer || outgoing.receiving || !fits)
      return net::broken("an answer that no operation waits for");
    outgoing.answer = status;
    complete_if_over(outgoing);
  }
  drop_finished();
  return {};
}

Result<std::byte*> Outbound::begin_read_data(uint64_t sequence, uint32_t length) {
  if (!sent_.holds(sequence)) return net::broken("data for a read never sent");
  Outgoing& outgoing = sent_[sequence];
  if (outgoing.op != Op::read || outgoing.over || outgoing.receiving || outgoing.length != length) {
    return net::broken("data that no read waits for");
  }
  outgoing.receiving = true;
  return outgoing.memory;
}

void Outbound::end_read_data(uint64_t sequence, std::optional<uint32_t> crc) {
  complete(sent_[sequence], {}, crc);
  drop_finished();
}

void Outbound::complete_if_over(Outgoing& outgoing) {
  if (outgoing.answer && !outgoing.in_kernel && !outgoing.over) complete(outgoing, answer_status(*outgoing.answer));
}

void Outbound::complete(Outgoing& outgoing, Status status, std::optional<uint32_t> crc) {
  outgoing.over = true;
  outstanding_bytes_ -= outgoing.length;
  Event& event = context_.emit(Event::Kind::completed, connection_, outgoing.id);
  event.tag = outgoing.tag;
  event.crc32c = crc;
  event.status = std::move(status);
}

void Outbound::drop_finished() {
  while (!sent_.empty() && sent_.front().over) sent_.pop_front();
}

void Outbound::end_all(const Status& status) {
  for (auto* window : {&sent_, &queued_}) {
    for (uint64_t number = window->first_number(); number != window->end_number(); ++number) {
      if (!(*window)[number].over) complete((*window)[number], status);
    }
    window->clear();
  }
  messages_.clear();
  live_queued_ = 0;
  unsent_bytes_ = 0;
  batch_bytes_ = 0;
  message_bytes_ = 0;
}

void Outbound::announce_room() {
  const bool messages_fit = message_bytes_ + context_.capabilities->max_message_bytes <= max_message_queue_bytes;
  if (!refused_ || !has_room(1) || !messages_fit) return;
  refused_ = false;
  context_.emit(Event::Kind::writable, connection_);
}

}  // namespace haul::tcp
