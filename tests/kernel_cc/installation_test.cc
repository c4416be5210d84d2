// Putting the program into the kernel and taking it out: what is there then, whose it is, and that nothing stays.
#include <bpf/bpf.h>
#include <fcntl.h>
#include <grp.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <fstream>

#include "stream.h"
#include "tcp/kernel_cc/controller.h"
#include "tcp/kernel_cc/pins.h"

using namespace haul;
using namespace haul::tcp::test;
using haul::tcp::KernelMaps;
using haul::tcp::SocketController;
namespace kernel_congestion = haul::tcp::kernel_congestion;
using kernel_congestion::InstallOptions;
using kernel_congestion::Presence;
using kernel_congestion::Reach;

namespace {

constexpr uid_t somebody = 54321;
const std::string directory = kernel_congestion::default_directory;
const std::string elsewhere = "/sys/fs/bpf/haul-elsewhere";

bool has(std::string_view text, std::string_view part) { return text.find(part) != std::string_view::npos; }

bool in_kernels_list() {
  std::string line;
  std::getline(std::ifstream("/proc/sys/net/ipv4/tcp_available_congestion_control"), line);
  return has(" " + line + " ", " haul ");
}

mode_t mode_of(const std::string& path) {
  struct stat found {};
  REQUIRE(stat(path.c_str(), &found) == 0);
  return found.st_mode & 07777U;
}

bool exists(const std::string& path) { return access(path.c_str(), F_OK) == 0; }

void nothing_is_left() {
  CHECK_FALSE(in_kernels_list());
  CHECK_FALSE(exists(directory));
  CHECK(kernel_congestion::status().presence == Presence::absent);
}

/// In a process of another user: 0 if `action` returns true. Assertions would be the child's own.
int as(uid_t user, gid_t group, const std::function<bool()>& action) {
  const pid_t child = fork();
  if (child == 0) {
    const bool changed = setgroups(0, nullptr) == 0 && setresgid(group, group, group) == 0 && setresuid(user, user, user) == 0;
    _exit(changed && action() ? 0 : 1);
  }
  int status = 0;
  REQUIRE(waitpid(child, &status, 0) == child);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

gid_t id_of(const char* group) {
  const struct group* found = getgrnam(group);
  REQUIRE(found != nullptr);
  return found->gr_gid;
}

}  // namespace

TEST_CASE("installation: it comes, stays, and goes without a trace", "[kernel-cc]") {
  nothing_is_left();
  REQUIRE(kernel_congestion::install().ok());
  CHECK(in_kernels_list());
  auto state = kernel_congestion::status();
  CHECK(state.built);
  CHECK(state.registered);
  CHECK(state.permitted);
  CHECK(state.presence == Presence::installed);
  CHECK(state.group.empty());
  CHECK(mode_of(directory) == 0700);
  CHECK(mode_of(directory + "/samples") == 0400);
  CHECK(mode_of(directory + "/commands") == 0600);
  CHECK(mode_of(directory + "/operations") == 0600);

  // Once more changes nothing.
  CHECK(kernel_congestion::install().ok());
  CHECK(kernel_congestion::status().presence == Presence::installed);

  auto removed = kernel_congestion::uninstall();
  REQUIRE(removed.ok());
  CHECK(*removed);
  nothing_is_left();
  removed = kernel_congestion::uninstall();
  REQUIRE(removed.ok());
  CHECK_FALSE(*removed);
}

TEST_CASE("installation: the group drives its sockets, others only select it", "[kernel-cc]") {
  const gid_t group = id_of("nogroup");
  const Installed installed(InstallOptions{.directory = directory, .group = "nogroup"});
  CHECK(kernel_congestion::status().group == "nogroup");
  CHECK(mode_of(directory) == 0750);
  CHECK(mode_of(directory + "/samples") == 0440);
  CHECK(mode_of(directory + "/commands") == 0660);

  CHECK(as(somebody, group, [] {
          Stream stream;
          auto maps = KernelMaps::open(directory);
          if (!maps.ok() || !kernel_congestion::status().permitted) return false;
          SocketController controller(*maps, stream.sender());
          if (!controller.command(1U << 20, 10'000'000, std::chrono::seconds(10)).ok()) return false;
          stream.run(std::chrono::milliseconds(200));
          const auto report = controller.take_report();
          return report && report->ack && report->obeyed;
        }) == 0);
  CHECK(as(somebody, group, [] { return bpf_obj_get((directory + "/samples").c_str()) < 0 && errno == EACCES; }) == 0);

  CHECK(as(somebody, somebody, [] {
          Stream stream;
          return stream.run(std::chrono::milliseconds(100)) > 0;
        }) == 0);
  CHECK(as(somebody, somebody, [] {
          const Status opened = KernelMaps::open(directory).status();
          const auto state = kernel_congestion::status();
          return opened.code() == StatusCode::refused && has(opened.message(), "--group") && !state.permitted &&
                 state.registered && has(state.text, "not for this process");
        }) == 0);
}

TEST_CASE("installation: no process of the group can end commanding for the others", "[kernel-cc]") {
  const Installed installed(InstallOptions{.directory = directory, .group = "nogroup"});
  CHECK(as(somebody, id_of("nogroup"), [] {
          const base::UniqueFd commands(bpf_obj_get((directory + "/commands").c_str()));
          return commands && bpf_map_freeze(commands.get()) != 0;
        }) == 0);
  const Stream stream;
  const auto maps = KernelMaps::open(directory);
  REQUIRE(maps.ok());
  CHECK((*maps)->write(stream.sender(), {}).ok());
}

TEST_CASE("installation: a map that takes no commands any more is told, with the remedy", "[kernel-cc]") {
  namespace pins = haul::tcp::pins;
  const Installed installed;
  // Ours can't be frozen; this one is called as it is.
  const base::UniqueFd frozen(bpf_map_create(BPF_MAP_TYPE_ARRAY, pins::map_name(pins::Kind::commands), sizeof(int),
                                             sizeof(haul::tcp::KernelCommand), 1, nullptr));
  REQUIRE(frozen);
  const std::string path = pins::path_of(directory, pins::Kind::commands);
  REQUIRE(unlink(path.c_str()) == 0);
  REQUIRE(bpf_obj_pin(frozen.get(), path.c_str()) == 0);
  const auto maps = KernelMaps::open(directory);
  REQUIRE(maps.ok());
  REQUIRE(bpf_map_freeze(frozen.get()) == 0);
  const Stream stream;
  const Status status = (*maps)->write(stream.sender(), {});
  CHECK(status.code() == StatusCode::refused);
  CHECK(has(status.message(), "haul cc uninstall"));
}

TEST_CASE("installation: the group may be changed, and left out again", "[kernel-cc]") {
  const Installed installed(InstallOptions{.directory = directory, .group = "nogroup"});
  REQUIRE(kernel_congestion::install({.directory = directory, .group = "daemon"}).ok());
  CHECK(kernel_congestion::status().group == "daemon");
  REQUIRE(kernel_congestion::install().ok());
  CHECK(kernel_congestion::status().group.empty());
  CHECK(mode_of(directory + "/commands") == 0600);
}

TEST_CASE("installation: without rights it is refused, and the message names them", "[kernel-cc]") {
  CHECK(as(somebody, somebody, [] {
          const Status status = kernel_congestion::install();
          return status.code() == StatusCode::refused && has(status.message(), "CAP_BPF") &&
                 has(status.message(), "CAP_PERFMON");
        }) == 0);
  nothing_is_left();
  const Installed installed;
  CHECK(as(somebody, somebody, [] {
          const Status status = kernel_congestion::uninstall().status();
          return status.code() == StatusCode::refused && has(status.message(), "root");
        }) == 0);
  CHECK(in_kernels_list());
}

TEST_CASE("installation: a folder that is in no bpf file system is refused, with the remedy", "[kernel-cc]") {
  const Status status = kernel_congestion::install({.directory = "/tmp/haul-bpf", .group = {}});
  CHECK(status.code() == StatusCode::invalid);
  CHECK(has(status.message(), "mount -t bpf"));
  nothing_is_left();
}

TEST_CASE("installation: a folder may be spelled in several ways, but not relatively", "[kernel-cc]") {
  const Installed installed(InstallOptions{.directory = "/sys/fs/bpf//./haul/", .group = {}});
  CHECK(exists(directory + "/samples"));
  CHECK(kernel_congestion::install({.directory = directory + "/", .group = "nogroup"}).ok());
  CHECK(kernel_congestion::status(directory + "/").presence == Presence::installed);
  for (const char* wrong : {"haul", "", "/", "./haul"}) {
    const Status status = kernel_congestion::install({.directory = wrong, .group = {}});
    CHECK(status.code() == StatusCode::invalid);
    CHECK(has(status.message(), "absolute"));
    CHECK(has(kernel_congestion::status(wrong).text, "absolute"));
  }
  CHECK(*kernel_congestion::uninstall(directory + "/"));
  nothing_is_left();
}

TEST_CASE("installation: a group that is not there, or cannot reach the maps, is refused", "[kernel-cc]") {
  CHECK(kernel_congestion::install({.directory = directory, .group = "no_such_group"}).code() == StatusCode::invalid);
  const mode_t before = mode_of("/sys/fs/bpf");
  REQUIRE(chmod("/sys/fs/bpf", 0700) == 0);
  const Status status = kernel_congestion::install({.directory = directory, .group = "nogroup"});
  REQUIRE(chmod("/sys/fs/bpf", before) == 0);
  CHECK(status.code() == StatusCode::invalid);
  CHECK(has(status.message(), "chmod o+x /sys/fs/bpf"));
  nothing_is_left();
}

TEST_CASE("installation: a registration whose maps have lost their names is seen, not doubled, and taken out", "[kernel-cc]") {
  const Installed installed;
  for (const char* file : {"/samples", "/commands", "/operations"}) REQUIRE(unlink((directory + file).c_str()) == 0);
  CHECK(in_kernels_list());
  const auto state = kernel_congestion::status();
  CHECK(state.presence == Presence::incomplete);
  CHECK(has(state.text, "haul cc uninstall"));
  CHECK(kernel_congestion::install().code() == StatusCode::refused);
  CHECK(kernel_congestion::uninstall().status().code() == StatusCode::refused);
  CHECK(in_kernels_list());
  const auto removed = kernel_congestion::uninstall(directory, Reach::machine);
  REQUIRE(removed.ok());
  CHECK(*removed);
  nothing_is_left();
}

TEST_CASE("installation: what has its maps in another folder stays, unless the whole machine is meant", "[kernel-cc]") {
  const Installed installed(InstallOptions{.directory = elsewhere, .group = {}});
  const auto state = kernel_congestion::status();
  CHECK(state.presence == Presence::incomplete);
  CHECK(has(state.text, "another folder"));
  const Status refused = kernel_congestion::uninstall().status();
  CHECK(refused.code() == StatusCode::refused);
  CHECK(has(refused.message(), "--wherever"));
  CHECK(in_kernels_list());
  CHECK(kernel_congestion::status(elsewhere).presence == Presence::installed);
  CHECK(kernel_congestion::install().code() == StatusCode::refused);

  // From where the folder can't be seen.
  const auto removed = kernel_congestion::uninstall("/tmp/haul-bpf", Reach::machine);
  REQUIRE(removed.ok());
  CHECK(*removed);
  CHECK_FALSE(in_kernels_list());
  CHECK(has(kernel_congestion::status(elsewhere).text, "haul cc uninstall --directory " + elsewhere));
  CHECK(*kernel_congestion::uninstall(elsewhere));
  CHECK_FALSE(exists(elsewhere));
  nothing_is_left();
}

TEST_CASE("installation: nothing that is not haul's is taken out of a folder", "[kernel-cc]") {
  const std::string theirs = "/sys/fs/bpf/theirs";
  const base::UniqueFd map(bpf_map_create(BPF_MAP_TYPE_HASH, "theirs", sizeof(int), sizeof(int), 1, nullptr));
  REQUIRE(map);
  const int key = 0, value = 7;
  REQUIRE(bpf_map_update_elem(map.get(), &key, &value, BPF_ANY) == 0);
  REQUIRE(mkdir(theirs.c_str(), 0700) == 0);
  for (const char* file : {"/samples", "/commands", "/operations"})
    REQUIRE(bpf_obj_pin(map.get(), (theirs + file).c_str()) == 0);

  const Status status = kernel_congestion::uninstall(theirs).status();
  CHECK(status.code() == StatusCode::refused);
  CHECK(has(status.message(), "no map of haul's"));
  for (const char* file : {"/samples", "/commands", "/operations"}) CHECK(exists(theirs + file));
  int found = 0;
  CHECK(bpf_map_lookup_elem(map.get(), &key, &found) == 0);
  CHECK(found == value);

  for (const char* file : {"/samples", "/commands", "/operations"}) unlink((theirs + file).c_str());
  rmdir(theirs.c_str());
}

TEST_CASE("installation: files that are in no bpf file system are not touched", "[kernel-cc]") {
  std::string folder = "/tmp/haul-files-XXXXXX";
  REQUIRE(mkdtemp(folder.data()) != nullptr);
  const std::string file = folder + "/samples";
  std::ofstream(file) << "mine";
  CHECK(kernel_congestion::uninstall(folder).status().code() == StatusCode::invalid);
  CHECK(kernel_congestion::uninstall(folder, Reach::machine).ok());
  CHECK(exists(file));
  unlink(file.c_str());
  rmdir(folder.c_str());
}

TEST_CASE("installation: maps without a registration are seen and taken out", "[kernel-cc]") {
  const Installed installed;
  const base::UniqueFd operations(bpf_obj_get((directory + "/operations").c_str()));
  const int key = 0;
  REQUIRE(bpf_map_delete_elem(operations.get(), &key) == 0);
  CHECK(kernel_congestion::status().presence == Presence::incomplete);
  const auto removed = kernel_congestion::uninstall();
  REQUIRE(removed.ok());
  CHECK(*removed);
  nothing_is_left();
}

TEST_CASE("installation: another version is seen, refused, and taken out", "[kernel-cc]") {
  const Installed installed;
  // A map that is called otherwise, as another version's is.
  const base::UniqueFd other(bpf_map_create(BPF_MAP_TYPE_ARRAY, "haul_samples_0", 4, 8, 1, nullptr));
  REQUIRE(other);
  REQUIRE(unlink((directory + "/samples").c_str()) == 0);
  REQUIRE(bpf_obj_pin(other.get(), (directory + "/samples").c_str()) == 0);
  CHECK(kernel_congestion::status().presence == Presence::other_version);
  CHECK(KernelMaps::open(directory).status().code() == StatusCode::unsupported);
  const Status again = kernel_congestion::install();
  CHECK(again.code() == StatusCode::refused);
  CHECK(has(again.message(), "another version"));
  REQUIRE(kernel_congestion::uninstall().ok());
  nothing_is_left();
}
