// Source, Sink and the removal of stale temporary files, on a real file system.
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <catch2/catch.hpp>
#include <map>
#include <string>
#include <vector>

#include "object/names.h"
#include "object/sink.h"
#include "object/source.h"
#include "object/stale.h"
#include "temporary_folder.h"

using namespace haul;
using namespace haul::object;
using haul::object_test::TemporaryFolder;

namespace {

std::span<const std::byte> as_bytes(const std::string& text) { return std::as_bytes(std::span(text)); }

struct Copied {
  std::map<std::string, std::string> files;
  std::vector<std::string> folders;
  Failure failure;
};

Copied read_all(Source& source, size_t block_bytes) {
  Copied copied;
  std::vector<std::byte> memory(block_bytes);
  std::string path;
  while (true) {
    const Block block = source.read(memory);
    copied.failure = block.failure;
    if (block.failure.failed() || block.ends_all) return copied;
    if (block.entry && block.entry->kind == EntryKind::folder) {
      copied.folders.push_back(block.entry->path);
      continue;
    }
    if (block.entry) path = block.entry->path;
    copied.files[path].append(reinterpret_cast<const char*>(memory.data()), block.length);
  }
}

Failure put_file(Sink& sink, uint32_t index, const std::string& path, const std::string& content) {
  if (auto failure = sink.begin({.index = index, .mode = 0640, .size = content.size(), .path = path}); failure.failed())
    return failure;
  if (auto failure = sink.write(index, 0, as_bytes(content)); failure.failed()) return failure;
  return sink.finish(index);
}

}  // namespace

TEST_CASE("a tree is read whole, folders first, links skipped") {
  const TemporaryFolder folder;
  folder.write("top/a", "hello");
  folder.write("top/sub/deep/b", std::string(10000, 'b'));
  folder.write("top/empty", "");
  folder.write("top/.haul-0123456789abcdef.part", "not this");
  std::filesystem::create_symlink("/etc/passwd", folder.path() / "top/link");
  const auto fd = folder.open();
  Source source({{.path = "top", .name = "top"}}, {.folder_fd = fd.get(), .follow = Follow::inside});
  const Survey survey = source.survey();
  CHECK(survey.totals.files == 3);
  CHECK(survey.totals.bytes == 10005);
  CHECK(survey.totals.skipped == 1);
  CHECK(survey.remarks.size() == 1);
  const Copied copied = read_all(source, 4096);
  REQUIRE(!copied.failure.failed());
  CHECK(copied.files.size() == 3);
  CHECK(copied.files.at("top/a") == "hello");
  CHECK(copied.files.at("top/sub/deep/b") == std::string(10000, 'b'));
  CHECK(copied.files.at("top/empty").empty());
  CHECK(copied.folders.size() == 3);
  CHECK(copied.folders.front() == "top");
}

TEST_CASE("a source cannot be led out of its folder") {
  const TemporaryFolder folder;
  folder.write("inside/file", "in");
  std::filesystem::create_symlink("/etc", folder.path() / "out");
  std::filesystem::create_symlink("inside", folder.path() / "in");
  const auto fd = folder.open();
  const auto outcome = [&](const char* path) {
    Source source({{.path = path, .name = "x"}}, {.folder_fd = fd.get(), .follow = Follow::inside});
    return source.survey().failure.kind;
  };
  CHECK(outcome("out/passwd") == FailureKind::bad_name);
  CHECK(outcome("out") == FailureKind::bad_name);
  CHECK(outcome("../x") == FailureKind::bad_name);
  CHECK(outcome("/etc/passwd") == FailureKind::bad_name);
  CHECK(outcome("missing") == FailureKind::missing);
  CHECK(outcome("in/file") == FailureKind::none);
}

TEST_CASE("a file that shrinks or grows while it is read is an error") {
  const bool grows = GENERATE(false, true);
  const TemporaryFolder folder;
  folder.write("f", std::string(10000, 'x'));
  const auto fd = folder.open();
  Source source({{.path = "f", .name = "f"}}, {.folder_fd = fd.get(), .follow = Follow::inside});
  std::array<std::byte, 4096> memory{};
  REQUIRE(!source.read(memory).failure.failed());
  std::filesystem::resize_file(folder.path() / "f", grows ? 20000 : 5000);
  REQUIRE(read_all(source, 4096).failure.kind == FailureKind::changed);
}

TEST_CASE("a sink makes files and folders, with their permissions") {
  const TemporaryFolder folder;
  Sink sink(folder.open(), {.destination = "a/b", .into = true});
  REQUIRE(!sink.prepare().failed());
  REQUIRE(!sink.begin({.index = 0, .kind = EntryKind::folder, .mode = 0750, .path = "tree"}).failed());
  REQUIRE(!put_file(sink, 1, "tree/file", "content").failed());
  REQUIRE(!put_file(sink, 2, "tree/empty", "").failed());
  REQUIRE(!sink.complete().failed());
  CHECK(folder.read("a/b/tree/file") == "content");
  CHECK(folder.has("a/b/tree/empty"));
  struct stat info {};
  REQUIRE(stat((folder.path() / "a/b/tree/file").c_str(), &info) == 0);
  CHECK((info.st_mode & 07777U) == 0640);
  CHECK(folder.entries() == 5);
}

