// The codec of the file protocol: round trips, and bad bytes.
#include "object/messages.h"

#include <catch2/catch.hpp>
#include <string>
#include <vector>

#include "base/random.h"

using namespace haul;
using namespace haul::object;

namespace {

std::vector<FileMessage> examples() {
  return {Welcome{.version = 1, .software = "haul 1.2.3"},
          PushRequest{.version = 1, .overwrite = true, .into = false, .destination = "a/b", .name = "c", .totals = {3, 4, 5}},
          PullRequest{.version = 1, .path = "../x"},
          Offer{{1, 2, 3}},
          Ready{.slot_bytes = 4096, .slots = 2, .entry_window = 16, .staging = RemoteBuffer(7, 8, 8192, Rights::write)},
          Entry{.index = 9, .kind = EntryKind::folder, .mode = 0755, .size = 0, .path = "x/\xff y"},
          Data{.index = 1, .slot = 2, .offset = 1ULL << 40, .length = 4},
          EntryEnd{5},
          EntriesDone{6},
          SlotFree{7},
          End{8},
          Done{.entries = 8, .bytes = 1ULL << 50},
          Failed{.kind = FailureKind::exists, .text = "there"},
          Working{},
          Ping{1},
          Pong{2},
          Measure{}};
}

}  // namespace

TEST_CASE("every message survives the codec") {
  for (const FileMessage& message : examples()) {
    const auto bytes = encode(message);
    const auto decoded = decode(bytes);
    CAPTURE(message.index());
    REQUIRE(decoded.ok());
    CHECK(decoded->index() == message.index());
    CHECK(encode(*decoded) == bytes);
  }
}

TEST_CASE("fields are kept") {
  const auto push = decode(encode(
      PushRequest{.version = 1, .overwrite = true, .into = false, .destination = "a/b", .name = "c", .totals = {3, 4, 5}}));
  REQUIRE(push.ok());
  const auto& request = std::get<PushRequest>(*push);
  CHECK(request.overwrite);
  CHECK(!request.into);
  CHECK(request.destination == "a/b");
  CHECK(request.name == "c");
  CHECK(request.totals.bytes == 4);
}

TEST_CASE("cut and prolonged messages are refused") {
  for (const FileMessage& message : examples()) {
    const auto whole = encode(message);
    CAPTURE(message.index());
    for (size_t length = 0; length < whole.size(); ++length) CHECK(!decode(std::span(whole).first(length)).ok());
    auto longer = whole;
    longer.push_back(std::byte{0});
    const auto decoded = decode(longer);
    REQUIRE(!decoded.ok());
    CHECK(decoded.status().code() == StatusCode::protocol);
  }
}

TEST_CASE("a pull may ask for a rate, which is all of its bytes and not zero") {
  const auto plain = encode(PullRequest{.path = "x"});
  const auto whole = encode(PullRequest{.path = "x", .rate_bytes_s = 5000});
  REQUIRE(whole.size() == plain.size() + sizeof(uint64_t));
  CHECK_FALSE(std::get<PullRequest>(*decode(plain)).rate_bytes_s);
  CHECK(std::get<PullRequest>(*decode(whole)).rate_bytes_s == 5000);
  for (size_t length = plain.size() + 1; length < whole.size(); ++length) CHECK(!decode(std::span(whole).first(length)).ok());
  auto longer = whole;
  longer.push_back(std::byte{0});
  CHECK(!decode(longer).ok());
  CHECK(!decode(encode(PullRequest{.path = "x", .rate_bytes_s = 0})).ok());
}

TEST_CASE("names and geometry are judged by the decoder") {
  CHECK(!decode(encode(Entry{.index = 0, .kind = EntryKind::file, .mode = 0, .size = 0, .path = "a/../b"})).ok());
  const RemoteBuffer staging(1, 2, 8192, Rights::write);
  CHECK(!decode(encode(Ready{.slot_bytes = 4096, .slots = 3, .entry_window = 1, .staging = staging})).ok());
  CHECK(!decode(encode(Ready{.slot_bytes = 8192, .slots = 1, .entry_window = 0, .staging = staging})).ok());
  CHECK(!decode(encode(Ready{.slot_bytes = 0, .slots = 1, .entry_window = 1, .staging = RemoteBuffer(1, 2, 0, Rights::write)}))
             .ok());
  CHECK(!decode(encode(Failed{.kind = FailureKind::none, .text = "?"})).ok());
}

TEST_CASE("long texts are cut and control characters removed from a peer's words") {
  const auto decoded = decode(encode(Failed{.kind = FailureKind::io, .text = "\x1b[2J" + std::string(5000, 'x')}));
  REQUIRE(decoded.ok());
  const auto& failed = std::get<Failed>(*decoded);
  CHECK(failed.text.size() == 1000);
  CHECK(failed.text.starts_with("?[2J"));
}

TEST_CASE("random bytes never do more than fail") {
  base::Random random(42);
  size_t accepted = 0;
  for (int round = 0; round < 20000; ++round) {
    std::vector<std::byte> bytes(random.below(80));
    random.fill(bytes);
    if (!bytes.empty()) bytes[0] = static_cast<std::byte>(random.below(20));
    const auto decoded = decode(bytes);
    if (!decoded.ok()) {
      CHECK(decoded.status().code() == StatusCode::protocol);
      continue;
    }
    ++accepted;
    CHECK(encode(*decoded).size() <= max_file_message_bytes);
  }
  CHECK(accepted > 0);
}
