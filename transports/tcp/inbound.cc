// Checks, lands, serves and answers the peer's operations.
#include "tcp/inbound.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <limits>

#include "base/crc32c.h"
#include "net/broken.h"

namespace haul::tcp {

namespace {

std::optional<uint32_t> crc_of(const auto& carrier) {
  if (carrier.has_crc) return carrier.crc;
  return {};
}

}  // namespace

Status Inbound::admit(uint64_t sequence, uint32_t length, State state) {
  if (sequence != incoming_.end_number()) return net::broken("operation numbers do not follow each other");
  if (incoming_.size() >= context_.capabilities->max_operations)
    return net::broken("more unanswered operations than it has credit for");
  if (length > context_.capabilities->max_operation_bytes) return net::broken("an operation above the announced size");
  incoming_.push() = Incoming{.state = state};
  return {};
}

std::optional<uint32_t> Inbound::use(const wire::Key& key, Rights wanted, uint64_t offset, uint64_t length) {
  const auto found = grants_.find(key, wanted, offset, length);
  if (found.answer == GrantTable::Answer::allowed) return found.slot;
  if (found.answer == GrantTable::Answer::forbidden && misuse_.ok()) {
    misuse_ = Status(StatusCode::refused,
                     fmt::format("the peer tried to {} {} bytes at {} that it was not granted; the connection was closed",
                                 wanted == Rights::read ? "read" : "write", length, offset));
  }
  return {};
}

Result<std::byte*> Inbound::begin_write(const wire::FrameHeader& header) {
  if (Status status = admit(header.sequence, header.body_bytes, State::landing); !status.ok()) return status;
  landing_ = use(header.key, Rights::write, header.offset, header.body_bytes);
  if (!landing_) {
    incoming_.back().refused = true;
    return static_cast<std::byte*>(nullptr);
  }
  grants_.use(*landing_);
  landing_memory_ = grants_.memory(*landing_, header.offset);
  return landing_memory_;
}

void Inbound::end_write(const wire::FrameHeader& header) {
  Incoming& incoming = incoming_[header.sequence];
  incoming.refused = incoming.refused || landing_revoked();
  if (!incoming.refused) emit_landed(header.sequence, header.tag, {landing_memory_, header.body_bytes}, crc_of(header));
  const bool refused = incoming.refused;
  detach_landing();
  if (refused) queue_answer(header.sequence, StatusCode::refused);
}

void Inbound::detach_landing() {
  if (!landing_) return;
  const uint32_t slot = *landing_;
  if (landing_revoked()) incoming_.back().refused = true;
  landing_.reset();
  release(slot);
}

Status Inbound::small_write(uint64_t sequence, const wire::Record& record, std::span<const std::byte> payload) {
  if (Status status = admit(sequence, record.length, State::landing); !status.ok()) return status;
  const auto slot = use(record.key, Rights::write, record.offset, record.length);
  if (!slot) {
    queue_answer(sequence, StatusCode::refused);
    return {};
  }
  std::byte* memory = grants_.memory(*slot, record.offset);
  std::memcpy(memory, payload.data(), payload.size());
  emit_landed(sequence, record.tag, {memory, payload.size()}, crc_of(record));
  return {};
}

void Inbound::emit_landed(uint64_t sequence, uint64_t tag, std::span<std::byte> payload, std::optional<uint32_t> crc) {
  incoming_[sequence].state = State::landed;
  Event& event = context_.emit(Event::Kind::landed, connection_, sequence);
  event.tag = tag;
  event.payload = payload;
  event.crc32c = crc;
}

Status Inbound::read_request(uint64_t sequence, const wire::Record& record) {
  if (Status status = admit(sequence, record.length, State::reading); !status.ok()) return status;
  const auto slot = use(record.key, Rights::read, record.offset, record.length);
  if (!slot) {
    queue_answer(sequence, StatusCode::refused);
    return {};
  }
  replies_.push() = Reply{
      .sequence = sequence, .offset = record.offset, .grant = *slot, .length = record.length, .wants_crc = record.has_crc};
  return {};
}

void Inbound::answer(uint64_t sequence, StatusCode code) {
  if (incoming_.holds(sequence) && incoming_[sequence].state == State::landed) queue_answer(sequence, code);
}

void Inbound::queue_answer(uint64_t sequence, StatusCode code) {
  incoming_[sequence].state = State::answered;
  if (!answers_.empty()) {
    Answers& last = answers_.back();
    if (last.code == code && last.first + last.count == sequence && last.count < std::numeric_limits<uint32_t>::max()) {
      ++last.count;
      return;
    }
  }
  answers_.push() = Answers{.first = sequence, .count = 1, .code = code};
}

void Inbound::end(uint64_t sequence) {
  incoming_[sequence].state = State::over;
  while (!incoming_.empty() && incoming_.front().state == State::over) incoming_.pop_front();
}

void Inbound::frame_answers(SendBatch& batch) {
  while (!answers_.empty()) {
    const Answers answers = answers_.front();
    const wire::Record record{.type = wire::RecordType::answers,
                              .code = static_cast<uint16_t>(answers.code),
                              .length = answers.count,
                              .sequence = answers.first};
    if (!batch.record(record, {}, true)) return;
    answers_.pop_front();
    for (uint32_t i = 0; i < answers.count; ++i) end(answers.first + i);
  }
}

bool Inbound::frame_reply(SendBatch& batch, std::optional<size_t> zero_copy_from_bytes, std::optional<ZeroCopyPayload>& later) {
  while (!replies_.empty() && replies_.front().dropped) replies_.pop_front();
  if (replies_.empty() || batch.full()) return false;
  const Reply reply = replies_.front();
  const std::span<const std::byte> payload(grants_.memory(reply.grant, reply.offset), reply.length);
  const uint32_t crc = reply.wants_crc ? base::crc32c(payload) : 0;
  bool zero_copy = false;
  if (reply.length >= context_.options->direct_threshold_bytes) {
    const wire::FrameHeader header{.type = wire::FrameType::read_data,
                                   .has_crc = reply.wants_crc,
                                   .body_bytes = reply.length,
                                   .sequence = reply.sequence,
                                   .crc = crc};
    zero_copy = zero_copy_from_bytes && reply.length >= *zero_copy_from_bytes;
    batch.frame(header, zero_copy ? std::span<const std::byte>() : payload);
    if (zero_copy) later = ZeroCopyPayload{.memory = payload, .reply = true, .number = reply.grant};
  } else {
    const wire::Record record{.type = wire::RecordType::read_data,
                              .has_crc = reply.wants_crc,
                              .length = reply.length,
                              .sequence = reply.sequence,
                              .crc = crc};
    if (!batch.record(record, payload, false)) return false;
  }
  grants_.use(reply.grant);
  if (!zero_copy) batch_grants_.push_back(reply.grant);
  replies_.pop_front();
  end(reply.sequence);
  return true;
}

void Inbound::batch_sent() {
  for (const uint32_t slot : batch_grants_) release(slot);
  batch_grants_.clear();
}

void Inbound::release(uint32_t grant_slot) {
  if (const auto gone = grants_.release(grant_slot)) {
    context_.emit(Event::Kind::revoked, connection_, *gone);
  }
}

void Inbound::revoke(uint64_t grant_id) {
  const auto slot = grants_.revoke(grant_id);
  if (!slot) return;
  grants_.use(*slot);  // until the end of this function, so that the last release() tells
  for (uint64_t number = replies_.first_number(); number != replies_.end_number(); ++number) {
    Reply& reply = replies_[number];
    if (reply.dropped || reply.grant != *slot) continue;
    reply.dropped = true;
    queue_answer(reply.sequence, StatusCode::refused);
  }
  release(*slot);
}

}  // namespace haul::tcp
