// Removes temporary files that a killed process left behind. Blocking.
#pragma once

#include <cstdint>

namespace haul::object {

/// So deep is looked where a whole tree of files was to be written.
inline constexpr unsigned stale_depth = 64;

/// Looks for our temporary names in the folder and, up to `depth` levels, in the folders below (symbolic links and other file
/// systems are not entered). A file that a living process works on is locked and stays. Returns how many were removed.
uint64_t remove_stale(int folder_fd, unsigned depth);

}  // namespace haul::object
