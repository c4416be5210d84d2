// The IPv4 loopback address, for tests with sockets of their own.
#pragma once

#include <netinet/in.h>

#include <cstdint>

namespace haul::test {

inline sockaddr_in loopback(uint16_t port) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  address.sin_port = htons(port);
  return address;
}

}  // namespace haul::test
