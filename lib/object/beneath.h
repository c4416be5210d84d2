// Opening files so that a name can't lead out of a folder (openat2(2)). Blocking; for worker threads.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>

#include "base/unique_fd.h"

namespace haul::object {

/// How a path is followed.
enum class Follow : uint8_t {
  anywhere,  ///< as the user of this machine named it
  inside,    ///< symbolic links, as long as they stay beneath the folder
  nothing,   ///< no symbolic link at all
};

/// openat2 of `path` at `folder_fd` (AT_FDCWD: the working directory). "" is the folder itself. Always close-on-exec. An empty
/// descriptor means failure, with errno set: EXDEV where the path would leave the folder, ELOOP for a forbidden link.
base::UniqueFd open_beneath(int folder_fd, const std::string& path, int flags, Follow follow, mode_t mode = 0);

}  // namespace haul::object
