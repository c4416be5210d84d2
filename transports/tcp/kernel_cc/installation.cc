// Installing, uninstalling, and telling what is installed.
#include <bpf/bpf.h>
#include <fmt/format.h>
#include <linux/magic.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>

#include "haul/kernel_congestion.h"
#include "tcp/kernel_cc/controller.h"
#include "tcp/kernel_cc/groups.h"
#include "tcp/kernel_cc/pins.h"
#include "tcp/kernel_cc/program.h"

namespace haul::tcp::kernel_congestion {

namespace {

namespace fs = std::filesystem;

constexpr gid_t no_group = static_cast<gid_t>(-1);

// In one spelling, so that the folder above is the one above.
Result<std::string> folder_of(const std::string& directory) {
  fs::path path = fs::path(directory).lexically_normal();
  if (!path.has_filename()) path = path.parent_path();
  if (path.is_absolute() && path.has_filename()) return path.string();
  return Status(StatusCode::invalid,
                fmt::format("\"{}\" is no absolute name of a folder: name one as {} is", directory, default_directory));
}

Status check_file_system(const std::string& directory) {
  const std::string parent = fs::path(directory).parent_path();
  struct statfs found {};
  if (statfs(parent.c_str(), &found) == 0 && found.f_type == BPF_FS_MAGIC) return {};
  return Status(
      StatusCode::invalid,
      fmt::format("{} is no bpf file system: mount -t bpf bpf /sys/fs/bpf, or choose a folder in another one", parent));
}

// systemd mounts /sys/fs/bpf for root only.
Status check_way(const std::string& directory, const std::string& group, gid_t id) {
  for (fs::path path = fs::path(directory).parent_path(); !path.empty(); path = path.parent_path()) {
    struct stat found {};
    if (stat(path.c_str(), &found) != 0) break;
    const bool open = (found.st_mode & S_IXOTH) != 0 || (found.st_gid == id && (found.st_mode & S_IXGRP) != 0);
    if (!open) {
      return Status(StatusCode::invalid,
                    fmt::format("the group {} cannot reach {}: {} has mode {:o}. chmod o+x {} lets everybody "
                                "search it; what is in it keeps its own rights",
                                group, directory, path.string(), found.st_mode & 07777U, path.string()));
    }
    if (path == path.root_path()) break;
  }
  return {};
}

Status set_rights(const std::string& path, gid_t group, mode_t mode) {
  if (group != no_group && chown(path.c_str(), static_cast<uid_t>(-1), group) != 0) {
    return Status::from_errno(StatusCode::refused, errno, fmt::format("cannot give {} to the group (CAP_CHOWN)", path));
  }
  // Without a group, its bits are for nobody.
  const mode_t bits = group == no_group ? mode & S_IRWXU : mode;
  if (chmod(path.c_str(), bits) == 0) return {};
  return Status::from_errno(StatusCode::refused, errno, fmt::format("cannot set the rights of {}", path));
}

// The kernel checks them when the maps are opened: so only the program writes samples.
Status set_all_rights(const std::string& directory, gid_t group) {
  constexpr mode_t for_reading = S_IRUSR | S_IRGRP;
  constexpr mode_t for_both = for_reading | S_IWUSR | S_IWGRP;
  Status status = set_rights(pins::path_of(directory, pins::Kind::samples), group, for_reading);
  if (status.ok()) status = set_rights(pins::path_of(directory, pins::Kind::commands), group, for_both);
  if (status.ok()) status = set_rights(directory, group, S_IRWXU | S_IRGRP | S_IXGRP);
  return status;
}

void remove_names(const std::string& directory) {
  for (const pins::Kind kind : pins::kinds) unlink(pins::path_of(directory, kind).c_str());
  rmdir(directory.c_str());
}

Status install_new(const std::string& directory, gid_t group) {
  auto program = Program::load();
  if (!program) return program.status();
  if (mkdir(directory.c_str(), S_IRWXU) != 0) {
    return Status::from_errno(StatusCode::refused, errno, fmt::format("cannot make {}", directory));
  }
  // Names first: a registration without them could be taken out by the machine's administrator only.
  Status status = program->pin(directory);
  if (status.ok()) status = set_all_rights(directory, group);
  if (status.ok()) status = program->do_register();
  if (status.ok()) {
    program->release();
  } else {
    remove_names(directory);
  }
  return status;
}

struct Names {
  size_t seen = 0;
  bool hidden = false;  // this process may not look
  std::string group;
};

Names look(const std::string& directory) {
  Names names;
  for (const pins::Kind kind : pins::kinds) {
    struct stat found {};
    if (stat(pins::path_of(directory, kind).c_str(), &found) != 0) {
      names.hidden = names.hidden || errno == EACCES;
      continue;
    }
    ++names.seen;
    if (kind != pins::Kind::samples || (found.st_mode & S_IRGRP) == 0) continue;
    names.group = group_name(found.st_gid);
  }
  return names;
}

Presence presence_of(bool registered, const Names& names, const Status& opened) {
  // Nothing tells more where this process may not look.
  if (names.hidden) return registered ? Presence::installed : Presence::absent;
  if (!registered && names.seen == 0) return Presence::absent;
  if (!registered || names.seen != pins::kinds.size()) return Presence::incomplete;
  return opened.code() == StatusCode::unsupported ? Presence::other_version : Presence::installed;
}

std::string text_of(const State& state, const std::string& directory, const Status& opened) {
  switch (state.presence) {
    case Presence::absent: return "not installed";
    case Presence::installed:
      return state.permitted ? "installed; this process may drive its sockets"
                             : fmt::format("installed, but not for this process: {}", opened.message());
    case Presence::other_version: return std::string(opened.message());
    default: break;
  }
  return fmt::format("{}: haul cc uninstall cleans up",
                     state.registered ? fmt::format("registered, but its maps are not all in {}", directory)
                                      : fmt::format("maps are in {}, but nothing is registered", directory));
}

}  // namespace

Status install(const InstallOptions& options) {
  const auto folder = folder_of(options.directory);
  if (!folder) return folder.status();
  const std::string& directory = *folder;
  if (Status status = check_file_system(directory); !status.ok()) return status;
  gid_t group = no_group;
  if (!options.group.empty()) {
    const auto id = group_id(options.group);
    if (!id) return id.status();
    group = *id;
    if (Status status = check_way(directory, options.group, group); !status.ok()) return status;
  }
  const State found = status(directory);
  switch (found.presence) {
    case Presence::absent: return install_new(directory, group);
    case Presence::installed: return set_all_rights(directory, group);
    default: return Status(StatusCode::refused, found.text);
  }
}

Result<bool> uninstall(const std::string& chosen) {
  const auto folder = folder_of(chosen);
  if (!folder) return folder.status();
  const std::string& directory = *folder;
  const std::string operations = pins::path_of(directory, pins::Kind::operations);
  const base::UniqueFd map(bpf_obj_get(operations.c_str()));
  if (!map && (errno == EACCES || errno == EPERM)) {
    return Status::from_errno(StatusCode::refused, errno, fmt::format("cannot open {}: run this as root", operations));
  }
  bool any = look(directory).seen > 0;
  if (map && unregister(map.get())) any = true;
  if (registered() && unregister_nameless()) any = true;
  remove_names(directory);
  if (registered()) {
    return Status(
        StatusCode::refused,
        "a congestion control called haul is still registered: it is not haul's, or taking it out needs CAP_SYS_ADMIN (run "
        "this as root)");
  }
  if (look(directory).seen == 0) return any;
  return Status(StatusCode::refused, fmt::format("what is in {} cannot be removed: run this as root", directory));
}

State status(const std::string& chosen) {
  const auto folder = folder_of(chosen);
  if (!folder) return {.built = true, .registered = registered(), .group = {}, .text = std::string(folder.status().message())};
  const std::string& directory = *folder;
  const Names names = look(directory);
  const Status opened = KernelMaps::open(directory).status();
  State state{.built = true, .registered = registered(), .permitted = opened.ok(), .group = names.group, .text = {}};
  state.presence = presence_of(state.registered, names, opened);
  state.text = text_of(state, directory, opened);
  return state;
}

}  // namespace haul::tcp::kernel_congestion
