// What this side asks for: operations and messages, cut into frames; and which frame is sent next.
#include <algorithm>
#include <iterator>

#include "base/check.h"
#include "connection.h"

namespace haul::sim {

bool Connection::can_post() const {
  const bool full = operations_.size() + undelivered_ >= options_.max_operations;
  const bool over_limit = window_limit_bytes_ && outstanding_bytes_ >= *window_limit_bytes_ && !operations_.empty();
  return established() && !full && !over_limit;
}

bool Connection::can_send() const {
  return state_ == State::ready && messages_.size() < max_messages && message_bytes_queued_ < max_message_bytes_queued;
}

bool Connection::take_writable() {
  if (!would_be_writable()) return false;
  wants_post_ = wants_post_ && !can_post();
  wants_send_ = wants_send_ && !can_send();
  return true;
}

size_t Connection::post(std::span<const Operation> operations) {
  size_t taken = 0;
  for (const Operation& operation : operations) {
    const bool over = state_ == State::draining || state_ == State::closed;
    if (!over && !can_post()) {
      wants_post_ = true;
      break;
    }
    ++taken;
    const Status status = over ? Status(StatusCode::peer_lost, "the connection is being closed") : check_operation(operation);
    if (!status.ok()) {
      emit_completed(operation.id, status, std::nullopt);
      continue;
    }
    Outgoing outgoing;
    outgoing.operation = operation;
    outgoing.memory = operation.local->bytes().subspan(operation.local_offset, operation.length);
    std::copy_n(operation.remote->data.begin(), outgoing.key.size(), outgoing.key.begin());
    outstanding_bytes_ += operation.length;
    operations_.emplace(operation.id, std::move(outgoing));
    jobs_.push_back({.serving = false, .key = operation.id});
  }
  pump();
  return taken;
}

Status Connection::check_operation(const Operation& operation) const {
  const auto invalid = [](const char* why) { return Status(StatusCode::invalid, why); };
  if (operation.length == 0) return invalid("an operation of no bytes: leave it out");
  if (operation.length > options_.max_operation_bytes)
    return invalid("the operation is longer than max_operation_bytes: cut it");
  if (operation.local == nullptr || operation.remote == nullptr)
    return invalid("the operation lacks its local or remote memory");
  if (operation.remote->size != std::tuple_size_v<Token>)
    return invalid("the remote region is not one of the simulated transport");
  const uint64_t local_bytes = operation.local->bytes().size();
  if (operation.local_offset > local_bytes || operation.length > local_bytes - operation.local_offset)
    return invalid("the operation reaches past the end of its local memory");
  if (operations_.contains(operation.id)) return invalid("an outstanding operation has the same id");
  return Status();
}

void Connection::emit_completed(uint64_t id, Status status, std::optional<uint32_t> crc32c) {
  ++undelivered_;
  Event event;
  event.kind = Event::Kind::completed;
  event.connection = id_;
  event.id = id;
  event.status = std::move(status);
  event.crc32c = crc32c;
  outlet_.emit(std::move(event), {});
}

void Connection::complete(Outgoing& outgoing, Status status) {
  const uint64_t id = outgoing.operation.id;
  emit_completed(id, std::move(status), outgoing.crc32c);
  outstanding_bytes_ -= outgoing.operation.length;
  ids_.erase(outgoing.number);
  operations_.erase(id);
  drain_deadline_ = now() + options_.dead_after;
}

void Connection::cancel(uint64_t id) {
  const auto found = operations_.find(id);
  if (found == operations_.end() || found->second.cancelling) return;
  Outgoing& outgoing = found->second;
  std::erase_if(jobs_, [&](const Job& job) { return !job.serving && job.key == id; });
  if (outgoing.number == 0) return complete(outgoing, Status(StatusCode::cancelled, "cancelled before it began"));
  outgoing.cancelling = true;
  Frame frame;
  frame.kind = FrameKind::cancel;
  frame.number = outgoing.number;
  frame.read = outgoing.operation.op == Op::read;
  control_.push_back(std::move(frame));
  pump();
}

bool Connection::send(std::span<const std::byte> message) {
  if (!can_send()) {
    wants_send_ = true;
    return false;
  }
  messages_.push_back({.bytes = {message.begin(), message.end()}, .sent = 0, .acknowledged = 0});
  message_bytes_queued_ += message.size();
  pump();
  return true;
}

void Connection::pump() {
  while (established() && sender_.may_send(now())) {
    if (const auto lost = sender_.take_lost()) {
      send_segment(*lost);
      continue;
    }
    if (!sender_.may_add()) return;
    std::optional<Frame> frame = next_frame();
    if (!frame) return;
    send_segment(sender_.add(std::move(*frame)));
  }
}

void Connection::send_segment(uint64_t sequence) {
  Packet packet = make_packet(PacketKind::data);
  packet.sequence = sequence;
  const Frame& frame = sender_.segment(sequence).frame;
  // What became obsolete is sent as nothing: the sequence has no gap, and no memory is touched that was given back.
  if (const auto bytes = bytes_of(frame)) {
    packet.frame = frame;
    packet.payload.assign(bytes->begin(), bytes->end());
  }
  packet.transmission = sender_.on_sent(sequence, packet.wire_bytes(), now());
  outlet_.transmit(std::move(packet));
}

std::optional<std::span<const std::byte>> Connection::bytes_of(const Frame& frame) {
  switch (frame.kind) {
    case FrameKind::write: {
      const Outgoing* outgoing = find_by_number(frame.number);
      if (outgoing == nullptr || outgoing->cancelling) return std::nullopt;
      return outgoing->memory.subspan(frame.offset, frame.length);
    }
    case FrameKind::read_data: {
      const auto serving = serving_.find(frame.number);
      if (serving == serving_.end()) return std::nullopt;
      return serving->second.memory.subspan(frame.offset, frame.length);
    }
    case FrameKind::message: {
      const OutgoingMessage& message = messages_.at(frame.number - first_message_);
      return std::span(message.bytes).subspan(frame.offset, frame.length);
    }
    default: return std::span<const std::byte>();
  }
}

std::optional<Frame> Connection::next_frame() {
  if (!control_.empty()) {
    Frame frame = std::move(control_.front());
    control_.pop_front();
    return frame;
  }
  if (auto frame = next_message_piece()) return frame;
  if (auto frame = next_piece()) return frame;
  if (!drained()) return std::nullopt;
  finish_sent_ = true;
  Frame frame;
  frame.kind = FrameKind::finish;
  return frame;
}

bool Connection::drained() const {
  return state_ == State::draining && !finish_sent_ && operations_.empty() && messages_.empty() && sender_.idle();
}

std::optional<Frame> Connection::next_message_piece() {
  if (unsent_message_ == messages_.size()) return std::nullopt;
  OutgoingMessage& message = messages_[unsent_message_];
  Frame frame;
  frame.kind = FrameKind::message;
  frame.number = first_message_ + unsent_message_;
  frame.total = static_cast<uint32_t>(message.bytes.size());
  frame.offset = message.sent;
  frame.length = std::min(piece_bytes(), frame.total - frame.offset);
  message.sent += frame.length;
  if (message.sent == frame.total) ++unsent_message_;
  return frame;
}

std::optional<Frame> Connection::next_piece() {
  while (!jobs_.empty()) {
    const Job job = jobs_.front();
    std::optional<Frame> frame;
    if (job.serving) {
      const auto serving = serving_.find(job.key);
      if (serving != serving_.end()) frame = next_serving_piece(job.key, serving->second);
    } else {
      const auto outgoing = operations_.find(job.key);
      if (outgoing != operations_.end()) frame = next_operation_piece(outgoing->second);
    }
    if (frame) return frame;
    jobs_.pop_front();
  }
  return std::nullopt;
}

std::optional<Frame> Connection::next_operation_piece(Outgoing& outgoing) {
  const Operation& operation = outgoing.operation;
  const bool is_read = operation.op == Op::read;
  if (is_read ? outgoing.number != 0 : outgoing.moved == operation.length) return std::nullopt;
  if (outgoing.number == 0) {
    outgoing.number = next_number_++;
    ids_[outgoing.number] = operation.id;
  }
  Frame frame;
  frame.kind = is_read ? FrameKind::read_request : FrameKind::write;
  frame.number = outgoing.number;
  frame.total = operation.length;
  frame.key = outgoing.key;
  frame.remote_offset = operation.remote_offset;
  frame.tag = operation.tag;
  frame.crc32c = operation.crc32c;
  if (is_read) return frame;
  frame.offset = outgoing.moved;
  frame.length = std::min(piece_bytes(), frame.total - frame.offset);
  outgoing.moved += frame.length;
  return frame;
}

std::optional<Frame> Connection::next_serving_piece(uint64_t number, Serving& serving) {
  const auto total = static_cast<uint32_t>(serving.memory.size());
  if (serving.sent == total) return std::nullopt;
  Frame frame;
  frame.kind = FrameKind::read_data;
  frame.number = number;
  frame.total = total;
  frame.offset = serving.sent;
  frame.length = std::min(piece_bytes(), total - serving.sent);
  frame.crc32c = serving.crc32c;
  serving.sent += frame.length;
  return frame;
}

void Connection::on_acknowledged(const Frame& frame) {
  drain_deadline_ = frame.kind == FrameKind::nothing ? drain_deadline_ : now() + options_.dead_after;
  if (frame.kind == FrameKind::message) {
    messages_.at(frame.number - first_message_).acknowledged += frame.length;
    while (!messages_.empty() && messages_.front().acknowledged == messages_.front().bytes.size()) {
      message_bytes_queued_ -= messages_.front().bytes.size();
      messages_.pop_front();
      ++first_message_;
      --unsent_message_;
    }
  }
  if (frame.kind == FrameKind::read_data) {
    const auto serving = serving_.find(frame.number);
    if (serving == serving_.end()) return;
    serving->second.acknowledged += frame.length;
    if (serving->second.acknowledged < frame.total) return;
    serving_.erase(serving);
    settled_.add(frame.number, frame.number + 1);
  }
}

Connection::Outgoing* Connection::find_by_number(uint64_t number) {
  const auto id = ids_.find(number);
  return id == ids_.end() ? nullptr : &operations_.at(id->second);
}

PathSample Connection::sample() const {
  PathSample sample;
  sample.rtt_smoothed = sender_.rtt_smoothed();
  sample.rtt_min = sender_.rtt_min();
  sample.delivery_rate_bytes_s = sender_.delivery_rate_bytes_s();
  sample.congestion_window_bytes = sender_.window_bytes();
  sample.bytes_sent = sender_.bytes_sent();
  sample.bytes_received = bytes_received_;
  sample.retransmits = sender_.retransmits();
  sample.progress_bytes = sender_.bytes_acknowledged() + bytes_received_;
  for (const auto& [id, outgoing] : operations_) {
    if (outgoing.operation.op == Op::write && !outgoing.cancelling)
      sample.bytes_unsent += outgoing.operation.length - outgoing.moved;
  }
  for (const OutgoingMessage& message : messages_) sample.bytes_unsent += message.bytes.size() - message.sent;
  return sample;
}

void Connection::set_limits(const Limits& limits) {
  window_limit_bytes_ = limits.window_bytes;
  sender_.set_rate(limits.rate_bytes_s);
  pump();
}

}  // namespace haul::sim
