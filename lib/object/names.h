// Names of files as they travel: relative paths with '/', any bytes but NUL, bounded. Pure functions.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>

namespace haul::object {

constexpr size_t max_path_bytes = 4000;      ///< below PATH_MAX, with room for a temporary name
constexpr size_t max_component_bytes = 255;  ///< NAME_MAX of Linux file systems

/// Why `path` is no acceptable name, in words; empty when it is one. Acceptable: components of 1 … 255 bytes joined by single
/// slashes, none of them "." or "..", no leading or trailing slash, no NUL, no temporary name of ours. "" is acceptable: the
/// place itself.
std::string_view name_fault(std::string_view path) noexcept;

/// `base/path`, or the one that is not empty.
std::string join(std::string_view base, std::string_view path);

/// The folder ("" for none) and the last component.
std::pair<std::string_view, std::string_view> split(std::string_view path) noexcept;

/// ".haul-<16 hex digits>.part": how files are called until they are complete.
std::string temporary_name(uint64_t random);
bool is_temporary_name(std::string_view name) noexcept;

}  // namespace haul::object
