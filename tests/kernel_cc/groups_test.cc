// Groups by name and number, also large ones.
#include "tcp/kernel_cc/groups.h"

#include <sys/mount.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <cstdlib>
#include <fstream>

using namespace haul;

namespace {

/// In place of /etc/group as long as this lives, in the mount namespace that the tests run in.
class GroupFile {
 public:
  explicit GroupFile(const std::string& text) {
    const int fd = mkstemp(path_.data());
    REQUIRE(fd >= 0);
    close(fd);
    std::ofstream(path_) << text;
    REQUIRE(mount(path_.c_str(), "/etc/group", nullptr, MS_BIND, nullptr) == 0);
  }
  ~GroupFile() {
    umount("/etc/group");
    unlink(path_.c_str());
  }
  GroupFile(const GroupFile&) = delete;
  GroupFile& operator=(const GroupFile&) = delete;

 private:
  std::string path_ = "/tmp/haul-groups-XXXXXX";
};

}  // namespace

TEST_CASE("groups: one with very many members is found, and one without a name is told by its number", "[kernel-cc]") {
  constexpr int members = 20'000;  // some 200 KB
  std::string text = "root:x:0:\nmany:x:4242:";
  for (int i = 0; i < members; ++i) text += "member" + std::to_string(i) + (i + 1 < members ? "," : "\n");
  const GroupFile file(text);
  const auto id = tcp::group_id("many");
  INFO(id.status().to_string());
  REQUIRE(id.ok());
  CHECK(*id == 4242);
  CHECK(tcp::group_name(4242) == "many");
  CHECK(tcp::group_name(4243) == "4243");
  CHECK(tcp::group_id("few").status().code() == StatusCode::invalid);
}
