// Walks files and trees that are to be sent, one entry at a time. Blocking; for worker threads.
#pragma once

#include <dirent.h>
#include <sys/stat.h>

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/unique_fd.h"
#include "object/beneath.h"
#include "object/failure.h"

namespace haul::object {

/// What the user or a peer named.
struct Top {
  std::string path{};               ///< as opened
  std::string name{};               ///< as the receiver sees it; "" is the destination itself
  bool only_what_is_in_it = false;  ///< a folder that is not announced itself
};

/// Where tops are opened.
struct Root {
  int folder_fd = -1;  ///< or AT_FDCWD; not owned
  Follow follow = Follow::nothing;
};

struct Found {
  base::UniqueFd fd;   ///< open for reading
  std::string name{};  ///< as the receiver sees it
  std::string shown;   ///< as people here know it
  struct stat info {};
  bool is_folder() const { return S_ISDIR(info.st_mode); }
};

/// Folders come before what is in them. Memory is bounded by the depth, not by the number of entries. Symbolic links within
/// trees and special files are skipped and counted; temporary files of haul are passed over.
class Walk {
 public:
  Walk(std::vector<Top> tops, Root root) : tops_(std::move(tops)), root_(root) {}

  struct Step {
    std::optional<Found> found;  ///< absent: the end, or a failure
    Failure failure;
  };
  Step next();

  uint64_t skipped() const noexcept { return skipped_; }
  /// The first ones of what was skipped, as lines for people.
  const std::vector<std::string>& remarks() const noexcept { return remarks_; }

 private:
  struct CloseDirectory {
    void operator()(DIR* directory) const { closedir(directory); }
  };
  struct Level {
    std::unique_ptr<DIR, CloseDirectory> directory;
    std::string name;
    std::string shown;
  };

  Step open_top(const Top& top);
  /// Absent: nothing to report for this directory entry, go on.
  std::optional<Step> open_child(const Level& level, const char* child);
  Failure descend(const Found& folder);
  void skip(const std::string& shown, const char* why);

  std::vector<Top> tops_;
  Root root_;
  size_t next_top_ = 0;
  std::vector<Level> levels_;
  uint64_t skipped_ = 0;
  std::vector<std::string> remarks_;
};

}  // namespace haul::object
