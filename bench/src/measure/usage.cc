// What this process has used so far, from getrusage and /proc.
#include "measure/usage.h"

#include <sched.h>
#include <sys/resource.h>

#include <cerrno>
#include <fstream>
#include <string>

namespace bench {

namespace {

uint64_t to_ns(const timeval& time) noexcept {
  return static_cast<uint64_t>(time.tv_sec) * 1'000'000'000U + static_cast<uint64_t>(time.tv_usec) * 1'000U;
}

}  // namespace

uint64_t cpu_time_ns() noexcept {
  rusage used{};
  ::getrusage(RUSAGE_SELF, &used);
  return to_ns(used.ru_utime) + to_ns(used.ru_stime);
}

std::optional<uint64_t> peak_resident_bytes() {
  std::ifstream status("/proc/self/status");
  std::string key;
  while (status >> key) {
    if (key == "VmHWM:") {
      uint64_t kibibytes = 0;
      if (status >> kibibytes) return kibibytes * 1024;
      return std::nullopt;
    }
    std::string rest;
    std::getline(status, rest);
  }
  return std::nullopt;
}

bool pin_to_processor(int processor) noexcept {
  if (processor < 0 || processor >= CPU_SETSIZE) {
    errno = EINVAL;
    return false;
  }
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(static_cast<unsigned>(processor), &set);
  return ::sched_setaffinity(0, sizeof(set), &set) == 0;
}

}  // namespace bench
