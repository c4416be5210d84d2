// Namespaces by unshare(2) on a thread of their own; devices by ioctl: no program is called for it.
#include "wan/end.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <sstream>
#include <thread>
#include <utility>

namespace wan {

namespace {

using haul::Status;
using haul::StatusCode;
using haul::base::UniqueFd;

constexpr const char* device = "wan0";
constexpr const char* netmask = "255.255.255.0";
constexpr int queue_packets = 20'000;  // of the device: a turn of the emulator that comes late must lose nothing
constexpr uint64_t least_socket_buffer_bytes = uint64_t{64} << 20;
constexpr uint64_t most_socket_buffer_bytes = uint64_t{1} << 30;

/// By the errno: a right that is missing is one thing, a machine that has run out of something another.
Status failure(const char* what, int error) {
  switch (error) {
    case EPERM:
    case EACCES:
      return Status::from_errno(
          StatusCode::refused, error,
          std::string(what) + "; run haul-bench wan as root, in a container with CAP_SYS_ADMIN and CAP_NET_ADMIN");
    case EMFILE:
    case ENFILE:
    case ENOMEM:
    case ENOBUFS:
    case ENOSPC:
      return Status::from_errno(StatusCode::exhausted, error,
                                std::string(what) + "; raise the limit (ulimit -n, user.max_net_namespaces)");
    default: return Status::from_errno(StatusCode::unavailable, error, what);
  }
}

bool write_setting(const char* path, const std::string& value) {
  std::ofstream file(path);
  return file && file << value << std::flush;
}

sockaddr internet_address(const char* text) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  ::inet_pton(AF_INET, text, &address.sin_addr);
  sockaddr plain{};
  std::memcpy(&plain, &address, sizeof(plain));
  return plain;
}

ifreq request_for(const char* name) {
  ifreq request{};
  std::strncpy(request.ifr_name, name, IFNAMSIZ - 1);
  return request;
}

Status bring_up(int fd, const char* name) {
  ifreq request = request_for(name);
  if (::ioctl(fd, SIOCGIFFLAGS, &request) != 0) return failure("cannot ask for the flags of a device", errno);
  request.ifr_flags = static_cast<short>(request.ifr_flags | IFF_UP);
  if (::ioctl(fd, SIOCSIFFLAGS, &request) != 0) return failure("cannot switch a device on", errno);
  return {};
}

/// Of the namespace that the calling thread is in.
std::string settings_warning(uint64_t window_bytes) {
  write_setting("/proc/sys/net/ipv6/conf/all/disable_ipv6", "1");  // its questions would be traffic of their own
  // Twice: the kernel counts its own bookkeeping, too.
  const uint64_t most = std::clamp(4 * window_bytes, least_socket_buffer_bytes, most_socket_buffer_bytes);
  const bool set = write_setting("/proc/sys/net/ipv4/tcp_rmem", fmt::format("4096 131072 {}", most)) &&
                   write_setting("/proc/sys/net/ipv4/tcp_wmem", fmt::format("4096 65536 {}", most));
  return set ? "" : "tcp_rmem and tcp_wmem can't be set here (is /proc/sys writable?): TCP's windows may be too small";
}

}  // namespace

haul::Result<End> End::make(std::string address, uint64_t window_bytes) {
  End end;
  end.address_ = std::move(address);
  Status status;
  std::thread([&] { status = end.set_up(window_bytes); }).join();
  if (!status.ok()) return status;
  return end;
}

Status End::set_up(uint64_t window_bytes) {
  if (::unshare(CLONE_NEWNET) != 0) {
    const int error = errno;
    if (error != EINVAL) return failure("cannot make a network namespace", error);
    return Status::from_errno(StatusCode::unsupported, error, "this kernel has no network namespaces (CONFIG_NET_NS)");
  }
  name_space_.reset(::open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC));
  if (!name_space_) return failure("cannot open the new network namespace", errno);
  warning_ = settings_warning(window_bytes);
  if (Status status = open_device(); !status.ok()) return status;

  const UniqueFd control(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  if (!control) return failure("cannot open a socket", errno);
  ifreq request = request_for(device);
  request.ifr_qlen = queue_packets;
  if (::ioctl(control.get(), SIOCSIFTXQLEN, &request) != 0) return failure("cannot set the queue of a TUN device", errno);
  request.ifr_addr = internet_address(address_.c_str());
  if (::ioctl(control.get(), SIOCSIFADDR, &request) != 0) return failure("cannot give a TUN device its address", errno);
  request.ifr_netmask = internet_address(netmask);
  if (::ioctl(control.get(), SIOCSIFNETMASK, &request) != 0) return failure("cannot give a TUN device its netmask", errno);
  if (Status status = bring_up(control.get(), device); !status.ok()) return status;
  return bring_up(control.get(), "lo");
}

Status End::open_device() {
  tun_.reset(::open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC));
  if (!tun_) {
    const int error = errno;
    if (error != ENOENT && error != ENODEV && error != ENXIO) return failure("cannot open /dev/net/tun", error);
    return Status::from_errno(StatusCode::unsupported, error,
                              "cannot open /dev/net/tun; modprobe tun, or give the container that device");
  }
  ifreq request = request_for(device);
  request.ifr_flags = IFF_TUN | IFF_NO_PI | IFF_VNET_HDR;
  if (::ioctl(tun_.get(), TUNSETIFF, &request) != 0) return failure("cannot make a TUN device", errno);
  // What is not named here (IPv6, segments with a congestion mark) the kernel cuts into packets by itself; before Linux 6.2
  // also UDP, which costs the emulator a call for each packet then.
  constexpr unsigned long offloads = TUN_F_CSUM | TUN_F_TSO4;
  constexpr unsigned long udp_offloads = 0x20 | 0x40;  // TUN_F_USO4 and TUN_F_USO6, which go together only; not in old headers
  if (::ioctl(tun_.get(), TUNSETOFFLOAD, offloads | udp_offloads) != 0 && ::ioctl(tun_.get(), TUNSETOFFLOAD, offloads) != 0) {
    return Status::from_errno(StatusCode::unsupported, errno, "this kernel's TUN devices hand over no segments (TUN_F_TSO4)");
  }
  return {};
}

Status End::inside(const std::function<Status()>& work) const {
  Status status;
  std::thread([&] {
    status = ::setns(name_space_.get(), CLONE_NEWNET) == 0 ? work() : failure("cannot enter a network namespace", errno);
  }).join();
  return status;
}

haul::Result<uint64_t> End::dropped_packets() const {
  uint64_t dropped = 0;
  const Status status = inside([&]() -> Status {
    std::ifstream table("/proc/thread-self/net/dev");
    std::string line;
    while (std::getline(table, line)) {
      const size_t colon = line.find(':');
      if (colon == std::string::npos || line.find(device) == std::string::npos) continue;
      // Eight figures of what was received, then bytes, packets, errors, dropped of what was sent.
      std::istringstream figures(line.substr(colon + 1));
      for (int column = 0; column < 12; ++column) figures >> dropped;
      if (figures) return {};
    }
    return {StatusCode::unavailable, "the counters of the TUN device can't be read from /proc/thread-self/net/dev"};
  });
  if (!status.ok()) return status;
  return dropped;
}

}  // namespace wan
