// Records, taken apart and put together wrongly.
#include "relay.h"

#include <netinet/in.h>
#include <sys/socket.h>

#include <catch2/catch.hpp>
#include <cerrno>
#include <utility>

#include "loopback.h"

namespace haul::hostile {

using test::loopback;

namespace {

constexpr size_t header_bytes = 5;
constexpr size_t max_earlier = 32;

void append(std::vector<std::byte>& to, std::span<const std::byte> bytes) { to.insert(to.end(), bytes.begin(), bytes.end()); }

}  // namespace

std::string to_string(Kind kind) {
  constexpr std::array names = {"none", "flip", "lose", "shorten", "twice", "swap", "replay", "inject", "half", "end"};
  return names.at(static_cast<size_t>(kind));
}

Relay::Relay(uint16_t target_port, Tampering tampering) : Relay(target_port, tampering, nullptr) {}

Relay::Relay(uint16_t target_port, Tampering which, Edit edit)
    : target_port_(target_port),
      tampering_(which),
      edit_(std::move(edit)),
      random_(which.seed + 1),
      listening_(::socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)) {
  sockaddr_in address = loopback(0);
  socklen_t bytes = sizeof(address);
  REQUIRE(::bind(listening_.get(), reinterpret_cast<const sockaddr*>(&address), bytes) == 0);
  REQUIRE(::listen(listening_.get(), 8) == 0);
  REQUIRE(::getsockname(listening_.get(), reinterpret_cast<sockaddr*>(&address), &bytes) == 0);
  port_ = ntohs(address.sin_port);
}

void Relay::accept() {
  client_.reset(::accept4(listening_.get(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
  if (!client_) return;
  server_.reset(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  const sockaddr_in target = loopback(target_port_);
  int error = EINTR;
  while (error == EINTR) {
    error = ::connect(server_.get(), reinterpret_cast<const sockaddr*>(&target), sizeof(target)) == 0 ? 0 : errno;
  }
  REQUIRE((error == 0 || error == EISCONN));
  ways_[0].from = ways_[1].to = client_.get();
  ways_[0].to = ways_[1].from = server_.get();
}

void Relay::step() {
  if (!client_) accept();
  if (!client_ || !server_) return;
  for (Way& way : ways_) {
    receive(way);
    take_records(way);
    send(way);
  }
  if (ends_ && ways_[0].out.empty() && ways_[1].out.empty()) hang_up();
}

void Relay::receive(Way& way) {
  std::array<std::byte, 65536> block;  // NOLINT(cppcoreguidelines-pro-type-member-init)
  while (!way.over && !ends_ && way.out.size() < block.size()) {
    const ssize_t got = ::recv(way.from, block.data(), block.size(), MSG_DONTWAIT);
    if (got < 0) {
      if (errno != EAGAIN && errno != EINTR) hang_up();
      return;
    }
    way.over = got == 0;
    append(way.in, std::span(block).first(static_cast<size_t>(got)));
    take_records(way);
  }
}

void Relay::take_records(Way& way) {
  while (way.in.size() >= header_bytes && !ends_) {
    const size_t bytes = header_bytes + (static_cast<size_t>(way.in[3]) << 8U) + static_cast<size_t>(way.in[4]);
    if (way.in.size() < bytes) return;
    std::vector<std::byte> record(way.in.begin(), way.in.begin() + static_cast<ptrdiff_t>(bytes));
    way.in.erase(way.in.begin(), way.in.begin() + static_cast<ptrdiff_t>(bytes));
    const bool this_one = &way == &ways_[tampering_.to_server ? 0 : 1] && way.count == tampering_.record;
    ++way.count;
    if (this_one && (tampering_.kind != Kind::none || edit_)) {
      tamper(way, std::move(record));
    } else {
      pass(way, std::move(record));
    }
  }
}

void Relay::pass(Way& way, std::vector<std::byte> record) {
  append(way.out, record);
  append(way.out, std::exchange(way.held, {}));
  if (way.earlier.size() < max_earlier) way.earlier.push_back(std::move(record));
}

void Relay::tamper(Way& way, std::vector<std::byte> record) {
  tampered_ = true;
  if (edit_) {
    edit_(record);
    return pass(way, std::move(record));
  }
  size_t at = random_.below(record.size());
  // The version of the very first records means nothing (RFC 8446 section 5.1), and nobody authenticates it.
  if (tampering_.kind == Kind::flip && tampering_.record == 0 && (at == 1 || at == 2)) at = 0;
  switch (tampering_.kind) {
    case Kind::none:
    case Kind::lose: return;
    case Kind::flip: record[at] ^= static_cast<std::byte>(1U << random_.below(8)); break;
    case Kind::shorten: {
      const size_t bytes = 1 + random_.below(record.size() - at);
      record.erase(record.begin() + static_cast<ptrdiff_t>(at), record.begin() + static_cast<ptrdiff_t>(at + bytes));
      break;
    }
    case Kind::twice: append(way.out, record); break;
    case Kind::swap: way.held = std::move(record); return;
    case Kind::replay:
      append(way.out, record);
      // The very first has none before it: it is its own.
      append(way.out, way.earlier.empty() ? record : way.earlier[random_.below(way.earlier.size())]);
      return;
    case Kind::inject: {
      std::vector<std::byte> made(header_bytes + 17 + random_.below(1000));
      random_.fill(made);
      const size_t body = made.size() - header_bytes;
      made[0] = std::byte{23};
      made[1] = made[2] = std::byte{3};
      made[3] = static_cast<std::byte>(body >> 8U);
      made[4] = static_cast<std::byte>(body & 0xffU);
      append(way.out, made);
      break;
    }
    case Kind::half: record.resize(at); [[fallthrough]];
    case Kind::end:
      ends_ = true;
      if (tampering_.kind == Kind::end) record.clear();
      break;
  }
  pass(way, std::move(record));
}

void Relay::send(Way& way) {
  while (!way.out.empty()) {
    const ssize_t sent = ::send(way.to, way.out.data(), way.out.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
    if (sent < 0) {
      if (errno != EAGAIN && errno != EINTR) hang_up();
      return;
    }
    way.out.erase(way.out.begin(), way.out.begin() + sent);
  }
  if (way.over && way.to >= 0) ::shutdown(way.to, SHUT_WR);
}

void Relay::hang_up() {
  for (Way& way : ways_) {
    way.over = true;
    way.out.clear();
    way.in.clear();
  }
  ends_ = true;
  if (client_) ::shutdown(client_.get(), SHUT_RDWR);
  if (server_) ::shutdown(server_.get(), SHUT_RDWR);
}

}  // namespace haul::hostile
