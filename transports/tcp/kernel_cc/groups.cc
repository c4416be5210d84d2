// Looking groups up.
#include "tcp/kernel_cc/groups.h"

#include <fmt/format.h>
#include <grp.h>

#include <cerrno>
#include <vector>

namespace haul::tcp {

namespace {

struct Entry {
  struct group group {};
  std::vector<char> memory = std::vector<char>(1U << 14);
  bool found = false;
};

// `look` is getgrnam_r or getgrgid_r, which want memory for all members of the group. Returns an errno; 0 also where there is
// no such group.
template <typename Look>
int look_up(const Look& look, Entry& entry) {
  constexpr size_t most_bytes = 64U << 20;
  for (;;) {
    struct group* found = nullptr;
    const int error = look(&entry.group, entry.memory.data(), entry.memory.size(), &found);
    if (error == ERANGE && entry.memory.size() < most_bytes) {
      entry.memory.resize(2 * entry.memory.size());
      continue;
    }
    entry.found = found != nullptr;
    return error == ENOENT || error == ESRCH ? 0 : error;
  }
}

}  // namespace

Result<gid_t> group_id(const std::string& name) {
  Entry entry;
  const int error = look_up([&](auto... rest) { return getgrnam_r(name.c_str(), rest...); }, entry);
  if (entry.found) return entry.group.gr_gid;
  if (error != 0) return Status::from_errno(StatusCode::internal, error, fmt::format("cannot look up the group \"{}\"", name));
  return Status(StatusCode::invalid, fmt::format("there is no group \"{}\" here: groupadd {}, or name another", name, name));
}

std::string group_name(gid_t id) {
  Entry entry;
  static_cast<void>(look_up([&](auto... rest) { return getgrgid_r(id, rest...); }, entry));
  return entry.found ? entry.group.gr_name : std::to_string(id);
}

}  // namespace haul::tcp
