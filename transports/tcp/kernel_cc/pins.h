// The names of an installation's maps in a bpf file system, and how a map is known for ours.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>

#include "tcp/kernel_cc/values.h"

namespace haul::tcp::pins {

enum class Kind : uint8_t { samples, commands, operations };
inline constexpr std::array kinds{Kind::samples, Kind::commands, Kind::operations};

/// How the names of such maps begin, in every version.
constexpr std::string_view name_begin(Kind kind) noexcept {
  switch (kind) {
    case Kind::samples: return "haul_samples_";
    case Kind::commands: return "haul_command_";
    default: return "haul_ops_";
  }
}

/// What the kernel and the loader call the map.
constexpr const char* map_name(Kind kind) noexcept {
  switch (kind) {
    case Kind::samples: return "haul_samples_" HAUL_KERNEL_CC_VERSION;
    case Kind::commands: return "haul_command_" HAUL_KERNEL_CC_VERSION;
    default: return "haul_ops_" HAUL_KERNEL_CC_VERSION;
  }
}

/// The same in every version, so that one can take out what another has put there.
constexpr std::string_view file_name(Kind kind) noexcept {
  switch (kind) {
    case Kind::samples: return "samples";
    case Kind::commands: return "commands";
    default: return "operations";
  }
}

inline std::string path_of(const std::string& directory, Kind kind) { return directory + "/" + std::string(file_name(kind)); }

/// Whether a map is this version's: by its name and the size of its values.
bool is_ours(int map, Kind kind);
/// Whether it is that of some version.
bool is_of_some_version(int map, Kind kind);

}  // namespace haul::tcp::pins
