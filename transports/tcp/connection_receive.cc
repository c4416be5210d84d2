// A connection's receiving half: prefaces, frames and the end of the stream.
#include <fmt/format.h>

#include <algorithm>
#include <cerrno>

#include "tcp/connection.h"
#include "tcp/ktls.h"

namespace haul::tcp {

void Connection::on_io(IoOperation& operation, int result) {
  if (&operation == &receive_) {
    on_received(result);
  } else if (&operation == &send_) {
    on_sent(result);
  } else {
    for (const auto& send : zero_copy_sends_) {
      if (&send->operation == &operation) on_sent_zero_copy(*send, result);
    }
  }
  finish_if_quiet();
}

void Connection::receive_more() {
  if (receive_.busy()) return;
  if (context_.hot == this && receiver_.at_boundary()) return;
  if (plan_receive()) {
    context_.io->submit(receive_);
  } else {
    mark_dirty();  // the staging memory is free at the next poll
  }
}

// False: there is no memory to receive into at the moment.
bool Connection::plan_receive() {
  size_t count = 1;
  if (state_ == State::greeting) {
    const auto wanted = greeting_->wanted();
    ranges_[0] = {wanted.data(), wanted.size()};
  } else if (stream_) {
    const auto room = stream_->room();
    ranges_[0] = {room.data(), room.size()};
    count = room.empty() ? 0 : 1;
  } else {
    count = receiver_.plan(ranges_, context_.poll_number);
  }
  receive_.message = {};
  receive_.message.msg_iov = ranges_.data();
  receive_.message.msg_iovlen = count;
  planned_bytes_ = ranges_[0].iov_len + (count > 1 ? ranges_[1].iov_len : 0);
  return count > 0;
}

size_t Connection::receive_now() {
  size_t receives = 0;
  // A header, then its body, which mostly came with it.
  while (context_.hot == this && !receive_.busy() && context_.worth_receiving() && plan_receive()) {
    const bool short_body = receive_.message.msg_iovlen > 1 && ranges_[0].iov_len < context_.options->direct_threshold_bytes;
    // Mostly nothing follows a short body, and the plainer receive is the faster one.
    if (short_body) receive_.message.msg_iovlen = 1;
    const int result = receive_at_once(receive_);
    if (result == -EAGAIN) break;
    ++receives;
    on_received(result);
  }
  return receives;
}

void Connection::on_received(int result) {
  if (state_ >= State::ending) return;
  if (result > 0) {
    context_.received_bytes += static_cast<uint64_t>(result);
    context_.streaming = static_cast<size_t>(result) == planned_bytes_;
  }
  if (result > 0 && state_ == State::greeting) {
    continue_greeting(greeting_->received(static_cast<size_t>(result)));
  } else if (result > 0 && stream_) {
    stream_->received(static_cast<size_t>(result));
    deliver_records();
  } else if (result > 0) {
    if (Status status = receiver_.advance(static_cast<size_t>(result)); !status.ok()) {
      fail(Status(status.code(), fmt::format("{}: {}", target_, status.message())));
    }
  } else if (result != -ECANCELED && result != -EINTR) {
    on_end_of_stream(-result);
  }
  if (result > 0 && state_ == State::ready) count_protected(static_cast<size_t>(result));
  finish_if_quiet();
  if (state_ >= State::ending) return;
  if (result > 0 && context_.spinning) context_.make_hot(this);
  if (inbound_.landing_revoked()) {
    receiver_.discard_payload();
    inbound_.detach_landing();
  }
  mark_dirty();
}

// As far as the receiver has memory for them; the rest at the next poll.
void Connection::deliver_records() {
  while (stream_ && state_ == State::ready && stream_->has_undelivered()) {
    const auto delivered = stream_->deliver(receiver_, context_.poll_number);
    if (!delivered.ok()) {
      const Status& why = delivered.status();
      return fail(Status(why.code(), fmt::format("{}: {}", target_, why.message())));
    }
    if (inbound_.landing_revoked()) {
      receiver_.discard_payload();
      inbound_.detach_landing();
    }
    if (*delivered == ProtectedStream::Delivered::nothing) return;
    if (*delivered == ProtectedStream::Delivered::blocked) return mark_dirty();
  }
}

void Connection::on_end_of_stream(int error) {
  if (close_framed_ && (error == 0 || send_error_ == 0)) {
    tear_down({}, false);
    return;
  }
  if (error == 0) error = send_error_;
  if (state_ == State::greeting && (error == 0 || error == ECONNRESET || error == EPIPE)) {
    fail(Status(
        StatusCode::protocol,
        fmt::format("{} closed the connection before it introduced itself: it speaks something else, or does not expect this "
                    "connection",
                    target_),
        error));
  } else if (error != 0 && kernel_tls_) {
    const Status why = kernel_tls_failure(error);
    fail(Status(why.code(), fmt::format("{}: {}", target_, why.message()), error));
  } else if (error != 0) {
    fail(Status::from_errno(StatusCode::peer_lost, error, fmt::format("the connection to {} broke", target_)));
  } else {
    fail(Status(StatusCode::peer_lost,
                fmt::format("{} closed the connection without a farewell: its process may have ended", target_)));
  }
}

Result<std::byte*> Connection::on_payload_begin(const wire::FrameHeader& header) {
  if (header.type == wire::FrameType::write) return inbound_.begin_write(header);
  return outbound_.begin_read_data(header.sequence, header.body_bytes);
}

Status Connection::on_payload_end(const wire::FrameHeader& header) {
  if (header.type == wire::FrameType::write) {
    inbound_.end_write(header);
  } else {
    outbound_.end_read_data(header.sequence, header.has_crc ? std::optional(header.crc) : std::nullopt);
  }
  return {};
}

Status Connection::on_bundle(const wire::FrameHeader& header, std::span<const std::byte> body) {
  wire::RecordReader reader(body);
  uint64_t sequence = header.sequence;
  while (!reader.finished()) {
    wire::Record record;
    std::span<const std::byte> payload;
    if (Status status = reader.next(record, payload); !status.ok()) return status;
    if (Status status = on_record(record, sequence, payload); !status.ok()) return status;
  }
  return {};
}

Status Connection::on_record(const wire::Record& record, uint64_t& sequence, std::span<const std::byte> payload) {
  switch (record.type) {
    case wire::RecordType::write: return inbound_.small_write(sequence++, record, payload);
    case wire::RecordType::read: return inbound_.read_request(sequence++, record);
    case wire::RecordType::answers: return outbound_.answered(record.sequence, record.length, record.code);
    case wire::RecordType::read_data: {
      auto memory = outbound_.begin_read_data(record.sequence, record.length);
      if (!memory.ok()) return memory.status();
      std::copy(payload.begin(), payload.end(), *memory);
      outbound_.end_read_data(record.sequence, record.has_crc ? std::optional(record.crc) : std::nullopt);
      return {};
    }
    case wire::RecordType::message:
      if (payload.size() > context_.capabilities->max_message_bytes) {
        return Status(StatusCode::protocol, "the peer sent a message above the announced size; the connection was closed");
      }
      receiver_.hold_staging(context_.poll_number);
      context_.emit(Event::Kind::message, id_).payload = payload;
      return {};
  }
  return {};
}

Status Connection::on_close() {
  const bool idle = outbound_.idle() && inbound_.idle();
  if (idle || close_framed_) {
    tear_down({}, false);
  } else {
    fail(Status(StatusCode::peer_lost, fmt::format("{} closed the connection while operations were outstanding", target_)));
  }
  return {};
}

}  // namespace haul::tcp
