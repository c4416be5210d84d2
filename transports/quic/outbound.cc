// Queues operations and messages, tells the peer of them in order, cuts payload, and completes.
#include "quic/outbound.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include "base/bytes.h"
#include "net/broken.h"
#include "quic/limits.h"
#include "quic/region.h"

namespace haul::quic {

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
    case StatusCode::cancelled: return Status(code, "cancelled; what had arrived was dropped");
    default: return Status(code, fmt::format("the peer answered {}", to_string(code)));
  }
}

}  // namespace

void Outbound::set_peer(const wire::Record& hello) {
  credits_ = std::min(hello.credits, context_.capabilities->max_operations);
  max_payload_bytes_ = hello.max_payload_bytes;
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
  const auto local = operation.local->bytes();
  if (operation.local_offset > local.size() || operation.length > local.size() - operation.local_offset) {
    return invalid(fmt::format("{} bytes at {} are not within the local region of {} bytes", operation.length,
                               operation.local_offset, local.size()));
  }
  base::ByteReader reader(operation.remote->bytes());
  const auto key = reader.get<wire::Key>();
  if (!reader.finished()) return invalid("the remote region was not made by a quic transport");
  if (operation.remote_offset >= wire::Piece::max_offset - operation.length) {
    return Status(StatusCode::refused, fmt::format("no grant reaches to {}", operation.remote_offset));
  }
  outgoing =
      Outgoing{.op = operation.op, .id = operation.id, .tag = operation.tag, .memory = local.data() + operation.local_offset};
  outgoing.key = key;
  outgoing.remote_offset = operation.remote_offset;
  outgoing.length = operation.length;
  outgoing.crc = operation.crc32c;
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
    unsent_bytes_ += outgoing.op == Op::write ? outgoing.length : 0;
    outstanding_bytes_ += outgoing.length;
    queued_.push() = std::move(outgoing);
    ++live_queued_;
  }
  return taken;
}

bool Outbound::send(std::span<const std::byte> message) {
  if (messages_.size() >= max_message_queue || message_bytes_ + message.size() > max_message_queue_bytes) {
    refused_ = true;
    return false;
  }
  messages_.emplace_back(message.begin(), message.end());
  message_bytes_ += message.size();
  return true;
}

void Outbound::cancel(uint64_t id) {
  for (uint64_t number = queued_.first_number(); number != queued_.end_number(); ++number) {
    Outgoing& outgoing = queued_[number];
    if (outgoing.over || outgoing.id != id) continue;
    --live_queued_;
    if (outgoing.op == Op::write) unsent_bytes_ -= outgoing.length;
    complete(outgoing, Status(StatusCode::cancelled, "cancelled before any byte was sent"));
    while (!queued_.empty() && queued_.front().over) queued_.pop_front();
    return;
  }
  for (uint64_t sequence = sent_.first_number(); sequence != sent_.end_number(); ++sequence) {
    Outgoing& outgoing = sent_[sequence];
    if (outgoing.over || outgoing.cancelling || outgoing.id != id) continue;
    outgoing.cancelling = true;
    if (outgoing.op == Op::write) unsent_bytes_ -= outgoing.length - outgoing.moved;
    outgoing.moved = outgoing.length;
    cancels_.push_back(sequence);
    return;
  }
}

void Outbound::frame(StreamSender& stream) {
  for (const uint64_t sequence : cancels_) {
    if (!sent_.holds(sequence) || sent_[sequence].over) continue;
    const uint16_t reads = sent_[sequence].op == Op::read ? 1 : 0;
    stream.put({.type = wire::RecordType::cancel, .code = reads, .sequence = sequence}, {});
  }
  cancels_.clear();
  while (!messages_.empty() && stream.held_bytes() < max_stream_bytes) {
    const std::vector<std::byte>& message = messages_.front();
    stream.put({.type = wire::RecordType::message, .length = static_cast<uint32_t>(message.size())}, message);
    message_bytes_ -= message.size();
    messages_.pop_front();
  }
  while (stream.held_bytes() < max_stream_bytes && frame_operation(stream)) {
  }
}

bool Outbound::frame_operation(StreamSender& stream) {
  while (!queued_.empty() && queued_.front().over) queued_.pop_front();
  if (queued_.empty() || sent_.size() >= credits_) return false;
  Outgoing& next = queued_.front();
  const bool write = next.op == Op::write;
  const bool inline_payload = write && next.length <= max_inline_bytes;
  const wire::Record record{.type = write ? wire::RecordType::write : wire::RecordType::read,
                            .has_crc = next.crc.has_value(),
                            .has_payload = inline_payload,
                            .length = next.length,
                            .key = next.key,
                            .offset = next.remote_offset,
                            .tag = next.tag,
                            .sequence = sent_.end_number(),
                            .crc = next.crc.value_or(0)};
  stream.put(record, inline_payload ? std::span<const std::byte>(next.memory, next.length) : std::span<const std::byte>());
  if (inline_payload || !write) next.moved = next.length;
  if (inline_payload) unsent_bytes_ -= next.length;
  sent_.push() = std::move(next);
  queued_.pop_front();
  --live_queued_;
  return true;
}

OutgoingPiece Outbound::make_piece(uint64_t sequence, const Outgoing& outgoing, uint32_t offset, uint32_t length) const {
  OutgoingPiece piece;
  piece.id = {.reply = false, .sequence = sequence, .offset = offset, .length = length};
  piece.header.write = true;
  piece.header.sequence = static_cast<uint32_t>(sequence);
  piece.header.key = outgoing.key;
  piece.header.offset = outgoing.remote_offset + offset;
  piece.header.payload = {outgoing.memory + offset, length};
  return piece;
}

