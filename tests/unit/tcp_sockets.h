// The kernel's side of this process's TCP sockets: which is whose, their options, and what waits in them.
#pragma once

#include <linux/sockios.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <sys/ioctl.h>
#include <sys/resource.h>

#include <algorithm>
#include <catch2/catch.hpp>
#include <cstdint>

namespace haul::tcp::test {

inline uint16_t peer_port(int fd) {
  sockaddr_in address{};
  socklen_t bytes = sizeof(address);
  if (getpeername(fd, reinterpret_cast<sockaddr*>(&address), &bytes) != 0 || address.sin_family != AF_INET) return 0;
  return ntohs(address.sin_port);
}

/// The one of this process's sockets that is connected to this port: the dialing end of a pair.
inline int socket_to(uint16_t port) {
  rlimit limit{};
  REQUIRE(getrlimit(RLIMIT_NOFILE, &limit) == 0);
  const auto most = static_cast<int>(std::min<rlim_t>(limit.rlim_cur, 4096));
  for (int fd = 0; fd < most; ++fd) {
    if (peer_port(fd) == port) return fd;
  }
  FAIL("no socket is connected to port " << port);
  return -1;
}

template <typename T>
T option_of(int fd, int level, int name) {
  T value{};
  socklen_t bytes = sizeof(value);
  REQUIRE(getsockopt(fd, level, name, &value, &bytes) == 0);
  return value;
}

inline uint32_t most_unsent(int fd) { return option_of<uint32_t>(fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT); }

inline int unsent(int fd) {
  int bytes = 0;
  REQUIRE(ioctl(fd, SIOCOUTQNSD, &bytes) == 0);
  return bytes;
}

}  // namespace haul::tcp::test
