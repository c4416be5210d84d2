// Congestion marks, and the peer's delay, in ACK frames: what is found, and what of it is believed.
#include "quic/marks.h"

#include <catch2/catch.hpp>
#include <vector>

namespace haul::quic {
namespace {

std::vector<std::byte> frames(std::initializer_list<int> bytes) {
  std::vector<std::byte> made;
  for (const int byte : bytes) made.push_back(static_cast<std::byte>(byte));
  return made;
}

TEST_CASE("counts are found in an ACK frame that has them") {
  // Largest 16384 in four bytes, delay 5, two ranges beside the first, counts 7, 0 and 258.
  const auto packet = frames({0x03, 0x80, 0x00, 0x40, 0x00, 5, 2, 9, 1, 1, 2, 2, 7, 0, 0x41, 0x02, 0x30, 1, 2, 3});
  const auto ack = read_ack(packet);
  REQUIRE(ack);
  CHECK(ack->largest == 16384);
  CHECK(ack->delay == 5);
  const auto& counts = ack->counts;
  REQUIRE(counts);
  CHECK(counts->ect0 == 7);
  CHECK(counts->ect1 == 0);
  CHECK(counts->ce == 258);
}

TEST_CASE("counts are found behind small frames, and not behind others") {
  const auto behind =
      frames({0, 0, 1, 0x10, 0x40, 0x10, 0x11, 4, 5, 0x19, 3, 0x1a, 1, 2, 3, 4, 5, 6, 7, 8, 0x03, 1, 0, 0, 0, 1, 0, 2});
  const auto ack = read_ack(behind);
  REQUIRE(ack);
  REQUIRE(ack->counts);
  CHECK(ack->counts->ce == 2);
  const auto plain = read_ack(frames({0x02, 9, 0x41, 0, 0, 0}));
  REQUIRE(plain);
  CHECK(plain->largest == 9);
  CHECK(plain->delay == 256);
  CHECK_FALSE(plain->counts);
  CHECK_FALSE(read_ack(frames({0x30, 0x03, 1, 0, 0, 0, 1, 0, 2})));
  CHECK_FALSE(read_ack({}));
}

TEST_CASE("a frame that ends too early is none") {
  const auto whole = frames({0x1b, 1, 2, 3, 4, 5, 6, 7,    8, 0x11, 1, 0x42, 1, 0x03, 0x80, 0, 0,    9, 0x41,
                             0,    2, 0, 1, 1, 1, 1, 0xc0, 0, 0,    0, 0,    0, 0,    1,    0, 0x40, 3});
  REQUIRE(read_ack(whole));
  for (size_t bytes = 0; bytes < whole.size(); ++bytes) {
    CAPTURE(bytes);
    CHECK_FALSE(read_ack(std::span(whole).first(bytes)));
  }
  // More ranges than any packet has room for.
  CHECK_FALSE(read_ack(frames({0x03, 1, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 1, 0, 2})));
}

TEST_CASE("marks are counted once, and as far as they can be true") {
  Marks marks;
  for (int i = 0; i < 100; ++i) marks.on_sent();
  marks.on_report({.ect0 = 10, .ect1 = 0, .ce = 2});
  marks.on_report({.ect0 = 12, .ect1 = 0, .ce = 5});
  CHECK(marks.take() == 5);
  CHECK(marks.take() == 0);
  marks.on_report({.ect0 = 10, .ect1 = 0, .ce = 2});  // overtaken
  CHECK(marks.take() == 0);
  marks.on_report({.ect0 = 20, .ect1 = 1, .ce = 6});
  marks.on_report({.ect0 = 94, .ect1 = 0, .ce = 7});  // more than were sent
  marks.on_report({.ect0 = 20, .ect1 = 0, .ce = UINT64_MAX});
  CHECK(marks.take() == 0);
}

TEST_CASE("a path that marks everything says nothing") {
  Marks marks;
  for (int i = 0; i < 100; ++i) marks.on_sent();
  for (uint64_t ce = 1; ce <= 50; ++ce) marks.on_report({.ect0 = 0, .ect1 = 0, .ce = ce});
  CHECK(marks.take() == 0);
}

}  // namespace
}  // namespace haul::quic
