// What is written of connections on request.
#include "quic/qlog.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <catch2/catch.hpp>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "object/temporary_folder.h"
#include "quic_sim/scene.h"

namespace haul::quic_sim {
namespace {

using namespace std::chrono_literals;
using Kind = Traffic::Kind;

/// As RFC 7464 has it: each text between a record separator and a line's end.
std::vector<std::string> texts(const std::filesystem::path& path) {
  std::ifstream file(path);
  const std::string all{std::istreambuf_iterator<char>(file), {}};
  std::vector<std::string> found;
  for (size_t begin = 0; begin < all.size();) {
    REQUIRE(all[begin] == '\x1e');
    const size_t end = all.find('\n', begin);
    REQUIRE(end != std::string::npos);
    found.push_back(all.substr(begin + 1, end - begin - 1));
    begin = end + 1;
  }
  return found;
}

/// Brackets and quotes of JSON without escapes, which the library does not write.
bool balanced(const std::string& text) {
  std::string open;
  bool quoted = false;
  for (const char c : text) {
    if (c == '"') quoted = !quoted;
    if (quoted) continue;
    if (c == '{' || c == '[') open.push_back(c == '{' ? '}' : ']');
    if (c != '}' && c != ']') continue;
    if (open.empty() || open.back() != c) return false;
    open.pop_back();
  }
  return !quoted && open.empty() && text.starts_with("{");
}

void move(Scene& scene) {
  Traffic traffic(scene, true, Kind::mixed, 1'000'000, 1);
  finish(scene, {&traffic}, 10s);
}

TEST_CASE("each side of a connection writes a file of what happened on it", "[quic_sim]") {
  const object_test::TemporaryFolder folder;
  {
    Scene scene({.qlog_folder = folder.path().string()});
    move(scene);
  }
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(folder.path())) {
    CAPTURE(entry.path());
    names.push_back(entry.path().filename().string());
    struct stat status {};
    REQUIRE(stat(entry.path().c_str(), &status) == 0);
    CHECK((status.st_mode & 0777) == 0600);
    const auto all = texts(entry.path());
    CHECK(all.size() > 500);
    for (const std::string& text : all) {
      if (!balanced(text)) FAIL_CHECK(text);
    }
    CHECK(all.front().find("qlog_version") != std::string::npos);
    CHECK(std::any_of(all.begin(), all.end(), [](const auto& text) { return text.find("datagram") != std::string::npos; }));
  }
  REQUIRE(names.size() == 2);
  std::sort(names.begin(), names.end());
  CHECK(names[0].ends_with("_client.sqlog"));
  CHECK(names[1].ends_with("_server.sqlog"));
  CHECK(names[0].substr(0, names[0].find('_')) == names[1].substr(0, names[1].find('_')));
}

TEST_CASE("nothing is written unless asked for", "[quic_sim]") {
  const object_test::TemporaryFolder folder;
  const auto before = std::filesystem::current_path();
  std::filesystem::current_path(folder.path());
  {
    Scene scene({});
    move(scene);
  }
  std::filesystem::current_path(before);
  CHECK(std::filesystem::is_empty(folder.path()));
}

TEST_CASE("files that can't be written disturb nobody, and are told of once", "[quic_sim]") {
  std::vector<std::string> logged;
  const LogSink log = [&](const LogRecord& record) { logged.emplace_back(record.text); };
  {
    Scene scene({.qlog_folder = "/nonexistent/folder", .log = log});
    scene.rig.connect();
    move(scene);
  }
  REQUIRE(logged.size() == 2);  // one each side
  for (const std::string& text : logged) CHECK(text.find("/nonexistent/folder") != std::string::npos);
}

TEST_CASE("a disk that is full ends files, not connections", "[quic_sim]") {
  std::vector<std::string> logged;
  quic::QlogFolder folder("", [&](const LogRecord& record) { logged.emplace_back(record.text); });
  const std::vector<std::byte> bytes(200'000);
  for (int i = 0; i < 2; ++i) {
    base::UniqueFd full(open("/dev/full", O_WRONLY | O_CLOEXEC));
    REQUIRE(full);
    quic::QlogFile file(folder, "some.sqlog", std::move(full));
    file.write(bytes);
    file.write(bytes);
  }
  REQUIRE(logged.size() == 1);
  CHECK(logged.front().find("some.sqlog") != std::string::npos);
}

}  // namespace
}  // namespace haul::quic_sim
