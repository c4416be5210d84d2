// Driving one kernel socket.
#include "tcp/kernel_cc/controller.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

namespace haul::tcp {

Result<std::shared_ptr<const KernelMaps>> KernelMaps::of(int socket, std::shared_ptr<const KernelMaps> known,
                                                         const std::string& directory) {
  if (known->has(socket)) return known;
  auto newer = open(directory);
  if (!newer.ok() || (*newer)->has(socket)) return newer;
  return Status(StatusCode::unsupported,
                fmt::format("the congestion control haul that sockets select now is not the one in {}: it was installed in "
                            "another folder, or the kernel has no memory for its samples",
                            directory));
}

SocketController::SocketController(std::shared_ptr<const KernelMaps> maps, int socket)
    : maps_(std::move(maps)), socket_(socket) {
  const auto samples = maps_->read(socket_);
  if (!samples.ok()) return;
  // Somebody may have driven the socket before; the same number again would be no command.
  sequence_ = samples->sequence;
  reader_ = SampleReader(*samples);
}

std::optional<LaneReport> SocketController::take_report() {
  const auto samples = maps_->read(socket_);
  return samples.ok() ? reader_.read(*samples) : std::nullopt;
}

Status SocketController::command(uint64_t window_bytes, std::optional<uint64_t> rate_bytes_s, Duration valid_for) {
  const uint64_t valid_ns = valid_for > Duration::zero() ? static_cast<uint64_t>(valid_for.count()) : 0;
  // A rate of 0 would be none.
  const uint64_t rate = rate_bytes_s ? std::max<uint64_t>(*rate_bytes_s, 1) : 0;
  Status written = maps_->write(socket_, {++sequence_, window_bytes, rate, valid_ns, {}});
  driven_ = written.ok() && valid_ns > 0;
  return written;
}

}  // namespace haul::tcp
