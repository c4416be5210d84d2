// Unit tests of base::crc32c against published vectors and a bitwise model.
#include <catch2/catch.hpp>
#include <string_view>
#include <vector>

#include "base/crc32c.h"
#include "base/random.h"

namespace haul::base {
namespace {

std::span<const std::byte> as_bytes(std::string_view text) { return std::as_bytes(std::span(text)); }

uint32_t bitwise_crc32c(std::span<const std::byte> bytes) {
  uint32_t crc = 0xffffffffU;
  for (const std::byte byte : bytes) {
    crc ^= std::to_integer<uint32_t>(byte);
    for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1) ^ ((crc & 1U) != 0 ? 0x82f63b78U : 0U);
  }
  return ~crc;
}

TEST_CASE("crc32c of published vectors", "[base][crc32c]") {
  CHECK(crc32c({}) == 0);
  CHECK(crc32c(as_bytes("123456789")) == 0xe3069283U);
  // RFC 3720 appendix B.4; the RFC prints the bytes as they go over the wire.
  std::vector<std::byte> bytes(32, std::byte{0});
  CHECK(crc32c(bytes) == 0x8a9136aaU);
  bytes.assign(32, std::byte{0xff});
  CHECK(crc32c(bytes) == 0x62a8ab43U);
  for (size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<std::byte>(i);
  CHECK(crc32c(bytes) == 0x46dd794eU);
  for (size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<std::byte>(31 - i);
  CHECK(crc32c(bytes) == 0x113fdb5cU);
}

TEST_CASE("crc32c agrees with the bitwise definition at every length and alignment", "[base][crc32c]") {
  Random random(5);
  std::vector<std::byte> bytes(300);
  random.fill(bytes);
  for (size_t offset = 0; offset < 9; ++offset) {
    for (size_t size = 0; size + offset <= bytes.size(); size += 1 + offset) {
      const auto part = std::span<const std::byte>(bytes).subspan(offset, size);
      REQUIRE(crc32c(part) == bitwise_crc32c(part));
    }
  }
}

TEST_CASE("crc32c goes on where a previous one ended", "[base][crc32c]") {
  Random random(6);
  std::vector<std::byte> bytes(1000);
  random.fill(bytes);
  const auto all = std::span<const std::byte>(bytes);
  for (size_t cut = 0; cut <= bytes.size(); cut += 37) REQUIRE(crc32c(all.subspan(cut), crc32c(all.first(cut))) == crc32c(all));
}

TEST_CASE("crc32c sees every single flipped bit", "[base][crc32c]") {
  Random random(8);
  std::vector<std::byte> bytes(64);
  random.fill(bytes);
  const uint32_t right = crc32c(bytes);
  for (size_t bit = 0; bit < bytes.size() * 8; ++bit) {
    const auto mask = static_cast<std::byte>(1U << (bit % 8));
    bytes[bit / 8] ^= mask;
    REQUIRE(crc32c(bytes) != right);
    bytes[bit / 8] ^= mask;
  }
}

}  // namespace
}  // namespace haul::base
