// Made where the system has such folders.
#include "haul_bench/temporary_folder.h"

#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <utility>

namespace bench {

using haul::Status;
using haul::StatusCode;

TemporaryFolder::TemporaryFolder(std::string path) noexcept : path_(std::move(path)) {}

TemporaryFolder::TemporaryFolder(TemporaryFolder&& other) noexcept : path_(std::exchange(other.path_, std::string())) {}

TemporaryFolder::~TemporaryFolder() {
  std::error_code ignored;
  if (!path_.empty()) std::filesystem::remove_all(path_, ignored);
}

haul::Result<TemporaryFolder> TemporaryFolder::make() {
  std::string path = (std::filesystem::temp_directory_path() / "haul-bench-XXXXXX").string();
  if (mkdtemp(path.data()) == nullptr)
    return Status::from_errno(StatusCode::unavailable, errno, "cannot make a temporary folder: check TMPDIR and the disk");
  return TemporaryFolder(path);
}

}  // namespace bench
