// Accepts sockets and reads their prefaces.
#include "tcp/reception.h"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <utility>

namespace haul::tcp {

namespace {

constexpr Duration retry_after = std::chrono::milliseconds(100);
constexpr Duration handshake_burst = std::chrono::milliseconds(200);  // as many at once as this time allows
constexpr uint32_t max_logged_per_s = 20;
constexpr Duration parting_time = std::chrono::seconds(1);
constexpr size_t max_unread_bytes = 64U << 10;  // more than a handshake and what may follow it at once

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

// One more than may stay: it pushes another one out. Those who were pushed out leave soon.
void Reception::accept_more() {
  if (stopping_ || retry_) return;
  for (const auto& door : doors_) {
    if (guests_.size() <= context_.options->max_unidentified && !door->operation.busy()) context_.io->submit(door->operation);
  }
}

// A flood pushes out its own: one of those who hold the most places goes, whoever of them has said nothing for longest, else
// the oldest. Never who just came, and had no time to say anything.
void Reception::make_room() {
  if (guests_.size() <= context_.options->max_unidentified) return;
  const auto crowd = [this](const Guest& guest) { return places_.at(guest.network); };
  const auto goes_before = [&crowd](const Guest& a, const Guest& b) {
    return crowd(a) != crowd(b) ? crowd(a) > crowd(b) : a.silent() && !b.silent();
  };
  Guest* first = nullptr;
  for (size_t i = 0; i + 1 < guests_.size(); ++i) {
    Guest& guest = *guests_[i];
    if (!guest.leaving && (first == nullptr || goes_before(guest, *first))) first = &guest;
  }
  if (first == nullptr) return;
  first->leaving = true;
  if (first->operation.busy()) {
    context_.io->cancel(first->operation);
  } else {
    leave(*first);
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
    guest->greeting = std::make_unique<Greeting>(nullptr, context_.security, context_.protection);
    guest->network = guest->from.network();
    ++places_[guest->network];
    guests_.push_back(std::move(guest));
    if (!stopping_) receive(*guests_.back());
    make_room();
  } else if (code_of(-result) == StatusCode::exhausted && !stopping_) {
    context_.log(LogLevel::warning,
                 Status::from_errno(StatusCode::exhausted, -result, "a connection could not be accepted").message());
    retry_ = context_.now + retry_after;
    context_.arm_timer(*retry_);
  }
  accept_more();
}

void Reception::receive(Guest& guest) {
  const std::span<std::byte> wanted = guest.parting ? std::span<std::byte>(unread_) : guest.greeting->wanted();
  guest.range = {wanted.data(), wanted.size()};
  guest.operation.message = {};
  guest.operation.message.msg_iov = &guest.range;
  guest.operation.message.msg_iovlen = 1;
  context_.io->submit(guest.operation);
}

void Reception::received(Guest& guest, int result) {
  if (result <= 0 || stopping_ || guest.leaving) {
    leave(guest);
    return;
  }
  if (guest.parting) {
    guest.unread += static_cast<size_t>(result);
    return guest.unread > max_unread_bytes ? leave(guest) : receive(guest);
  }
  greet(guest, static_cast<size_t>(result));
}

// A handshake costs processor time: strangers get no more than a share of it.
bool Reception::may_handshake() {
  if (!context_.security) return true;
  if (next_handshake_ > context_.now + handshake_burst) return false;
  next_handshake_ =
      std::max(next_handshake_, context_.now) + Duration(std::chrono::seconds(1)) / context_.options->max_handshakes_per_s;
  return true;
}

// First come, first served: who waits already is not overtaken.
void Reception::greet(Guest& guest, size_t bytes) {
  if (!guest.admitted && guest.greeting->would_handshake(bytes)) {
    if (postponed_ > 0 || !may_handshake()) {
      guest.postponed = bytes;
      ++postponed_;
      context_.arm_timer(next_handshake_ - handshake_burst);
      return;
    }
    guest.admitted = true;
  }
  const Status status = guest.greeting->received(bytes);
  const bool told = !guest.greeting->outgoing().empty();
  const bool sent = send_now(guest.socket.get(), guest.greeting->outgoing());
  guest.greeting->take_outgoing();
  if (!status.ok()) turned_away(guest, status);
  if (!status.ok() && told && sent) return part(guest);
  if (!status.ok() || !sent) return leave(guest);
  if (!guest.greeting->done()) return receive(guest);
  context_.io->forget(guest.socket.get());
  Arrival arrival{.socket = std::move(guest.socket), .preface = guest.greeting->peer(), .link = guest.greeting->take_link()};
  leave(guest);
  sink_.on_arrival(std::move(arrival));
}

// A socket that is closed with bytes unread is reset, and the peer may never see what was said to it.
void Reception::part(Guest& guest) {
  shutdown(guest.socket.get(), SHUT_WR);
  guest.parting = true;
  guest.deadline = std::min(guest.deadline, context_.now + parting_time);
  context_.arm_timer(guest.deadline);
  receive(guest);
}

// Strangers cannot fill the log either.
void Reception::turned_away(const Guest& guest, const Status& why) {
  if (context_.now >= log_period_end_) {
    if (not_logged_ > 0) context_.log(LogLevel::warning, fmt::format("{} more were turned away before", not_logged_));
    not_logged_ = 0;
    logged_ = 0;
    log_period_end_ = context_.now + std::chrono::seconds(1);
  }
  if (logged_ == max_logged_per_s) {
    ++not_logged_;
    return;
  }
  ++logged_;
  context_.log(LogLevel::warning, fmt::format("{} was turned away: {}", guest.from.to_string(), why.message()));
}

void Reception::leave(const Guest& guest) {
  if (guest.socket) context_.io->forget(guest.socket.get());
  if (guest.postponed > 0) --postponed_;
  if (const auto held = places_.find(guest.network); --held->second == 0) places_.erase(held);
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
  // Copied: who leaves takes itself off the list.
  std::vector<Guest*> all;
  for (const auto& guest : guests_) all.push_back(guest.get());
  for (Guest* guest : all) {
    if (context_.now < guest->deadline) {
      context_.arm_timer(guest->deadline);
      if (guest->postponed > 0) resume(*guest);
    } else if (guest->operation.busy()) {
      context_.io->cancel(guest->operation);
    } else {
      leave(*guest);
    }
  }
}

void Reception::resume(Guest& guest) {
  if (!may_handshake()) {
    context_.arm_timer(next_handshake_ - handshake_burst);
    return;
  }
  guest.admitted = true;
  --postponed_;
  greet(guest, std::exchange(guest.postponed, 0));
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
