// A folder for what a run needs besides memory.
#pragma once

#include <string>

#include "haul/status.h"

namespace bench {

/// Goes, with all that is in it, with this object.
class TemporaryFolder {
 public:
  /// Errors: unavailable.
  static haul::Result<TemporaryFolder> make();
  ~TemporaryFolder();
  TemporaryFolder(TemporaryFolder&& other) noexcept;
  TemporaryFolder& operator=(TemporaryFolder&&) = delete;

  const std::string& path() const noexcept { return path_; }

 private:
  explicit TemporaryFolder(std::string path) noexcept;
  std::string path_;
};

}  // namespace bench
