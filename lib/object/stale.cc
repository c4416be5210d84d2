// The search for temporary files of dead processes.
#include "object/stale.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <memory>
#include <string>

#include "base/unique_fd.h"
#include "object/beneath.h"
#include "object/names.h"

namespace haul::object {

namespace {

struct CloseDirectory {
  void operator()(DIR* directory) const { closedir(directory); }
};

bool remove_if_stale(int folder_fd, const std::string& name) {
  const base::UniqueFd file = open_beneath(folder_fd, name, O_RDWR | O_NOFOLLOW | O_NONBLOCK, Follow::nothing);
  if (!file || flock(file.get(), LOCK_EX | LOCK_NB) != 0) return false;
  return unlinkat(folder_fd, name.c_str(), 0) == 0;
}

uint64_t remove_stale_on(int folder_fd, unsigned depth, dev_t device) {
  base::UniqueFd own = open_beneath(folder_fd, "", O_RDONLY | O_DIRECTORY, Follow::nothing);
  struct stat info {};
  if (!own || fstat(own.get(), &info) != 0 || info.st_dev != device) return 0;
  const std::unique_ptr<DIR, CloseDirectory> directory(fdopendir(own.get()));
  if (!directory) return 0;
  static_cast<void>(own.release());
  uint64_t removed = 0;
  while (const dirent* child = readdir(directory.get())) {
    const std::string name = child->d_name;
    if (is_temporary_name(name) && remove_if_stale(dirfd(directory.get()), name)) ++removed;
    const bool may_be_folder = child->d_type == DT_DIR || child->d_type == DT_UNKNOWN;
    if (!may_be_folder || name == "." || name == ".." || depth == 0) continue;
    const auto below = open_beneath(dirfd(directory.get()), name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, Follow::nothing);
    if (below) removed += remove_stale_on(below.get(), depth - 1, device);
  }
  return removed;
}

}  // namespace

uint64_t remove_stale(int folder_fd, unsigned depth) {
  struct stat info {};
  if (fstat(folder_fd, &info) != 0) return 0;
  return remove_stale_on(folder_fd, depth, info.st_dev);
}

}  // namespace haul::object