TEST_CASE("an exact destination names the one entry, unless it is a folder and the entry a file") {
  const TemporaryFolder folder;
  folder.write("there/old", "old");
  {
    Sink sink(folder.open(), {.destination = "new", .into = false, .name = "own"});
    REQUIRE(!sink.prepare().failed());
    REQUIRE(!put_file(sink, 0, "", "1").failed());
    REQUIRE(!sink.complete().failed());
  }
  Sink sink(folder.open(), {.destination = "there", .into = false, .name = "own"});
  REQUIRE(!sink.prepare().failed());
  REQUIRE(!put_file(sink, 0, "", "2").failed());
  REQUIRE(!sink.complete().failed());
  CHECK(folder.read("new") == "1");
  CHECK(folder.read("there/own") == "2");
}

TEST_CASE("what exists is an error, or replaced when asked") {
  const TemporaryFolder folder;
  folder.write("file", "old");
  folder.write("tree/x", "old");
  {
    Sink sink(folder.open(), {});
    REQUIRE(!sink.prepare().failed());
    CHECK(put_file(sink, 0, "file", "new").kind == FailureKind::exists);
    CHECK(sink.begin({.index = 1, .kind = EntryKind::folder, .mode = 0755, .path = "tree"}).kind == FailureKind::exists);
    CHECK(put_file(sink, 2, "tree", "new").kind == FailureKind::exists);
  }
  CHECK(folder.read("file") == "old");
  Sink sink(folder.open(), {.overwrite = true});
  REQUIRE(!sink.prepare().failed());
  CHECK(!put_file(sink, 0, "file", "new").failed());
  CHECK(!sink.begin({.index = 1, .kind = EntryKind::folder, .mode = 0755, .path = "tree"}).failed());
  CHECK(put_file(sink, 2, "tree", "new").kind == FailureKind::exists);
  CHECK(!sink.complete().failed());
  CHECK(folder.read("file") == "new");
  CHECK(folder.read("tree/x") == "old");
}

TEST_CASE("a file that appears while its successor is on its way is not replaced") {
  const TemporaryFolder folder;
  {
    Sink sink(folder.open(), {});
    REQUIRE(!sink.prepare().failed());
    REQUIRE(!sink.begin({.index = 0, .mode = 0644, .size = 3, .path = "f"}).failed());
    REQUIRE(!sink.write(0, 0, as_bytes("new")).failed());
    folder.write("f", "somebody else's");
    CHECK(sink.finish(0).kind == FailureKind::exists);
  }
  CHECK(folder.read("f") == "somebody else's");
  CHECK(folder.entries() == 1);
}

TEST_CASE("a sink cannot be led out of its folder") {
  const TemporaryFolder outside;
  const TemporaryFolder folder;
  std::filesystem::create_symlink(outside.path(), folder.path() / "out");
  std::filesystem::create_directory(folder.path() / "real");
  std::filesystem::create_symlink("real", folder.path() / "in");
  Sink sink(folder.open(), {});
  REQUIRE(!sink.prepare().failed());
  for (const char* path : {"out/x", "in/x", "../x", "/x", "a/../../x", ""}) {
    CAPTURE(path);
    CHECK(put_file(sink, 0, path, "x").kind == FailureKind::bad_name);
  }
  CHECK(sink.begin({.index = 9, .kind = EntryKind::folder, .mode = 0755, .path = "out/sub"}).kind == FailureKind::bad_name);
  CHECK(outside.entries() == 0);
  Sink refused(folder.open(), {.destination = "../x"});
  CHECK(refused.prepare().kind == FailureKind::bad_name);
}

TEST_CASE("a discarded sink leaves nothing that it made unfinished") {
  const TemporaryFolder folder;
  folder.write("kept/old", "old");
  {
    Sink sink(folder.open(), {.destination = "kept/new/folders", .into = true});
    REQUIRE(!sink.prepare().failed());
    REQUIRE(!sink.begin({.index = 0, .kind = EntryKind::folder, .mode = 0755, .path = "tree"}).failed());
    REQUIRE(!sink.begin({.index = 1, .mode = 0644, .size = 100, .path = "tree/half"}).failed());
    CHECK(folder.entries() == 6);
  }
  CHECK(folder.entries() == 2);
}

TEST_CASE("a sink that cannot hold what is announced says so first") {
  const TemporaryFolder folder;
  Sink sink(folder.open(), {.totals = {.files = 1, .bytes = 1ULL << 60}});
  CHECK(sink.prepare().kind == FailureKind::no_space);
}

TEST_CASE("stale temporary files go, those of the living stay") {
  const TemporaryFolder folder;
  folder.write("a/" + temporary_name(1), "dead");
  folder.write("a/b/" + temporary_name(2), "dead");
  folder.write("a/b/kept.part", "other");
  folder.write(temporary_name(3), "alive");
  const base::UniqueFd alive(::open((folder.path() / temporary_name(3)).c_str(), O_RDWR | O_CLOEXEC));
  REQUIRE(flock(alive.get(), LOCK_EX | LOCK_NB) == 0);
  const auto fd = folder.open();
  CHECK(remove_stale(fd.get(), 0) == 0);
  CHECK(remove_stale(fd.get(), 1) == 1);
  CHECK(remove_stale(fd.get(), 64) == 1);
  CHECK(folder.has(temporary_name(3)));
  CHECK(folder.has("a/b/kept.part"));
  CHECK(folder.entries() == 4);
}
