// Pushes and pulls between simulated machines: what arrives, and what is left when something fails.
#include <catch2/catch.hpp>
#include <string>

#include "file_world.h"

using namespace haul;
using namespace haul::object;
using namespace haul::object_test;

namespace {

std::string content(size_t bytes, unsigned seed) {
  std::string text(bytes, '\0');
  uint32_t state = seed * 2654435761U + 1;
  for (char& c : text) {
    state = state * 1664525U + 1013904223U;
    c = static_cast<char>(state >> 24);
  }
  return text;
}

void fill(const TemporaryFolder& folder) {
  folder.write("tree/big", content(1'000'000, 1));
  folder.write("tree/empty", "");
  folder.write("tree/sub/exact", content(64U << 10, 2));
  for (int i = 0; i < 40; ++i) folder.write("tree/many/" + std::to_string(i), content(static_cast<size_t>(i) * 7, 3));
}

void check_same(const TemporaryFolder& a, const TemporaryFolder& b, const std::string& under_b) {
  for (const auto& entry : std::filesystem::recursive_directory_iterator(a.path() / "tree")) {
    if (!entry.is_regular_file()) continue;
    const std::string name = std::filesystem::relative(entry.path(), a.path() / "tree").string();
    CAPTURE(name);
    CHECK(b.has(under_b + "/" + name));
    CHECK(a.read("tree/" + name) == b.read(under_b + "/" + name));
  }
}

sim::LinkOptions link_with_faults() {
  sim::LinkOptions link;
  link.loss = 0.01;
  link.reorder = 0.02;
  link.duplicate = 0.01;
  link.corrupt = 0.001;
  return link;
}

}  // namespace

TEST_CASE("a tree is pushed and pulled over a bad link") {
  const auto seed = GENERATE(range(1U, 6U));
  FileWorld world(seed, link_with_faults());
  const TemporaryFolder from;
  const TemporaryFolder to;
  fill(from);
  auto push = world.push(from.path() / "tree", "", {.into = false, .destination = "a/copy"});
  REQUIRE(world.run_to_end(*push));
  INFO(push->client->failure().message);
  REQUIRE(!push->client->failure().failed());
  CHECK(push->client->job()->report().entries_done == 46);
  check_same(from, world.folder(), "a/copy");
  CHECK(world.folder().entries() == 47);

  auto pull = world.pull("a/copy", to.path());
  REQUIRE(world.run_to_end(*pull));
  INFO(pull->client->failure().message);
  REQUIRE(!pull->client->failure().failed());
  check_same(from, to, "copy");
  CHECK(to.entries() == 46);
}

TEST_CASE("everything that is served can be pulled at once") {
  FileWorld world(1);
  world.folder().write("a", "1");
  world.folder().write("b/c", "2");
  const TemporaryFolder to;
  auto pull = world.pull("", to.path());
  REQUIRE(world.run_to_end(*pull));
  CHECK(!pull->client->failure().failed());
  CHECK(to.read("a") == "1");
  CHECK(to.read("b/c") == "2");
}

TEST_CASE("two clients at a time do not disturb each other") {
  FileWorld world(7);
  const TemporaryFolder from;
  fill(from);
  auto one = world.push(from.path() / "tree", "one", {.into = true});
  auto two = world.push(from.path() / "tree", "two", {.into = true});
  REQUIRE(world.run({one.get(), two.get()}, [&] { return one->client->finished() && two->client->finished(); }));
  CHECK(!one->client->failure().failed());
  CHECK(!two->client->failure().failed());
  check_same(from, world.folder(), "one");
  check_same(from, world.folder(), "two");
}

TEST_CASE("the other side's refusals come back with their kind") {
  FileWorld world(3);
  world.folder().write("there", "old");
  std::filesystem::create_symlink("/etc", world.root() / "out");
  const TemporaryFolder from;
  from.write("f", "new");
  const auto push_to = [&](const std::string& destination) {
    auto node = world.push(from.path() / "f", "", {.into = false, .destination = destination});
    REQUIRE(world.run_to_end(*node));
    CHECK(node->client->failure().side == Side::there);
    return node->client->failure().kind;
  };
  CHECK(push_to("there") == FailureKind::exists);
  CHECK(push_to("there/below") == FailureKind::unsuitable);
  CHECK(push_to("../f") == FailureKind::bad_name);
  CHECK(push_to("out/f") == FailureKind::bad_name);
  CHECK(world.folder().read("there") == "old");
  const TemporaryFolder to;
  const auto pull_of = [&](const std::string& path) {
    auto node = world.pull(path, to.path());
    REQUIRE(world.run_to_end(*node));
    CHECK(node->client->failure().side == Side::there);
    return node->client->failure().kind;
  };
  CHECK(pull_of("../f") == FailureKind::bad_name);
  CHECK(pull_of("out/passwd") == FailureKind::bad_name);
  CHECK(pull_of("missing") == FailureKind::missing);
  CHECK(to.entries() == 0);
}

