// A connection's sending half: gathers frames, one send in flight at a time.
#include <cerrno>

#include "tcp/connection.h"

namespace haul::tcp {

namespace {

// Below this, pinning pages costs more than copying them.
constexpr size_t zero_copy_minimum_bytes = 32U << 10;
constexpr size_t max_zero_copy_sends = 64;

// What a spinning caller sends in one plain call: little enough not to make it wait.
constexpr size_t direct_send_bytes = 64U << 10;

}  // namespace

void Connection::send_more() {
  if (send_.busy() || send_error_ != 0) return;
  for (const auto& send : zero_copy_sends_) {
    if (send->operation.in_progress) return;
  }
  if (stream_ && !stream_->unsent().empty()) {
    submit_batch();
    return;
  }
  if (batch_.done() && zero_copy_next_) {
    submit_zero_copy();
    return;
  }
  if (batch_.done()) fill_batch();
  if (!batch_.done()) submit_batch();
}

void Connection::fill_batch() {
  batch_.clear();
  if (state_ != State::ready || close_framed_) return;
  inbound_.frame_answers(batch_);
  outbound_.frame_messages(batch_);
  const auto zero_copy = zero_copy_from_bytes();
  bool more = true;
  while (more && !zero_copy_next_) {
    more = inbound_.frame_reply(batch_, zero_copy, zero_copy_next_);
    if (!zero_copy_next_ && outbound_.frame_operation(batch_, zero_copy, zero_copy_next_)) more = true;
  }
  drain();
  batch_.finish();
}

void Connection::drain() {
  if (!draining_ || !outbound_.idle() || !inbound_.idle()) return;
  batch_.frame({.type = wire::FrameType::close}, {});
  close_framed_ = true;
  deadline_ = context_.now + context_.options->dead_after;
  context_.arm_timer(*deadline_);
}

void Connection::submit_batch() {
  auto pending = batch_.pending();
  size_t bytes = batch_.bytes();
  if (stream_) {
    if (stream_->unsent().empty()) {
      if (Status status = stream_->seal(batch_); !status.ok()) return fail(std::move(status));
    }
    bytes = stream_->unsent().size();
    sealed_range_ = {stream_->unsent().data(), bytes};
    pending = std::span(&sealed_range_, 1);
  }
  send_.message = {};
  send_.message.msg_iov = pending.data();
  send_.message.msg_iovlen = pending.size();
  if (context_.hot == this && bytes <= direct_send_bytes) {
    const int result = send_at_once(send_);
    if (result != -EAGAIN) {
      on_sent(result);
      return;
    }
  }
  context_.io->submit(send_);
}

void Connection::on_sent(int result) {
  if (result < 0) {
    // What the peer sent before may still tell why, and a clean close: the receiving half ends the connection.
    send_error_ = -result;
    return;
  }
  if (stream_) {
    stream_->sent(static_cast<size_t>(result));
  } else {
    batch_.consume(static_cast<size_t>(result));
  }
  if (batch_.done() && (!stream_ || stream_->unsent().empty())) batch_sent();
  mark_dirty();
  count_protected(static_cast<size_t>(result));
}

void Connection::batch_sent() {
  outbound_.batch_sent();
  inbound_.batch_sent();
  for (const auto& send : zero_copy_sends_) {
    if (!send->rest_in_batch) continue;
    send->rest_in_batch = false;
    release_if_over(*send);
  }
  if (close_framed_ && !zero_copy_next_) shutdown(socket_.get(), SHUT_WR);
}

std::optional<size_t> Connection::zero_copy_from_bytes() const noexcept {
  if (zero_copy_off_ != nullptr) return {};
  return zero_copy_minimum_bytes;
}

void Connection::stop_zero_copy(const char* why) {
  if (zero_copy_off_ == nullptr) zero_copy_off_ = why;
}

Connection::ZeroCopySend* Connection::free_zero_copy_send() {
  for (const auto& send : zero_copy_sends_) {
    if (!send->taken) return send.get();
  }
  if (zero_copy_sends_.size() == max_zero_copy_sends) return nullptr;
  zero_copy_sends_.push_back(std::make_unique<ZeroCopySend>());
  return zero_copy_sends_.back().get();
}

void Connection::submit_zero_copy() {
  ZeroCopySend* send = free_zero_copy_send();
  if (send == nullptr) return;  // the next release continues
  send->taken = true;
  send->payload = *zero_copy_next_;
  zero_copy_next_.reset();
  IoOperation& operation = send->operation;
  operation.handler = this;
  operation.kind = IoKind::send_zero_copy;
  operation.fd = socket_.get();
  operation.payload = send->payload.memory;
  operation.registered = send->payload.region != nullptr ? send->payload.region->pinned() : -1;
  context_.io->submit(operation);
}

void Connection::on_sent_zero_copy(ZeroCopySend& send, int result) {
  const bool impossible = result == -ENOBUFS || result == -ENOMEM || result == -EOPNOTSUPP || result == -EINVAL;
  if (result < 0 && !impossible) {
    send_error_ = -result;
    release_if_over(send);
    return;
  }
  if (impossible) stop_zero_copy("off (the kernel refused it; RLIMIT_MEMLOCK may be too low)");
  const size_t sent = result > 0 ? static_cast<size_t>(result) : 0;
  if (sent < send.payload.memory.size()) {
    batch_.clear();
    batch_.payload(send.payload.memory.subspan(sent));
    send.rest_in_batch = true;
  }
  release_if_over(send);
  mark_dirty();
}

void Connection::release_if_over(ZeroCopySend& send) {
  if (send.operation.busy() || send.rest_in_batch) return;
  send.taken = false;
  if (send.payload.reply) {
    inbound_.payload_released(send.payload.number);
  } else {
    outbound_.payload_released(send.payload.number);
  }
}

void Connection::on_released(IoOperation& operation, bool copied) {
  if (copied && context_.options->zero_copy == ZeroCopy::automatic) stop_zero_copy("off (the kernel copied all the same)");
  for (const auto& send : zero_copy_sends_) {
    if (&send->operation == &operation) release_if_over(*send);
  }
  mark_dirty();
  finish_if_quiet();
}

}  // namespace haul::tcp
