// Unit tests of base::ByteWriter and base::ByteReader.
#include <array>
#include <catch2/catch.hpp>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "base/random.h"

namespace haul::base {
namespace {

TEST_CASE("numbers are written little-endian", "[base][bytes]") {
  std::array<std::byte, 15> memory{};
  ByteWriter writer(memory);
  writer.put(uint8_t{0x01});
  writer.put(uint16_t{0x0302});
  writer.put(uint32_t{0x07060504});
  writer.put(uint64_t{0x0f0e0d0c0b0a0908});
  REQUIRE(writer.ok());
  REQUIRE(writer.size() == 15);
  for (size_t i = 0; i < memory.size(); ++i) CHECK(memory[i] == static_cast<std::byte>(i + 1));
}

TEST_CASE("what was written is read", "[base][bytes]") {
  std::array<std::byte, 64> memory{};
  ByteWriter writer(memory);
  writer.put(uint32_t{0xdeadbeef});
  writer.put_text("weights");
  writer.put_text("");
  writer.put_bytes(std::as_bytes(std::span<const char>("xyz", 3)));
  writer.put(UINT64_MAX);
  REQUIRE(writer.ok());
  ByteReader reader(writer.written());
  CHECK(reader.get<uint32_t>() == 0xdeadbeef);
  CHECK(reader.get_text() == "weights");
  CHECK(reader.get_text().empty());
  CHECK(reader.get_bytes(3).size() == 3);
  CHECK_FALSE(reader.finished());
  CHECK(reader.left() == 8);
  CHECK(reader.get<uint64_t>() == UINT64_MAX);
  CHECK(reader.finished());
}

TEST_CASE("a writer that ran out writes nothing more", "[base][bytes]") {
  std::array<std::byte, 4> memory{};
  ByteWriter writer{std::span(memory).first(3)};
  writer.put(uint16_t{0xffff});
  writer.put(uint16_t{0xffff});
  CHECK_FALSE(writer.ok());
  writer.put(uint8_t{0xff});
  CHECK_FALSE(writer.ok());
  CHECK(writer.size() == 2);
  CHECK(memory[2] == std::byte{0});
  CHECK(memory[3] == std::byte{0});
}

TEST_CASE("a text that does not fit leaves the writer failed", "[base][bytes]") {
  std::array<std::byte, 6> memory{};
  ByteWriter writer(memory);
  writer.put_text("too long");
  CHECK_FALSE(writer.ok());
  ByteWriter exact(memory);
  exact.put_text("four");
  CHECK(exact.ok());
  CHECK(exact.size() == 6);
}

TEST_CASE("reading past the end gives zeros and is remembered", "[base][bytes]") {
  const std::array<std::byte, 3> memory{std::byte{1}, std::byte{2}, std::byte{3}};
  ByteReader reader(memory);
  CHECK(reader.get<uint32_t>() == 0);
  CHECK_FALSE(reader.ok());
  CHECK(reader.get<uint8_t>() == 0);
  CHECK(reader.get_bytes(1).empty());
  CHECK(reader.get_text().empty());
  CHECK_FALSE(reader.finished());
}

TEST_CASE("a text length past the end is refused", "[base][bytes]") {
  const std::array<std::byte, 4> memory{std::byte{3}, std::byte{0}, std::byte{'a'}, std::byte{'b'}};
  ByteReader reader(memory);
  CHECK(reader.get_text().empty());
  CHECK_FALSE(reader.ok());
}

TEST_CASE("a reader survives random input", "[base][bytes]") {
  Random random(21);
  for (int round = 0; round < 2000; ++round) {
    std::vector<std::byte> memory(random.below(40));
    random.fill(memory);
    ByteReader reader(memory);
    for (int step = 0; step < 8; ++step) {
      const size_t before = reader.left();
      switch (random.below(4)) {
        case 0: reader.get<uint64_t>(); break;
        case 1: REQUIRE(reader.get_text().size() <= before); break;
        case 2: REQUIRE(reader.get_bytes(random.below(50)).size() <= before); break;
        default: reader.get<uint8_t>(); break;
      }
      REQUIRE(reader.left() <= before);
    }
  }
}

}  // namespace
}  // namespace haul::base
