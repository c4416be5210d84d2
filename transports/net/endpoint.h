// Addresses of sockets, and what errors of theirs mean.
#pragma once

#include <netinet/in.h>
#include <sys/socket.h>

#include <cstdint>
#include <string>
#include <string_view>

#include "haul/address.h"
#include "haul/status.h"

namespace haul::net {

/// An IPv4 or IPv6 address with its port.
struct Endpoint {
  sockaddr_storage storage{};
  socklen_t bytes = 0;

  int family() const noexcept { return storage.ss_family; }
  uint16_t port() const noexcept;
  void set_port(uint16_t port) noexcept;
  bool is_loopback() const noexcept;
  Address address() const;
  std::string to_string() const { return address().to_string(); }
  /// What one stranger hardly has many of: an IPv4 address, or the first half of an IPv6 address.
  uint64_t network() const noexcept;
};

Endpoint local_endpoint(int fd);
Endpoint remote_endpoint(int fd);

/// The reaction that an errno of a connection calls for.
StatusCode code_of(int error) noexcept;
/// What to do about a connect or a listen that failed so, as " (…)" behind what was tried; empty where there is no advice.
std::string_view remedy(int error) noexcept;

}  // namespace haul::net
