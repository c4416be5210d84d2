// A receiver that a run starts for itself: this program again, as a server on loopback.
#pragma once

#include <sys/types.h>

#include <string>
#include <utility>

#include "haul/status.h"
#include "haul_bench/settings.h"

namespace bench {

/// Owns the process: destroying it waits a moment for its own end, then ends it.
class ServerProcess {
 public:
  /// Errors: unavailable (it did not start, or said no address in time).
  static haul::Result<ServerProcess> start(const Settings& settings);

  ServerProcess(ServerProcess&& other) noexcept : pid_(std::exchange(other.pid_, -1)), address_(std::move(other.address_)) {}
  ServerProcess& operator=(ServerProcess&&) = delete;
  ~ServerProcess();

  const std::string& address() const { return address_; }

 private:
  explicit ServerProcess(pid_t pid) : pid_(pid) {}

  pid_t pid_ = -1;
  std::string address_;
};

}  // namespace bench
