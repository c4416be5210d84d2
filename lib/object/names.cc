// The rules for names.
#include "object/names.h"

#include <fmt/format.h>

#include <algorithm>

namespace haul::object {

namespace {

constexpr std::string_view temporary_prefix = ".haul-";
constexpr std::string_view temporary_suffix = ".part";

std::string_view component_fault(std::string_view component) noexcept {
  if (component.empty()) return "it has an empty component (a leading, trailing or doubled slash)";
  if (component == "." || component == "..") return "it has a \".\" or \"..\" component, which could leave the folder";
  if (component.size() > max_component_bytes) return "a component is longer than 255 bytes";
  if (is_temporary_name(component)) return "it is the name of a temporary file of haul";
  return {};
}

}  // namespace

std::string_view name_fault(std::string_view path) noexcept {
  if (path.empty()) return {};
  if (path.size() > max_path_bytes) return "it is longer than 4000 bytes";
  if (path.find('\0') != std::string_view::npos) return "it has a NUL byte";
  while (true) {
    const size_t slash = path.find('/');
    const auto fault = component_fault(path.substr(0, slash));
    if (!fault.empty() || slash == std::string_view::npos) return fault;
    path.remove_prefix(slash + 1);
  }
}

std::string join(std::string_view base, std::string_view path) {
  if (base.empty()) return std::string(path);
  if (path.empty()) return std::string(base);
  return fmt::format("{}/{}", base, path);
}

std::pair<std::string_view, std::string_view> split(std::string_view path) noexcept {
  const size_t slash = path.rfind('/');
  if (slash == std::string_view::npos) return {std::string_view(), path};
  return {path.substr(0, slash), path.substr(slash + 1)};
}

std::string temporary_name(uint64_t random) { return fmt::format("{}{:016x}{}", temporary_prefix, random, temporary_suffix); }

bool is_temporary_name(std::string_view name) noexcept {
  constexpr size_t digits = 16;
  if (name.size() != temporary_prefix.size() + digits + temporary_suffix.size()) return false;
  if (!name.starts_with(temporary_prefix) || !name.ends_with(temporary_suffix)) return false;
  const auto middle = name.substr(temporary_prefix.size(), digits);
  return std::all_of(middle.begin(), middle.end(), [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); });
}

}  // namespace haul::object
