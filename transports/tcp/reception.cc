// Accepts sockets and reads their prefaces.
#include "tcp/reception.h"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>

namespace haul::tcp {

namespace {

constexpr Duration retry_after = std::chrono::milliseconds(100);

}  // namespace

void Reception::open(base::UniqueFd listening) {
  auto door = std::make_unique<Door>();
  door->socket = std::move(listening);
  set_nonblocking(door->socket.get(), context_.io->wants_nonblocking_sockets());
  door->operation.handler = this;
  door->operation.kind = IoKind::accept;
  door->operation.fd = door->socket.get();
  doors_.push_back(std::move(door));
  accept_more();
}

// While all places are taken, those who wait do so in the kernel's backlog.
void Reception::accept_more() {
  if (stopping_ || retry_) return;
  for (const auto& door : doors_) {
    if (guests_.size() < context_.options->max_unidentified && !door->operation.busy()) context_.io->submit(door->operation);
  }
}

void Reception::on_io(IoOperation& operation, int result) {
  if (operation.kind == IoKind::accept) {
    accepted(operation, result);
    return;
  }
  const auto found =
      std::find_if(guests_.begin(), guests_.end(), [&operation](const auto& guest) { return &guest->operation == &operation; });
  if (found != guests_.end()) received(**found, result);
}

void Reception::accepted(const IoOperation& operation, int result) {
  if (result >= 0) {
    auto guest = std::make_unique<Guest>();
    guest->socket.reset(result);
    guest->from.storage = operation.address;
    guest->from.bytes = operation.address_bytes;
    guest->deadline = context_.now + context_.options->preface_timeout;
    guest->operation.handler = this;
    guest->operation.kind = IoKind::receive;
    guest->operation.fd = result;
    set_nonblocking(result, context_.io->wants_nonblocking_sockets());
    context_.arm_timer(guest->deadline);
    guests_.push_back(std::move(guest));
    if (!stopping_) receive(*guests_.back());
  } else if (code_of(-result) == StatusCode::exhausted && !stopping_) {
    context_.log(LogLevel::warning,
                 Status::from_errno(StatusCode::exhausted, -result, "a connection could not be accepted").message());
    retry_ = context_.now + retry_after;
    context_.arm_timer(*retry_);
  }
  accept_more();
}

void Reception::receive(Guest& guest) {
  guest.range = {guest.preface.data() + guest.filled, guest.preface.size() - guest.filled};
  guest.operation.message = {};
  guest.operation.message.msg_iov = &guest.range;
  guest.operation.message.msg_iovlen = 1;
  context_.io->submit(guest.operation);
}

void Reception::received(Guest& guest, int result) {
  if (result <= 0 || stopping_) {
    leave(guest);
    return;
  }
  guest.filled += static_cast<size_t>(result);
  if (guest.filled < guest.preface.size()) {
    receive(guest);
    return;
  }
  auto preface = wire::decode_preface(guest.preface);
  if (!preface.ok()) {
    context_.log(LogLevel::warning, fmt::format("{} was turned away: {}", guest.from.to_string(), preface.status().message()));
    // So that a peer of another version can say both versions too. What speaks something else sees a closed connection.
    if (wire::is_other_version(guest.preface)) {
      std::array<std::byte, wire::preface_bytes> own{};
      wire::encode(wire::Preface{.max_payload_bytes = 1, .max_message_bytes = 1, .credits = 1}, own);
      [[maybe_unused]] const ssize_t sent = ::send(guest.socket.get(), own.data(), own.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
    }
    leave(guest);
    return;
  }
  context_.io->forget(guest.socket.get());
  Arrival arrival{.socket = std::move(guest.socket), .preface = *preface};
  leave(guest);
  sink_.on_arrival(std::move(arrival));
}

void Reception::leave(const Guest& guest) {
  if (guest.socket) context_.io->forget(guest.socket.get());
  std::erase_if(guests_, [&guest](const auto& other) { return other.get() == &guest; });
  accept_more();
}

void Reception::on_timer() {
  if (retry_ && context_.now >= *retry_) {
    retry_.reset();
    accept_more();
  } else if (retry_) {
    context_.arm_timer(*retry_);
  }
  for (const auto& guest : guests_) {
    if (context_.now < guest->deadline) {
      context_.arm_timer(guest->deadline);
    } else {
      context_.io->cancel(guest->operation);
    }
  }
}

void Reception::stop() {
  stopping_ = true;
  for (const auto& door : doors_) context_.io->cancel(door->operation);
  for (const auto& guest : guests_) context_.io->cancel(guest->operation);
}

bool Reception::busy() const noexcept {
  const auto working = [](const auto& owner) { return owner->operation.busy(); };
  return std::any_of(doors_.begin(), doors_.end(), working) || std::any_of(guests_.begin(), guests_.end(), working);
}

}  // namespace haul::tcp
