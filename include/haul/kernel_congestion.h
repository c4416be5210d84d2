// haul's congestion control in the kernel: a BPF program through which kernel TCP tells user space what acknowledgements say,
// and takes window and pacing rate from there. These functions put it into the kernel, take it out, and tell what is there;
// `haul cc` calls them. tcp::Options::kernel_controller uses it. docs/congestion-control.md, "Ours in the kernel", tells how it
// works.
//
// An installation belongs to the machine: it outlives the process, until uninstall() or a restart of the machine.
// Threading: any thread. One installation at a time is changed by one process at a time. install() sets libbpf's print function
// while it runs, and restores it.
#pragma once

#include <cstdint>
#include <string>

#include "haul/export.h"
#include "haul/status.h"

namespace haul::tcp::kernel_congestion {

/// What sockets select (TCP_CONGESTION).
inline constexpr const char* name = "haul";
/// Where the names of the maps are, unless another folder of a bpf file system is chosen.
inline constexpr const char* default_directory = "/sys/fs/bpf/haul";

struct InstallOptions {
  std::string directory = default_directory;  ///< absolute
  /// Whose processes may read samples and write commands, besides root's. Empty: nobody's. Every process may select it.
  std::string group;
};

/// Loads the program, registers it, and puts its maps into `directory`. Where this version is installed already, only the group
/// is set anew. On failure nothing is left behind.
/// Errors: unsupported (built without it, a kernel without BTF or BPF, or with another form of congestion control), refused
/// (CAP_BPF, CAP_PERFMON, for a group CAP_CHOWN; another version or program has the name), invalid (no such group, no bpf file
/// system at `directory`, or the group can't reach it), exhausted, internal.
HAUL_API Status install(const InstallOptions& options = {});

/// What uninstall() takes out.
enum class Reach : uint8_t {
  folder,   ///< what has its maps in the folder
  machine,  ///< besides, all that haul registered on this machine, in whatever folder, container or version its maps are
};

/// Takes it out, also what another version installed. Sockets that have selected it keep it, with their commands, until they
/// are closed. The value says whether anything was there.
/// Errors: unsupported, invalid (no folder of a bpf file system; with Reach::folder only), refused (not root; what is in the
/// folder is not haul's; haul stays registered, since its maps are elsewhere: the message tells).
HAUL_API Result<bool> uninstall(const std::string& directory = default_directory, Reach reach = Reach::folder);

enum class Presence : uint8_t {
  absent,
  installed,      ///< by this version: sockets can be driven
  other_version,  ///< by a version that speaks otherwise with its program
  incomplete,     ///< registered without maps in the folder (maybe in another), or maps without a registration
};

/// The name as it is spelled above. Never null.
HAUL_API const char* to_string(Presence presence) noexcept;

struct State {
  bool built = false;  ///< this build can install it
  Presence presence = Presence::absent;
  bool registered = false;  ///< sockets can select it
  bool permitted = false;   ///< this process may drive its sockets
  std::string group;        ///< whose processes may drive their sockets, where it is known
  /// A sentence for people: what is there, and what to do where something is in the way.
  std::string text;
};

/// Needs no rights; without those of the group or root, `presence` may be incomplete for what is only not to be seen.
HAUL_API State status(const std::string& directory = default_directory);

}  // namespace haul::tcp::kernel_congestion
