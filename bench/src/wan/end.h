// One end of the emulated path: a network namespace of its own, and the device in it that leads to the other end.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "base/unique_fd.h"
#include "haul/status.h"

namespace wan {

/// Owns namespace and device by their descriptors alone, neither has a name outside: when this process is gone, however it
/// ended, and its children with it, the kernel removes both.
class End {
 public:
  /// `address` of 10.200.0.0/24. `window_bytes`: how much TCP is to be able to keep under way.
  /// Errors: refused (not root, or a container without the right to do this), unsupported (no /dev/net/tun, or a kernel without
  /// namespaces), exhausted (descriptors, namespaces, memory), unavailable.
  static haul::Result<End> make(std::string address, uint64_t window_bytes);

  const std::string& address() const noexcept { return address_; }
  int name_space() const noexcept { return name_space_.get(); }
  /// The other side of the device: not blocking, one frame with its VirtioHeader a read or write.
  int tun() const noexcept { return tun_.get(); }
  /// What could not be set up and may disturb a measurement; empty: nothing.
  const std::string& warning() const noexcept { return warning_; }

  /// Runs `work` on a thread of its own within the namespace and waits for it: sockets that it opens belong there for ever.
  haul::Status inside(const std::function<haul::Status()>& work) const;
  /// Packets that the device has thrown away because nobody read them in time.
  haul::Result<uint64_t> dropped_packets() const;

 private:
  End() = default;
  haul::Status set_up(uint64_t window_bytes);
  haul::Status open_device();

  std::string address_;
  std::string warning_;
  haul::base::UniqueFd name_space_;
  haul::base::UniqueFd tun_;
};

}  // namespace wan
