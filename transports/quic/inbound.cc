// Checks, lands, serves and answers the peer's operations.
#include "quic/inbound.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <limits>

#include "base/crc32c.h"
#include "net/broken.h"
#include "quic/limits.h"

namespace haul::quic {

namespace {

// In multiples of the credits: as many operations may be held as twice of them, and each cancelled that is over.
constexpr uint64_t max_answers = 3;

}  // namespace

// Pieces may overtake the records of their operations.
Status Inbound::expect_up_to(uint64_t sequence) {
  // A read is over for the peer when its bytes are there, and for this side when their acknowledgement is here: until then both
  // it and what came in its place are held.
  if (sequence - incoming_.first_number() >= 2 * uint64_t{context_.capabilities->max_operations}) {
    return net::broken("more unanswered operations than it has credit for");
  }
  while (incoming_.end_number() <= sequence) {
    incoming_.push() = Incoming{.state = State::expected};
  }
  return {};
}

Result<Inbound::Incoming*> Inbound::announced(const wire::Record& record) {
  if (record.sequence != next_record_) return net::broken("operation numbers do not follow each other");
  if (record.length > context_.capabilities->max_operation_bytes) return net::broken("an operation above the announced size");
  if (Status status = expect_up_to(record.sequence); !status.ok()) return status;
  ++next_record_;
  Incoming& incoming = incoming_[record.sequence];
  incoming.length = record.length;
  incoming.tag = record.tag;
  if (record.has_crc) incoming.crc = record.crc;
  return &incoming;
}

std::span<std::byte> Inbound::use(wire::Key key, Rights wanted, uint64_t offset, uint64_t length) {
  const auto found = grants_.find(key, wanted, offset, length);
  if (found.answer == GrantTable::Answer::forbidden && misuse_.ok()) {
    misuse_ = Status(StatusCode::refused,
                     fmt::format("the peer tried to {} {} bytes at {} that it was not granted; the connection was closed",
                                 wanted == Rights::read ? "read" : "write", length, offset));
  }
  return found.memory;
}

Status Inbound::write(const wire::Record& record, std::span<const std::byte> payload) {
  auto found = announced(record);
  if (!found.ok()) return found.status();
  Incoming& incoming = **found;
  const bool begun = incoming.state == State::landing;
  if (begun && (incoming.key != record.key || !incoming.placed.within(record.offset, record.offset + record.length))) {
    return net::broken("payload outside of its operation");
  }
  incoming.state = State::landing;
  incoming.key = record.key;
  incoming.offset = record.offset;
  incoming.memory = use(record.key, Rights::write, record.offset, record.length);
  incoming.refused = incoming.refused || incoming.memory.empty();
  if (incoming.refused) {
    queue_answer(record.sequence, StatusCode::refused);
    return {};
  }
  if (!payload.empty()) {
    std::memcpy(incoming.memory.data(), payload.data(), payload.size());
    if (Status status = place(incoming, record.offset, record.offset + record.length); !status.ok()) return status;
  }
  return land_if_whole(record.sequence, incoming);
}

Status Inbound::piece(const wire::Piece& piece) {
  const uint64_t sequence = wire::whole_sequence(piece.sequence, incoming_.first_number());
  if (sequence < incoming_.first_number()) return {};  // it came twice, or its operation is over
  if (Status status = expect_up_to(sequence); !status.ok()) return status;
  Incoming& incoming = incoming_[sequence];
  if (incoming.state == State::reading) return net::broken("payload for a read");
  if (incoming.refused || incoming.state > State::landing) return {};
  const uint64_t end = piece.offset + piece.payload.size();
  const bool told = incoming.length > 0;
  if (incoming.state == State::landing && piece.key != incoming.key)
    return net::broken("payload of one operation under two grants");
  if (told && (piece.offset < incoming.offset || end > incoming.offset + incoming.length)) {
    return net::broken("payload outside of its operation");
  }
  incoming.state = State::landing;
  incoming.key = piece.key;
  const auto memory = use(piece.key, Rights::write, piece.offset, piece.payload.size());
  if (memory.empty()) {
    incoming.refused = true;
    if (told) queue_answer(sequence, StatusCode::refused);
    return {};
  }
  std::memcpy(memory.data(), piece.payload.data(), piece.payload.size());
  if (Status status = place(incoming, piece.offset, end); !status.ok()) return status;
  return told ? land_if_whole(sequence, incoming) : Status();
}

Status Inbound::place(Incoming& incoming, uint64_t begin, uint64_t end) {
  apart_ -= incoming.placed.apart();
  incoming.placed.add(begin, end);
  apart_ += incoming.placed.apart();
  return apart_ > max_runs_apart ? net::broken("payload in too many pieces with gaps between") : Status();
}

void Inbound::forget_placed(Incoming& incoming) {
  apart_ -= incoming.placed.apart();
  incoming.placed.clear();
}

Status Inbound::land_if_whole(uint64_t sequence, Incoming& incoming) {
  if (!incoming.placed.covers(incoming.offset, incoming.offset + incoming.length)) return {};
  incoming.state = State::landed;
  forget_placed(incoming);
  Event& event = context_.emit(Event::Kind::landed, connection_, sequence);
  event.tag = incoming.tag;
  event.payload = incoming.memory;
  event.crc32c = incoming.crc;
  return {};
}

Status Inbound::read(const wire::Record& record) {
  auto found = announced(record);
  if (!found.ok()) return found.status();
  Incoming& incoming = **found;
  if (incoming.state == State::landing) return net::broken("payload for a read");
  incoming.state = State::reading;
  incoming.key = record.key;
  incoming.memory = use(record.key, Rights::read, record.offset, record.length);
  if (incoming.memory.empty()) {
    queue_answer(record.sequence, StatusCode::refused);
    return {};
  }
  if (record.has_crc) incoming.crc = base::crc32c(incoming.memory);
  requested_.push() = record.sequence;
  return {};
}

Status Inbound::cancel(const wire::Record& record) {
  if (record.sequence >= next_record_) return net::broken("a cancellation of an operation never sent");
  const bool there = incoming_.holds(record.sequence) && incoming_[record.sequence].state < State::answered;
  const bool reads = record.code != 0;
  if (there && (incoming_[record.sequence].state == State::reading) != reads)
    return net::broken("a cancellation of another kind");
  if (there && incoming_[record.sequence].state != State::landed) {
    incoming_[record.sequence].refused = true;
    queue_answer(record.sequence, StatusCode::cancelled);
  } else if (!there && reads) {
    // A read that was served whole says nothing at its end, so its cancellation is answered even then. Whoever cancels waits
    // for the answer, so there are no more than it has credit for.
    if (answers_.size() >= max_answers * uint64_t{context_.capabilities->max_operations}) {
      return net::broken("cancellations without end of what is over");
    }
    answers_.push() = Answers{.first = record.sequence, .count = 1, .code = StatusCode::cancelled};
  }
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
  if (!incoming_.holds(sequence)) return;
  incoming_[sequence].state = State::over;
  while (!incoming_.empty() && incoming_.front().state == State::over) {
    forget_placed(incoming_.front());
    incoming_.pop_front();
  }
}

bool Inbound::served() noexcept {
  if (!answers_.empty()) return false;
  for (uint64_t sequence = incoming_.first_number(); sequence != incoming_.end_number(); ++sequence) {
    Incoming& incoming = incoming_[sequence];
    const bool whole = incoming.state == State::reading && incoming.moved == incoming.length;
    if (!whole && incoming.state != State::over) return false;
  }
  return true;
}

void Inbound::frame(StreamSender& stream) {
  while (!answers_.empty() && stream.held_bytes() < 2 * max_stream_bytes) {
    const Answers answers = answers_.front();
    stream.put({.type = wire::RecordType::answers,
                .code = static_cast<uint16_t>(answers.code),
                .length = answers.count,
                .sequence = answers.first},
               {});
    answers_.pop_front();
    for (uint32_t i = 0; i < answers.count; ++i) end(answers.first + i);
  }
  while (!requested_.empty() && stream.held_bytes() < max_stream_bytes) {
    const uint64_t sequence = requested_.front();
    requested_.pop_front();
    if (!is_read(sequence)) continue;
    const Incoming& incoming = incoming_[sequence];
    const bool inline_payload = incoming.length <= max_inline_bytes;
    stream.put({.type = wire::RecordType::read_data,
                .has_crc = incoming.crc.has_value(),
                .has_payload = inline_payload,
                .length = incoming.length,
                .sequence = sequence,
                .crc = incoming.crc.value_or(0)},
               inline_payload ? std::span<const std::byte>(incoming.memory) : std::span<const std::byte>());
    if (inline_payload) {
      copied_.push_back({.end = stream.end(), .key = incoming.key});
      end(sequence);
    } else {
      serving_.push() = sequence;
    }
  }
}

bool Inbound::is_read(uint64_t sequence) { return incoming_.holds(sequence) && incoming_[sequence].state == State::reading; }

std::optional<OutgoingPiece> Inbound::next_piece(size_t max_bytes) {
  for (; !serving_.empty(); serving_.pop_front()) {
    const uint64_t sequence = serving_.front();
    if (!is_read(sequence)) continue;
    Incoming& incoming = incoming_[sequence];
    if (incoming.moved == incoming.length) continue;
    const auto room = static_cast<uint32_t>(max_bytes - wire::Piece::read_bytes);
    const uint32_t length = std::min(room, incoming.length - incoming.moved);
    auto piece = piece_again({.reply = true, .sequence = sequence, .offset = incoming.moved, .length = length});
    incoming.moved += length;
    return piece;
  }
  return {};
}

std::optional<OutgoingPiece> Inbound::piece_again(const PieceId& id) {
  if (!is_read(id.sequence)) return {};
  OutgoingPiece piece;
  piece.id = id;
  piece.header.write = false;
  piece.header.sequence = static_cast<uint32_t>(id.sequence);
  piece.header.offset = id.offset;
  piece.header.payload = incoming_[id.sequence].memory.subspan(id.offset, id.length);
  return piece;
}

void Inbound::piece_arrived(const PieceId& id) {
  if (!is_read(id.sequence)) return;
  Incoming& incoming = incoming_[id.sequence];
  incoming.arrived += id.length;
  if (incoming.arrived == incoming.length) end(id.sequence);
}

void Inbound::revoke(uint64_t grant_id) {
  const auto key = grants_.revoke(grant_id);
  if (!key) return;
  for (uint64_t sequence = incoming_.first_number(); sequence != incoming_.end_number(); ++sequence) {
    Incoming& incoming = incoming_[sequence];
    const bool uses = incoming.state == State::landing || incoming.state == State::reading;
    if (!uses || incoming.key != *key || incoming.refused) continue;
    incoming.refused = true;
    if (incoming.length > 0) queue_answer(sequence, StatusCode::refused);
  }
  const auto last = std::find_if(copied_.rbegin(), copied_.rend(), [&](const Copied& copied) { return copied.key == *key; });
  if (last == copied_.rend()) {
    context_.emit(Event::Kind::revoked, connection_, grant_id);
  } else {
    revoking_.push_back({.until = last->end, .grant_id = grant_id});
  }
}

void Inbound::acknowledged(uint64_t offset) {
  while (!copied_.empty() && copied_.front().end <= offset) copied_.pop_front();
  std::erase_if(revoking_, [&](const Revoking& revoking) {
    const bool quiet = revoking.until <= offset;
    if (quiet) context_.emit(Event::Kind::revoked, connection_, revoking.grant_id);
    return quiet;
  });
}

}  // namespace haul::quic
