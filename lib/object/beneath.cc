// openat2(2), which glibc does not wrap.
#include "object/beneath.h"

#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>

namespace haul::object {

base::UniqueFd open_beneath(int folder_fd, const std::string& path, int flags, Follow follow, mode_t mode) {
  open_how how{};
  how.flags = static_cast<uint64_t>(flags | O_CLOEXEC);
  how.mode = mode;
  if (follow != Follow::anywhere) how.resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS;
  if (follow == Follow::nothing) how.resolve |= RESOLVE_NO_SYMLINKS;
  const char* name = path.empty() ? "." : path.c_str();
  long fd = -1;
  // EAGAIN: something was renamed meanwhile and the kernel could not prove that the path stayed beneath.
  for (int attempt = 0; attempt < 16; ++attempt) {
    fd = syscall(SYS_openat2, folder_fd, name, &how, sizeof(how));
    if (fd >= 0 || (errno != EAGAIN && errno != EINTR)) break;
  }
  return base::UniqueFd(static_cast<int>(fd));
}

}  // namespace haul::object