TEST_CASE("a pull does not replace what is here, unless told to") {
  FileWorld world(4);
  world.folder().write("f", "new");
  const TemporaryFolder to;
  to.write("f", "old");
  auto refused = world.pull("f", to.path());
  REQUIRE(world.run_to_end(*refused));
  CHECK(refused->client->failure().kind == FailureKind::exists);
  CHECK(refused->client->failure().side == Side::here);
  CHECK(to.read("f") == "old");
  auto replaced = world.pull("f", to.path(), true);
  REQUIRE(world.run_to_end(*replaced));
  CHECK(!replaced->client->failure().failed());
  CHECK(to.read("f") == "new");
}

TEST_CASE("a client that dies in mid-transfer leaves nothing on the server") {
  FileWorld world(5);
  const TemporaryFolder from;
  from.write("f", content(3'000'000, 9));
  auto node = world.push(from.path() / "f", "", {.into = false, .destination = "f"});
  REQUIRE(world.run({node.get()},
                    [&] { return node->client->job() != nullptr && node->client->job()->report().bytes_done > 500'000; }));
  CHECK(world.folder().entries() == 1);
  world.world().crash("client1");
  REQUIRE(world.run_until_no_sessions({}));
  CHECK(world.folder().entries() == 0);
  REQUIRE(world.reports().size() == 1);
  CHECK(world.reports()[0].failure.kind == FailureKind::connection);
}

TEST_CASE("a server that dies in mid-transfer leaves nothing at the client") {
  FileWorld world(6);
  world.folder().write("f", content(3'000'000, 9));
  const TemporaryFolder to;
  auto node = world.pull("f", to.path());
  REQUIRE(world.run({node.get()},
                    [&] { return node->client->job() != nullptr && node->client->job()->report().bytes_done > 500'000; }));
  CHECK(to.entries() == 1);
  world.world().partition("client1", "server");
  REQUIRE(world.run_to_end(*node));
  CHECK(node->client->failure().kind == FailureKind::connection);
  CHECK(to.entries() == 0);
}

TEST_CASE("an interrupted push is cleaned up before the client leaves") {
  FileWorld world(8);
  const TemporaryFolder from;
  from.write("f", content(3'000'000, 9));
  auto node = world.push(from.path() / "f", "", {.into = false, .destination = "new/f"});
  REQUIRE(world.run({node.get()},
                    [&] { return node->client->job() != nullptr && node->client->job()->report().bytes_done > 500'000; }));
  node->client->stop({.kind = FailureKind::interrupted, .message = "interrupted"});
  REQUIRE(world.run_to_end(*node));
  CHECK(node->client->failure().kind == FailureKind::interrupted);
  CHECK(world.folder().entries() == 0);
}

TEST_CASE("a stopping server tells its clients") {
  FileWorld world(9);
  world.folder().write("f", content(3'000'000, 9));
  const TemporaryFolder to;
  auto node = world.pull("f", to.path());
  REQUIRE(world.run({node.get()},
                    [&] { return node->client->job() != nullptr && node->client->job()->report().bytes_done > 500'000; }));
  world.service().stop({.kind = FailureKind::interrupted, .message = "the server is stopping"});
  REQUIRE(world.run_to_end(*node));
  CHECK(node->client->failure().kind == FailureKind::interrupted);
  CHECK(node->client->failure().side == Side::there);
  CHECK(to.entries() == 0);
  CHECK(world.run_until_no_sessions({node.get()}));
}

TEST_CASE("a source that changes while it is sent fails the push") {
  FileWorld world(10);
  const TemporaryFolder from;
  from.write("f", content(3'000'000, 9));
  auto node = world.push(from.path() / "f", "", {.into = false, .destination = "f"});
  REQUIRE(world.run({node.get()},
                    [&] { return node->client->job() != nullptr && node->client->job()->report().bytes_done > 500'000; }));
  std::filesystem::resize_file(from.path() / "f", 1'000'000);
  REQUIRE(world.run_to_end(*node));
  CHECK(node->client->failure().kind == FailureKind::changed);
  CHECK(world.folder().entries() == 0);
}
