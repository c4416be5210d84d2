// The raw socket of the tcp tests.
#include "tcp_support.h"

#include <arpa/inet.h>
#include <netinet/in.h>

#include <cerrno>

#include "loopback.h"

namespace haul::tcp::test {

using haul::test::loopback;

RawSocket::RawSocket(int fd) : fd_(fd) {
  REQUIRE(fd >= 0);
  const timeval limit{.tv_sec = 10, .tv_usec = 0};
  setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
  setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
}

RawSocket RawSocket::connect_to(const Address& address) {
  RawSocket made(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  const sockaddr_in target = loopback(address.port);
  // The kernel's clearing away of a closed io_uring interrupts system calls with time limits.
  int error = EINTR;
  for (int i = 0; i < 10 && (error == EINTR || error == EALREADY); ++i) {
    error = connect(made.fd(), reinterpret_cast<const sockaddr*>(&target), sizeof(target)) == 0 ? 0 : errno;
  }
  REQUIRE((error == 0 || error == EISCONN));
  return made;
}

RawSocket RawSocket::listen_on_loopback(Address& bound) {
  RawSocket made(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in address = loopback(0);
  socklen_t bytes = sizeof(address);
  REQUIRE(bind(made.fd(), reinterpret_cast<const sockaddr*>(&address), bytes) == 0);
  REQUIRE(listen(made.fd(), 8) == 0);
  REQUIRE(getsockname(made.fd(), reinterpret_cast<sockaddr*>(&address), &bytes) == 0);
  bound = {"127.0.0.1", ntohs(address.sin_port)};
  return made;
}

bool RawSocket::ipv6_works() {
  const base::UniqueFd fd(socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in6 address{};
  address.sin6_family = AF_INET6;
  address.sin6_addr = in6addr_loopback;
  return fd && bind(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) == 0;
}

RawSocket RawSocket::accept_one() { return RawSocket(accept4(fd(), nullptr, nullptr, SOCK_CLOEXEC)); }

bool RawSocket::send(std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t sent = ::send(fd(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (sent < 0 && errno == EINTR) continue;
    if (sent <= 0) return false;
    bytes = bytes.subspan(static_cast<size_t>(sent));
  }
  return true;
}

bool RawSocket::send(const wire::Preface& preface) {
  std::array<std::byte, wire::preface_bytes> bytes{};
  wire::encode(preface, bytes);
  return send(std::span<const std::byte>(bytes));
}

bool RawSocket::send(const wire::FrameHeader& header) {
  std::array<std::byte, wire::header_bytes> bytes{};
  wire::encode(header, bytes);
  return send(std::span<const std::byte>(bytes));
}

std::vector<std::byte> RawSocket::receive(size_t bytes) {
  std::vector<std::byte> got(bytes);
  size_t filled = 0;
  while (filled < bytes) {
    const ssize_t count = recv(fd(), got.data() + filled, bytes - filled, 0);
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) break;
    filled += static_cast<size_t>(count);
  }
  got.resize(filled);
  return got;
}

bool RawSocket::readable() const {
  pollfd waiting{fd(), POLLIN, 0};
  return poll(&waiting, 1, 0) > 0;
}

bool RawSocket::ended() {
  std::array<std::byte, 4096> scratch{};
  for (int i = 0; i < 10000; ++i) {
    const ssize_t count = recv(fd(), scratch.data(), scratch.size(), 0);
    if (count == 0) return true;
    if (count < 0 && errno != EINTR) return errno == ECONNRESET;
  }
  return false;
}

}  // namespace haul::tcp::test
