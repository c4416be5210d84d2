// Clients that break the file protocol: refused one at a time, without harm to others or to the files.
#include <algorithm>
#include <catch2/catch.hpp>
#include <string>

#include "file_world.h"

using namespace haul;
using namespace haul::object;
using namespace haul::object_test;

namespace {

void say(ClientNode& node, const FileMessage& message) { REQUIRE(node.peer.send(encode(message)).ok()); }

template <typename T>
const T* heard(const ClientNode& node) {
  for (const auto& message : node.received) {
    if (const auto* found = std::get_if<T>(&message)) return found;
  }
  return nullptr;
}

/// Says hello, asks for a push of one file of 1000 bytes, and has slots.
std::unique_ptr<ClientNode> pusher(FileWorld& world) {
  auto node = world.raw();
  say(*node, PushRequest{.into = true, .totals = {.files = 1, .bytes = 1000}});
  REQUIRE(world.run({node.get()}, [&] { return heard<Ready>(*node) != nullptr; }));
  return node;
}

FailureKind refusal(FileWorld& world, ClientNode& node) {
  REQUIRE(world.run({&node}, [&] { return heard<Failed>(node) != nullptr; }));
  CHECK(world.folder().entries() == 0);
  return heard<Failed>(node)->kind;
}

/// Puts real bytes with a notification that the test made up.
void put_data(ClientNode& node, const Data& data) {
  const Ready ready = *heard<Ready>(node);
  auto memory = node.engine->allocate(4096);
  REQUIRE(memory.ok());
  TransferOptions options;
  const auto notification = encode(data);
  options.notify = notification;
  static_cast<void>(node.peer.put(memory->slice(0, 100), ready.staging.slice(0, 100), std::move(options)));
}

}  // namespace

TEST_CASE("bytes that are no message") {
  FileWorld world(1);
  auto node = world.raw();
  const std::string garbage = "GET / HTTP/1.1\r\n\r\n";
  REQUIRE(node->peer.send(std::as_bytes(std::span(garbage))).ok());
  CHECK(refusal(world, *node) == FailureKind::protocol);
  REQUIRE(world.run({node.get()}, [&] { return node->closed; }));
  CHECK(world.service().sessions() == 0);
}

TEST_CASE("a client of another version is told so") {
  FileWorld world(1);
  auto node = world.raw();
  REQUIRE(heard<Welcome>(*node) != nullptr);
  say(*node, PullRequest{.version = 9, .path = "x"});
  CHECK(refusal(world, *node) == FailureKind::protocol);
  CHECK(heard<Failed>(*node)->text.find("version 9") != std::string::npos);
}

TEST_CASE("messages out of place") {
  FileWorld world(2);
  const auto message = GENERATE(values<FileMessage>(
      {Entry{.index = 1, .path = "x"}, EntryEnd{0}, End{1}, SlotFree{0}, Done{}, PushRequest{}, Offer{}, Measure{}}));
  auto node = pusher(world);
  CAPTURE(message.index());
  say(*node, message);
  CHECK(refusal(world, *node) == FailureKind::protocol);
}

TEST_CASE("entries beyond the window") {
  FileWorld world(3);
  auto node = pusher(world);
  for (uint32_t index = 0; index < 5; ++index) say(*node, Entry{.index = index, .size = 10, .path = std::to_string(index)});
  CHECK(refusal(world, *node) == FailureKind::protocol);
}

TEST_CASE("entries with names that lead out") {
  FileWorld world(4);
  auto node = pusher(world);
  say(*node, Entry{.index = 0, .size = 10, .path = "a/../../x"});
  CHECK(refusal(world, *node) == FailureKind::protocol);
}

TEST_CASE("an entry larger than the disk is refused when it is announced") {
  FileWorld world(5);
  auto node = pusher(world);
  say(*node, Entry{.index = 0, .size = 1ULL << 61, .path = "x"});
  CHECK(refusal(world, *node) == FailureKind::no_space);
}

TEST_CASE("data that does not fit") {
  FileWorld world(6);
  const auto data = GENERATE(values<Data>({{.index = 0, .slot = 99, .offset = 0, .length = 100},
                                           {.index = 0, .slot = 0, .offset = 950, .length = 100},
                                           {.index = 0, .slot = 0, .offset = ~0ULL, .length = 100},
                                           {.index = 0, .slot = 0, .offset = 0, .length = 0},
                                           {.index = 0, .slot = 0, .offset = 0, .length = 1U << 30},
                                           {.index = 77, .slot = 0, .offset = 0, .length = 100}}));
  auto node = pusher(world);
  say(*node, Entry{.index = 0, .size = 1000, .path = "x"});
  put_data(*node, data);
  CHECK(refusal(world, *node) == FailureKind::protocol);
}

TEST_CASE("the same data twice does not make a file whole") {
  FileWorld world(7);
  auto node = pusher(world);
  say(*node, Entry{.index = 0, .size = 200, .path = "x"});
  put_data(*node, {.index = 0, .slot = 0, .offset = 0, .length = 100});
  put_data(*node, {.index = 0, .slot = 1, .offset = 0, .length = 100});
  CHECK(refusal(world, *node) == FailureKind::protocol);
}

TEST_CASE("data that overtakes its entry is kept for it") {
  FileWorld world(8);
  auto node = pusher(world);
  put_data(*node, {.index = 0, .slot = 0, .offset = 0, .length = 100});
  REQUIRE(world.run({node.get()}, [&] { return node->engine->stats().bytes_put == 100; }));
  say(*node, Entry{.index = 0, .mode = 0644, .size = 100, .path = "x"});
  say(*node, EntryEnd{0});
  say(*node, End{1});
  REQUIRE(world.run({node.get()}, [&] { return heard<Done>(*node) != nullptr; }));
  CHECK(world.folder().read("x") == std::string(100, '\0'));
}

TEST_CASE("more clients than sessions are sent away, the others stay") {
  FileWorld world(9);
  auto one = world.raw();
  auto two = world.raw();
  auto three = world.raw();
  auto four = world.raw();
  REQUIRE(heard<Failed>(*four) != nullptr);
  CHECK(heard<Failed>(*four)->kind == FailureKind::limit);
  CHECK(heard<Welcome>(*three) != nullptr);
  CHECK(world.service().sessions() == 3);
}

TEST_CASE("a client that says nothing is sent away") {
  FileWorld world(10);
  auto node = world.raw();
  CHECK(world.run(
      {node.get()}, [&] { return node->closed; }, std::chrono::seconds(90)));
  CHECK(world.service().sessions() == 0);
}

TEST_CASE("a client that asks and then does nothing loses its session") {
  FileWorld world(11);
  auto node = pusher(world);
  say(*node, Entry{.index = 0, .size = 1000, .path = "x"});
  REQUIRE(world.run({node.get()}, [&] { return heard<Failed>(*node) != nullptr; }));
  CHECK(heard<Failed>(*node)->kind == FailureKind::connection);
  CHECK(world.folder().entries() == 0);
}
