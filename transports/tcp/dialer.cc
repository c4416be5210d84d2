// The staggered race over addresses.
#include "tcp/dialer.h"

#include <fmt/format.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>

namespace haul::tcp {

namespace {

constexpr Duration stagger = std::chrono::milliseconds(250);  // RFC 8305 section 5

// Alternates the families, the resolver's favourite first (RFC 8305 section 4).
std::vector<Endpoint> interleave(std::vector<Endpoint> endpoints) {
  std::vector<Endpoint> first;
  std::vector<Endpoint> other;
  for (Endpoint& endpoint : endpoints) {
    (endpoint.family() == endpoints.front().family() ? first : other).push_back(endpoint);
  }
  std::vector<Endpoint> mixed;
  for (size_t i = 0; i < std::max(first.size(), other.size()); ++i) {
    if (i < first.size()) mixed.push_back(first[i]);
    if (i < other.size()) mixed.push_back(other[i]);
  }
  return mixed;
}

}  // namespace

void Dialer::start(std::vector<Endpoint> endpoints, std::string target) {
  endpoints_ = interleave(std::move(endpoints));
  target_ = std::move(target);
  start_next();
}

void Dialer::start_next() {
  while (!over_ && next_ < endpoints_.size()) {
    const Endpoint& endpoint = endpoints_[next_++];
    auto socket = make_socket(endpoint.family(), *context_.options);
    if (!socket.ok()) {
      failed(socket.status());
      continue;
    }
    auto attempt = std::make_unique<Attempt>();
    attempt->socket = std::move(*socket);
    attempt->endpoint = endpoint;
    set_nonblocking(attempt->socket.get(), context_.io->wants_nonblocking_sockets());
    IoOperation& operation = attempt->operation;
    operation.handler = this;
    operation.kind = IoKind::connect;
    operation.fd = attempt->socket.get();
    operation.address = endpoint.storage;
    operation.address_bytes = endpoint.bytes;
    operation.owner_data = attempts_.size();
    context_.io->submit(operation);
    attempts_.push_back(std::move(attempt));
    ++racing_;
    next_start_ = context_.now + stagger;
    if (next_ < endpoints_.size()) context_.arm_timer(next_start_);
    return;
  }
  if (racing_ == 0 && !over_) {
    over_ = true;
    owner_.on_dial_failed(first_failure_);
  }
}

void Dialer::on_timer() {
  if (over_ || attempts_.empty() || next_ >= endpoints_.size()) return;
  if (context_.now >= next_start_) {
    start_next();
  } else {
    context_.arm_timer(next_start_);
  }
}

void Dialer::on_io(IoOperation& operation, int result) {
  Attempt& attempt = *attempts_[operation.owner_data];
  --racing_;
  context_.io->forget(operation.fd);
  if (over_) {
    attempt.socket.reset();
    return;
  }
  if (result < 0) {
    attempt.socket.reset();
    const std::string where = attempt.endpoint.to_string();
    const std::string tried = target_ == where ? where : fmt::format("{}, {}", target_, where);
    failed(Status::from_errno(code_of(-result), -result, fmt::format("connecting to {}{}", tried, remedy(-result))));
    start_next();
    return;
  }
  base::UniqueFd winner = std::move(attempt.socket);
  stop();
  owner_.on_dialed(std::move(winner));
}

// The first failure is of the preferred address, and the one to show.
void Dialer::failed(const Status& why) {
  if (first_failure_.ok()) first_failure_ = why;
}

void Dialer::stop() {
  over_ = true;
  for (const auto& attempt : attempts_) {
    if (attempt->operation.busy()) context_.io->cancel(attempt->operation);
  }
}

bool Dialer::busy() const noexcept {
  return std::any_of(attempts_.begin(), attempts_.end(), [](const auto& attempt) { return attempt->operation.busy(); });
}

}  // namespace haul::tcp
