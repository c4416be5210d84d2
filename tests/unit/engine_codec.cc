// The engine's messages: every one survives the way through bytes, and no bytes do harm.
#include <catch2/catch.hpp>

#include "base/random.h"
#include "engine/codec.h"

namespace haul::engine {
namespace {

std::vector<std::byte> some_bytes(size_t size) {
  std::vector<std::byte> bytes(size);
  base::Random(size + 1).fill(bytes);
  return bytes;
}

GrantRegion some_region(uint32_t lane, uint8_t size) {
  GrantRegion region;
  region.lane = lane;
  region.region.size = size;
  base::Random(lane).fill(std::span(region.region.data).first(size));
  return region;
}

// Encoding is a function of the fields, so that equal bytes after a round trip mean equal fields.
void survives(const Control& message) {
  const auto bytes = encode(message);
  const auto decoded = decode(bytes);
  REQUIRE(decoded.ok());
  CHECK(decoded->index() == message.index());
  CHECK(encode(*decoded) == bytes);
}

std::vector<Control> one_of_each() {
  static const auto payload = some_bytes(100);
  Hello hello;
  hello.incarnation = 0x1122334455667788;
  hello.max_message_bytes = 8192;
  hello.max_lanes = 64;
  hello.control_only = true;
  hello.name = "trainer-7";
  hello.library_version = "0.1.0";
  hello.payload_over = "rdma, tcp";
  return {hello,
          LaneOpen{3, "tcp", some_bytes(40)},
          LaneAccept{3, some_bytes(512)},
          LaneRefuse{3, "no room"},
          LaneClosed{9, 1ULL << 40},
          GrantMade{77, uint64_t{1} << 40, Rights::read_write, {some_region(0, 64), some_region(5, 16)}, true},
          GrantExtended{77, some_region(6, 20)},
          GrantRevoked{77},
          UserMessage{payload},
          Notify{12, 300, payload},
          Abandon{12},
          Verify{1, 77, 4096, 65536},
          Verified{1, true, 0xdeadbeef},
          Ping{5},
          Pong{5},
          Goodbye{StatusCode::exhausted, "too many peers"},
          ControlMove{4},
          ControlMoved{4},
          Notified{12},
          LanesWanted{3}};
}

}  // namespace

TEST_CASE("engine messages survive encoding and decoding") {
  for (const Control& message : one_of_each()) {
    CAPTURE(message.index());
    survives(message);
  }
}

TEST_CASE("a hello's fields arrive as they were sent") {
  Hello hello;
  hello.incarnation = 42;
  hello.integrity = false;
  hello.name = "x";
  const size_t without = encode(hello).size();
  hello.payload_over = "rdma";
  const auto bytes = encode(hello);
  const auto earlier = decode(std::span(bytes).first(without));
  REQUIRE(earlier.ok());
  CHECK(std::get<Hello>(*earlier).payload_over.empty());
  const auto decoded = decode(bytes);
  REQUIRE(decoded.ok());
  const auto& got = std::get<Hello>(*decoded);
  CHECK(got.payload_over == "rdma");
  CHECK(got.incarnation == 42);
  CHECK_FALSE(got.integrity);
  CHECK(got.name == "x");
  CHECK(got.version_max == protocol_version_max);
}

TEST_CASE("a grant tells whether its memory is a device's, beside its rights") {
  for (const bool on_device : {false, true}) {
    auto bytes = encode(GrantMade{1, 2, Rights::write, {}, on_device});
    const auto decoded = decode(bytes);
    REQUIRE(decoded.ok());
    CHECK(std::get<GrantMade>(*decoded).on_device == on_device);
    CHECK(std::get<GrantMade>(*decoded).rights == Rights::write);
    bytes[17] = std::byte{8};  // a flag of later versions
    CHECK_FALSE(decode(bytes).ok());
  }
}

TEST_CASE("a hello of another version is read as far as its versions") {
  Hello hello;
  hello.version_min = protocol_version_max + 1;
  hello.version_max = protocol_version_max + 2;
  auto bytes = encode(hello);
  bytes.resize(9 + 3);  // type, magic and versions, then something that this version does not know
  const auto decoded = decode(bytes);
  REQUIRE(decoded.ok());
  CHECK(std::get<Hello>(*decoded).version_min == protocol_version_max + 1);
}

TEST_CASE("messages cut short, made longer or of unknown type are refused with a reason") {
  for (const Control& message : one_of_each()) {
    const auto whole = encode(message);
    const bool open_ended = std::holds_alternative<UserMessage>(message) || std::holds_alternative<Notify>(message) ||
                            std::holds_alternative<Hello>(message);
    if (open_ended) continue;
    CAPTURE(message.index());
    for (size_t size = 1; size < whole.size(); ++size) {
      const auto decoded = decode(std::span(whole).first(size));
      REQUIRE_FALSE(decoded.ok());
      CHECK(decoded.status().code() == StatusCode::protocol);
    }
    auto longer = whole;
    longer.push_back(std::byte{0});
    CHECK_FALSE(decode(longer).ok());
  }
  CHECK_FALSE(decode({}).ok());
  for (const unsigned type : {0U, static_cast<unsigned>(std::variant_size_v<Control>) + 1, 255U}) {
    const std::array<std::byte, 9> bytes{static_cast<std::byte>(type)};
    CHECK(decode(bytes).status().message().find("unknown type") != std::string_view::npos);
  }
}

TEST_CASE("mutated messages are decoded or refused, and what is decoded can be encoded") {
  base::Random random(2026);
  const auto messages = one_of_each();
  size_t refused = 0;
  for (int round = 0; round < 20'000; ++round) {
    auto bytes = encode(messages[random.below(messages.size())]);
    for (uint64_t flips = 1 + random.below(4); flips > 0; --flips) {
      bytes[random.below(bytes.size())] = static_cast<std::byte>(random.below(256));
    }
    if (random.chance(0.2)) bytes.resize(random.below(bytes.size()) + 1);
    const auto decoded = decode(bytes);
    if (decoded.ok()) {
      CHECK_FALSE(encode(*decoded).empty());
    } else {
      ++refused;
    }
  }
  CHECK(refused > 1000);
}

}  // namespace haul::engine