std::optional<OutgoingPiece> Outbound::next_piece(size_t max_bytes) {
  next_ = std::max(next_, sent_.first_number());
  for (; next_ != sent_.end_number(); ++next_) {
    Outgoing& outgoing = sent_[next_];
    if (outgoing.over || outgoing.moved == outgoing.length) continue;
    const auto room = static_cast<uint32_t>(max_bytes - wire::Piece::write_bytes);
    const uint32_t length = std::min(room, outgoing.length - outgoing.moved);
    const OutgoingPiece piece = make_piece(next_, outgoing, outgoing.moved, length);
    outgoing.moved += length;
    unsent_bytes_ -= length;
    return piece;
  }
  return {};
}

std::optional<OutgoingPiece> Outbound::piece_again(const PieceId& id) {
  if (!sent_.holds(id.sequence)) return {};
  const Outgoing& outgoing = sent_[id.sequence];
  if (outgoing.over || outgoing.cancelling) return {};
  return make_piece(id.sequence, outgoing, id.offset, id.length);
}

Status Outbound::answered(uint64_t first, uint32_t count, uint16_t code) {
  if (code > static_cast<uint16_t>(StatusCode::internal)) return net::broken("an answer with an unknown status");
  if (first > sent_.end_number() || count > sent_.end_number() - first)
    return net::broken("an answer to an operation never sent");
  const auto status = static_cast<StatusCode>(code);
  if (status == StatusCode::ok && first < sent_.first_number()) return net::broken("an answer that no operation waits for");
  for (uint64_t sequence = std::max(first, sent_.first_number()); sequence < first + count; ++sequence) {
    const bool there = sent_.holds(sequence) && !sent_[sequence].over;
    // It was over before the peer heard of the cancellation; or a read's bytes were here, and the peer did not know it yet.
    if (!there && status != StatusCode::ok) continue;
    if (!there) return net::broken("an answer that no operation waits for");
    Outgoing& outgoing = sent_[sequence];
    const bool fits = outgoing.op == Op::write || status != StatusCode::ok;
    if (!fits) return net::broken("an answer that no operation waits for");
    complete(outgoing, answer_status(status));
  }
  drop_finished();
  return {};
}

Status Outbound::read_data(const wire::Record& record, std::span<const std::byte> payload) {
  if (!sent_.holds(record.sequence)) return net::broken("data for a read never sent");
  Outgoing& outgoing = sent_[record.sequence];
  if (outgoing.op != Op::read || outgoing.over || outgoing.told || record.length != outgoing.length) {
    return net::broken("data that no read waits for");
  }
  outgoing.told = true;
  if (outgoing.cancelling) return {};
  if (!payload.empty()) {
    std::memcpy(outgoing.memory, payload.data(), payload.size());
    if (Status status = place(outgoing, 0, outgoing.length); !status.ok()) return status;
  }
  outgoing.has_crc = record.has_crc;
  outgoing.crc = record.crc;
  complete_read_if_whole(outgoing);
  drop_finished();
  return {};
}

Status Outbound::piece(const wire::Piece& piece) {
  const uint64_t sequence = wire::whole_sequence(piece.sequence, sent_.first_number());
  if (sequence >= sent_.end_number()) return net::broken("data for a read never sent");
  if (!sent_.holds(sequence)) return {};  // it came twice, and the read is over
  Outgoing& outgoing = sent_[sequence];
  if (outgoing.op != Op::read) return net::broken("data for an operation that is no read");
  if (piece.offset + piece.payload.size() > outgoing.length) return net::broken("data beyond what was read");
  if (outgoing.over || outgoing.cancelling) return {};
  std::memcpy(outgoing.memory + piece.offset, piece.payload.data(), piece.payload.size());
  if (Status status = place(outgoing, piece.offset, piece.offset + piece.payload.size()); !status.ok()) return status;
  complete_read_if_whole(outgoing);
  drop_finished();
  return {};
}

Status Outbound::place(Outgoing& outgoing, uint64_t begin, uint64_t end) {
  apart_ -= outgoing.placed.apart();
  outgoing.placed.add(begin, end);
  apart_ += outgoing.placed.apart();
  return apart_ > max_runs_apart ? net::broken("what was read came in too many pieces with gaps between") : Status();
}

void Outbound::complete_read_if_whole(Outgoing& outgoing) {
  if (outgoing.told && outgoing.placed.covers(0, outgoing.length)) complete(outgoing, {});
}

void Outbound::complete(Outgoing& outgoing, Status status) {
  outgoing.over = true;
  apart_ -= outgoing.placed.apart();
  outgoing.placed.clear();
  outstanding_bytes_ -= outgoing.length;
  if (outgoing.op == Op::write && outgoing.moved < outgoing.length && status.code() != StatusCode::cancelled) {
    unsent_bytes_ -= outgoing.length - outgoing.moved;
    outgoing.moved = outgoing.length;
  }
  Event& event = context_.emit(Event::Kind::completed, connection_, outgoing.id);
  event.tag = outgoing.tag;
  if (outgoing.op == Op::read && outgoing.has_crc) event.crc32c = outgoing.crc;
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
  next_ = sent_.end_number();
  cancels_.clear();
  messages_.clear();
  live_queued_ = 0;
  unsent_bytes_ = 0;
  message_bytes_ = 0;
}

void Outbound::announce_room() {
  const bool messages_fit = message_bytes_ + context_.capabilities->max_message_bytes <= max_message_queue_bytes;
  if (!refused_ || !has_room(1) || !messages_fit) return;
  refused_ = false;
  context_.emit(Event::Kind::writable, connection_);
}

}  // namespace haul::quic
