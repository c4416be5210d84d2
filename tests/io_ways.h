// Which ways of tcp's input and output there are: kernels and seccomp filters, containers' for one, may refuse io_uring.
#pragma once

#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <string>
#include <vector>

#include "haul/tcp.h"

namespace haul::test {

/// Why this process may have no io_uring; empty: it may. The kernel says so, not what is tested: that must not excuse itself.
inline std::string uring_refusal() {
  // Where it is allowed, a call without parameters fails for want of those. It makes nothing.
  if (syscall(SYS_io_uring_setup, 1U, nullptr) >= 0 || (errno != EPERM && errno != ENOSYS)) return {};
  return std::string("io_uring is refused here (") + std::strerror(errno) +
         "): by kernel.io_uring_disabled, or by a seccomp filter as containers have";
}

/// Says that what follows is not tested, where the kernel refuses io_uring.
inline bool skip_without_uring() {
  const std::string refusal = uring_refusal();
  if (!refusal.empty()) std::printf("SKIPPED: %s\n", refusal.c_str());
  return !refusal.empty();
}

/// For what is tested over each: GENERATE(from_range(ways_of_io())).
inline std::vector<tcp::Io> ways_of_io() {
  if (skip_without_uring()) return {tcp::Io::epoll};
  return {tcp::Io::uring, tcp::Io::epoll};
}

/// For what is about neither of them: io_uring, else epoll, and a line that says so.
inline tcp::Io uring_or_epoll() { return ways_of_io().front(); }

}  // namespace haul::test
