// Driving one kernel socket: samples out, window and pacing rate in. Needs no rights but the group's on the maps.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "base/unique_fd.h"
#include "haul/status.h"
#include "haul/time.h"
#include "tcp/kernel_cc/reader.h"
#include "tcp/kernel_cc/values.h"

namespace haul::tcp {

/// The two maps of an installation. Immutable once opened: any thread. Sockets that selected an installation that is gone since
/// are still driven by its maps.
class KernelMaps {
 public:
  /// Errors: unsupported (not built, not installed, another version's), refused (not this process's group).
  static Result<std::shared_ptr<const KernelMaps>> open(const std::string& directory);

  /// Sockets select by name, which says nothing of whose program they get. These are the maps that belong to it: `known`, or
  /// those of the installation that is in `directory` by now.
  /// Errors: as open(), and unsupported where neither knows the socket.
  static Result<std::shared_ptr<const KernelMaps>> of(int socket, std::shared_ptr<const KernelMaps> known,
                                                      const std::string& directory);

  /// Whether the socket has selected the program that these maps belong to, and the kernel had memory for its samples.
  bool has(int socket) const;
  /// `socket` is a TCP socket's descriptor. All zeroes for one that has not selected this congestion control.
  /// Errors: invalid (no such socket).
  Result<KernelSamples> read(int socket) const;
  /// Errors: invalid (no such socket), exhausted (net.core.optmem_max), refused (frozen map).
  Status write(int socket, const KernelCommand& command) const;

 private:
  KernelMaps(base::UniqueFd samples, base::UniqueFd commands) : samples_(std::move(samples)), commands_(std::move(commands)) {}

  base::UniqueFd samples_;
  base::UniqueFd commands_;
};

/// One socket that has selected `haul`. One thread at a time.
class SocketController {
 public:
  /// `socket` stays the caller's and open while this lives.
  SocketController(std::shared_ptr<const KernelMaps> maps, int socket);

  /// What happened since the last call. Absent: nothing, or the socket is gone.
  std::optional<LaneReport> take_report();

  /// From the next acknowledgement on, or from the next packet where nothing is in flight: at most `window_bytes` in flight,
  /// and at most `rate_bytes_s` of payload a second (absent: as the window allows; SO_MAX_PACING_RATE holds as well). After
  /// `valid_for`, at most 10 s, without another command the program follows rules of its own (rules.h).
  /// Errors: as KernelMaps::write().
  Status command(uint64_t window_bytes, std::optional<uint64_t> rate_bytes_s, Duration valid_for);
  /// Leaves the socket to those rules at once.
  Status withdraw() { return command(0, std::nullopt, Duration::zero()); }

  /// The last command was written, and was none to withdraw. Whether it still holds is in the reports.
  bool driven() const noexcept { return driven_; }

 private:
  std::shared_ptr<const KernelMaps> maps_;
  int socket_;
  uint64_t sequence_ = 0;
  bool driven_ = false;
  SampleReader reader_;
};

}  // namespace haul::tcp
