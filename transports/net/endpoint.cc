// IPv4, IPv6, and IPv4 within IPv6.
#include "net/endpoint.h"

#include <arpa/inet.h>
#include <net/if.h>

#include <array>
#include <cerrno>
#include <cstring>

namespace haul::net {

namespace {

const sockaddr_in& as_v4(const Endpoint& endpoint) { return reinterpret_cast<const sockaddr_in&>(endpoint.storage); }
const sockaddr_in6& as_v6(const Endpoint& endpoint) { return reinterpret_cast<const sockaddr_in6&>(endpoint.storage); }

}  // namespace

uint16_t Endpoint::port() const noexcept {
  return ntohs(family() == AF_INET6 ? as_v6(*this).sin6_port : as_v4(*this).sin_port);
}

void Endpoint::set_port(uint16_t port) noexcept {
  if (family() == AF_INET6) {
    reinterpret_cast<sockaddr_in6&>(storage).sin6_port = htons(port);
  } else {
    reinterpret_cast<sockaddr_in&>(storage).sin_port = htons(port);
  }
}

bool Endpoint::is_loopback() const noexcept {
  if (family() == AF_INET) return (ntohl(as_v4(*this).sin_addr.s_addr) >> 24) == 127;
  if (family() != AF_INET6) return false;
  const in6_addr& v6 = as_v6(*this).sin6_addr;
  return IN6_IS_ADDR_LOOPBACK(&v6) || (IN6_IS_ADDR_V4MAPPED(&v6) && v6.s6_addr[12] == 127);
}

uint64_t Endpoint::network() const noexcept {
  if (family() == AF_INET) return as_v4(*this).sin_addr.s_addr;
  if (family() != AF_INET6) return 0;
  const in6_addr& v6 = as_v6(*this).sin6_addr;
  uint64_t first_half = 0;
  uint32_t mapped = 0;
  std::memcpy(&first_half, v6.s6_addr, sizeof(first_half));
  std::memcpy(&mapped, &v6.s6_addr[12], sizeof(mapped));
  return IN6_IS_ADDR_V4MAPPED(&v6) ? mapped : first_half;
}

Address Endpoint::address() const {
  std::array<char, INET6_ADDRSTRLEN> text{};
  if (family() == AF_INET) {
    inet_ntop(AF_INET, &as_v4(*this).sin_addr, text.data(), text.size());
    return {text.data(), port()};
  }
  if (family() != AF_INET6) return {};
  const sockaddr_in6& v6 = as_v6(*this);
  if (IN6_IS_ADDR_V4MAPPED(&v6.sin6_addr)) {
    inet_ntop(AF_INET, &v6.sin6_addr.s6_addr[12], text.data(), text.size());
    return {text.data(), port()};
  }
  inet_ntop(AF_INET6, &v6.sin6_addr, text.data(), text.size());
  std::string host = text.data();
  std::array<char, IF_NAMESIZE> interface {};
  if (v6.sin6_scope_id != 0 && if_indextoname(v6.sin6_scope_id, interface.data()) != nullptr) {
    host += '%';
    host += interface.data();
  }
  return {host, port()};
}

Endpoint local_endpoint(int fd) {
  Endpoint endpoint;
  endpoint.bytes = sizeof(endpoint.storage);
  if (getsockname(fd, reinterpret_cast<sockaddr*>(&endpoint.storage), &endpoint.bytes) != 0) return {};
  return endpoint;
}

Endpoint remote_endpoint(int fd) {
  Endpoint endpoint;
  endpoint.bytes = sizeof(endpoint.storage);
  if (getpeername(fd, reinterpret_cast<sockaddr*>(&endpoint.storage), &endpoint.bytes) != 0) return {};
  return endpoint;
}

StatusCode code_of(int error) noexcept {
  switch (error) {
    case EMFILE:
    case ENFILE:
    case ENOBUFS:
    case ENOMEM: return StatusCode::exhausted;
    case ETIMEDOUT: return StatusCode::timed_out;
    case EACCES:
    case EPERM: return StatusCode::refused;
    default: return StatusCode::unavailable;
  }
}

std::string_view remedy(int error) noexcept {
  switch (error) {
    case ECONNREFUSED: return " (nothing listens there: check the port, and that the server runs)";
    case EHOSTUNREACH:
    case ENETUNREACH: return " (no way leads there: check the address and the network)";
    case ETIMEDOUT: return " (no answer: check the address, and firewalls on the way)";
    case EADDRINUSE: return " (something listens there already: choose another port)";
    case EADDRNOTAVAIL: return " (this machine does not have that address)";
    case EACCES:
    case EPERM: return " (not permitted: ports below 1024 need privileges, and a firewall may forbid it)";
    default: return "";
  }
}

}  // namespace haul::net
