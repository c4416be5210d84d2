// Installing, uninstalling, and telling what is installed.
#include <bpf/bpf.h>
#include <fmt/format.h>
#include <linux/magic.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <utility>
#include <vector>

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
  const bool looked = statfs(parent.c_str(), &found) == 0;
  if (looked && found.f_type == BPF_FS_MAGIC) return {};
  if (!looked && errno == EACCES) {
    return Status::from_errno(StatusCode::refused, errno, fmt::format("cannot look into {}: run this as root", parent));
  }
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

struct Pin {
  pins::Kind kind;
  std::string path;
  base::UniqueFd map;
};

// The maps of some version that are in the folder. Errors: refused (something there is not haul's, or only root may look).
Result<std::vector<Pin>> pins_in(const std::string& directory) {
  std::vector<Pin> found;
  for (const pins::Kind kind : pins::kinds) {
    Pin pin{kind, pins::path_of(directory, kind), {}};
    pin.map = base::UniqueFd(bpf_obj_get(pin.path.c_str()));
    if (!pin.map && errno == ENOENT) continue;
    if (!pin.map && geteuid() != 0) {
      return Status::from_errno(StatusCode::refused, errno, fmt::format("cannot open {}: run this as root", pin.path));
    }
    if (!pin.map || !pins::is_of_some_version(pin.map.get(), kind)) {
      return Status(StatusCode::refused,
                    fmt::format("{} is no map of haul's, so nothing in this folder was touched: name the folder that haul cc "
                                "install was given",
                                pin.path));
    }
    found.push_back(std::move(pin));
  }
  return found;
}

// Ends what is registered by the maps in the folder, and removes their names. The value says whether anything was there.
Result<bool> take_out(const std::string& directory) {
  const auto found = pins_in(directory);
  if (!found) return found.status();
  for (const Pin& pin : *found) {
    if (pin.kind == pins::Kind::operations) unregister(pin.map.get());
  }
  for (const Pin& pin : *found) {
    if (unlink(pin.path.c_str()) == 0) continue;
    return Status::from_errno(StatusCode::refused, errno, fmt::format("cannot remove {}: run this as root", pin.path));
  }
  rmdir(directory.c_str());  // stays where something else is in it
  return !found->empty();
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
    static_cast<void>(take_out(directory));
  }
  return status;
}

struct Names {
  size_t seen = 0;
  bool operations = false;  // of them, that by which a registration is ended
  bool hidden = false;      // this process may not look
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
    names.operations = names.operations || kind == pins::Kind::operations;
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

std::string cleaning_up(const std::string& directory) {
  const std::string option = directory == default_directory ? "" : fmt::format(" --directory {}", directory);
  return fmt::format("haul cc uninstall{} cleans up", option);
}

std::string not_from_here(const std::string& directory) {
  return fmt::format(
      "registered, but not from {}: maybe installed in another folder (--directory) or another mount namespace, such as the "
      "host's "
      "of this container. haul cc uninstall --wherever ends it for the whole machine",
      directory);
}

std::string text_of(const State& state, const std::string& directory, const Names& names, const Status& opened) {
  switch (state.presence) {
    case Presence::absent: return "not installed";
    case Presence::installed:
      return state.permitted ? "installed; this process may drive its sockets"
                             : fmt::format("installed, but not for this process: {}", opened.message());
    case Presence::other_version: return std::string(opened.message());
    default: break;
  }
  if (!state.registered) return fmt::format("maps are in {}, but nothing is registered: {}", directory, cleaning_up(directory));
  if (!names.operations) return not_from_here(directory);
  return fmt::format("registered, but its maps are not all in {}: {}", directory, cleaning_up(directory));
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

Result<bool> uninstall(const std::string& chosen, Reach reach) {
  const auto folder = folder_of(chosen);
  if (!folder) return folder.status();
  bool any = false;
  if (const Status place = check_file_system(*folder); place.ok()) {
    auto here = take_out(*folder);
    if (!here) return here;
    any = *here;
  } else if (reach == Reach::folder) {
    return place;  // whoever means the whole machine may be where its maps have no names
  }
  if (reach == Reach::machine && unregister_everywhere()) any = true;
  if (!registered()) return any;
  if (reach == Reach::folder) return Status(StatusCode::refused, not_from_here(*folder));
  return Status(
      StatusCode::refused,
      "a congestion control called haul is still registered: it is not haul's, or taking it out needs CAP_SYS_ADMIN (run "
      "this as root)");
}

State status(const std::string& chosen) {
  const auto folder = folder_of(chosen);
  if (!folder) return {.built = true, .registered = registered(), .group = {}, .text = std::string(folder.status().message())};
  const std::string& directory = *folder;
  const Names names = look(directory);
  const Status opened = KernelMaps::open(directory).status();
  State state{.built = true, .registered = registered(), .permitted = opened.ok(), .group = names.group, .text = {}};
  state.presence = presence_of(state.registered, names, opened);
  state.text = text_of(state, directory, names, opened);
  return state;
}

}  // namespace haul::tcp::kernel_congestion
