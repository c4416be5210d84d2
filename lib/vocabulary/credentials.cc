// What a peer may do.
#include "haul/credentials.h"

namespace haul {

namespace {

/// "/", or components after single slashes, none of them "." or "..": the one spelling of a path, so that prefixes tell the
/// truth.
bool is_normal_path(std::string_view path) noexcept {
  if (path == "/") return true;
  while (!path.empty()) {
    if (path.front() != '/') return false;
    path.remove_prefix(1);
    const std::string_view component = path.substr(0, path.find('/'));
    if (component.empty() || component == "." || component == "..") return false;
    path.remove_prefix(component.size());
    if (path.empty()) return true;
  }
  return false;
}

bool covers(std::string_view scope, std::string_view path) noexcept {
  if (scope.empty() || scope == "/") return true;
  return is_normal_path(scope) && path.starts_with(scope) && (path.size() == scope.size() || path[scope.size()] == '/');
}

}  // namespace

bool PeerIdentity::may(std::string_view verb, std::string_view path) const noexcept {
  if (!is_normal_path(path)) return false;
  for (const Permission& permission : permissions) {
    if (permission.verb == verb && covers(permission.scope, path)) return true;
  }
  return false;
}

}  // namespace haul
