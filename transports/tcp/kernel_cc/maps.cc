// The maps of an installation, as processes that drive sockets use them.
#include <bpf/bpf.h>
#include <fmt/format.h>

#include <cerrno>
#include <memory>
#include <string_view>

#include "tcp/kernel_cc/controller.h"
#include "tcp/kernel_cc/pins.h"

namespace haul::tcp {

namespace {

Status not_opened(const std::string& path, int error) {
  if (error == ENOENT) {
    return Status(StatusCode::unsupported,
                  fmt::format("haul's congestion control is not installed ({} is missing): haul cc install", path));
  }
  if (error == EACCES || error == EPERM) {
    return Status::from_errno(StatusCode::refused, error,
                              fmt::format("this process may not use {}: run it in the group that was given to haul cc install "
                                          "--group, and let that group search the folders above",
                                          path));
  }
  return Status::from_errno(StatusCode::unsupported, error, fmt::format("cannot open {}", path));
}

Result<base::UniqueFd> open_map(const std::string& path, pins::Kind kind) {
  struct bpf_obj_get_opts options {};
  options.sz = sizeof(options);
  options.file_flags = kind == pins::Kind::samples ? BPF_F_RDONLY : 0;
  base::UniqueFd fd(bpf_obj_get_opts(path.c_str(), &options));
  if (!fd) return not_opened(path, errno);
  if (pins::is_ours(fd.get(), kind)) return fd;
  return Status(
      StatusCode::unsupported,
      fmt::format("{} was installed by another version of haul: haul cc uninstall, then haul cc install, with this one", path));
}

}  // namespace

Result<std::shared_ptr<const KernelMaps>> KernelMaps::open(const std::string& directory) {
  auto samples = open_map(pins::path_of(directory, pins::Kind::samples), pins::Kind::samples);
  if (!samples) return samples.status();
  auto commands = open_map(pins::path_of(directory, pins::Kind::commands), pins::Kind::commands);
  if (!commands) return commands.status();
  return std::shared_ptr<const KernelMaps>(
      new KernelMaps(std::move(*samples), std::move(*commands)));  // NOLINT: private constructor
}

Result<KernelSamples> KernelMaps::read(int socket) const {
  KernelSamples samples{};
  if (bpf_map_lookup_elem_flags(samples_.get(), &socket, &samples, BPF_F_LOCK) == 0) return samples;
  if (errno == ENOENT) return KernelSamples{};
  return Status::from_errno(StatusCode::invalid, errno, fmt::format("cannot read the samples of descriptor {}", socket));
}

bool KernelMaps::has(int socket) const {
  KernelSamples samples{};
  return bpf_map_lookup_elem_flags(samples_.get(), &socket, &samples, BPF_F_LOCK) == 0;
}

Status KernelMaps::write(int socket, const KernelCommand& command) const {
  if (bpf_map_update_elem(commands_.get(), &socket, &command, BPF_ANY) == 0) return {};
  if (errno == ENOMEM || errno == EAGAIN) {
    return Status::from_errno(StatusCode::exhausted, errno,
                              "the kernel has no room for a command beside the socket (net.core.optmem_max)");
  }
  if (errno == EPERM) {
    return Status::from_errno(
        StatusCode::refused, errno,
        "the kernel takes no commands any more: somebody froze their map. haul cc uninstall, then haul cc "
        "install; connections from before stay without a controller");
  }
  return Status::from_errno(StatusCode::invalid, errno, fmt::format("cannot command descriptor {}", socket));
}

}  // namespace haul::tcp
