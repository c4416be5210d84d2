// Records: what one side seals the other opens, and nothing else.
#include <algorithm>
#include <array>
#include <catch2/catch.hpp>
#include <cstring>
#include <vector>

#include "base/random.h"
#include "security/records.h"

namespace haul::security {
namespace {

RecordKeys some_keys(Cipher cipher) {
  RecordKeys keys;
  keys.cipher = cipher;
  base::Random random(7);
  random.fill(keys.key);
  random.fill(keys.iv);
  return keys;
}

std::vector<std::byte> noise(size_t bytes, uint64_t seed = 1) {
  std::vector<std::byte> content(bytes);
  base::Random(seed).fill(content);
  return content;
}

std::vector<std::byte> seal(RecordCipher& cipher, std::span<std::byte> content) {
  std::vector<std::byte> record(max_record_bytes);
  const iovec part{content.data(), content.size()};
  record.resize(cipher.seal(std::span(&part, 1), record).value());
  return record;
}

struct Pair {
  Pair(Cipher cipher, Protection mode)
      : sealer(RecordCipher::make(some_keys(cipher), mode).value()),
        opener(RecordCipher::make(some_keys(cipher), mode).value()) {}
  RecordCipher sealer;
  RecordCipher opener;
};

}  // namespace

TEST_CASE("sealed records open to their content", "[security]") {
  const auto cipher = GENERATE(Cipher::aes_128_gcm, Cipher::aes_256_gcm, Cipher::chacha20_poly1305);
  const auto mode = GENERATE(Protection::encrypted, Protection::integrity_only);
  Pair pair(cipher, mode);
  for (const size_t bytes : {1UL, 15UL, 16UL, 17UL, 4096UL, max_record_content_bytes}) {
    auto content = noise(bytes);
    const auto record = seal(pair.sealer, content);
    CHECK(record.size() == bytes + record_overhead_bytes);
    CHECK(record_size(record).value() == record.size());
    std::vector<std::byte> out(bytes + 1);
    const auto opened = pair.opener.open(record, out);
    REQUIRE(opened.ok());
    CHECK(opened->bytes == bytes);
    CHECK(std::memcmp(out.data(), content.data(), bytes) == 0);
    const auto readable = std::search(record.begin(), record.end(), content.begin(), content.end()) != record.end();
    if (bytes > 16) CHECK(readable == (mode == Protection::integrity_only));
  }
  CHECK(pair.opener.blocks() == pair.sealer.blocks());
}

TEST_CASE("parts are gathered into one record", "[security]") {
  const auto mode = GENERATE(Protection::encrypted, Protection::integrity_only);
  Pair pair(Cipher::aes_128_gcm, mode);
  auto content = noise(1000);
  const std::array<iovec, 3> parts{iovec{content.data(), 64}, {content.data() + 64, 900}, {content.data() + 964, 36}};
  std::vector<std::byte> record(max_record_bytes);
  record.resize(pair.sealer.seal(parts, record).value());
  std::vector<std::byte> out(1001);
  REQUIRE(pair.opener.open(record, out).value().bytes == 1000);
  CHECK(std::memcmp(out.data(), content.data(), 1000) == 0);
}

TEST_CASE("a record that was altered anywhere does not open", "[security]") {
  const auto mode = GENERATE(Protection::encrypted, Protection::integrity_only);
  auto content = noise(100);
  std::vector<std::byte> out(101);
  Pair pair(Cipher::aes_128_gcm, mode);
  const auto record = seal(pair.sealer, content);
  for (size_t bit = 0; bit < record.size() * 8; ++bit) {
    auto altered = record;
    altered[bit / 8] ^= static_cast<std::byte>(1U << (bit % 8));
    const auto size = record_size(altered);
    if (!size.ok() || *size != altered.size()) continue;  // its header already shows it
    Pair fresh(Cipher::aes_128_gcm, mode);
    const auto opened = fresh.opener.open(altered, out);
    CHECK_FALSE(opened.ok());
    CHECK(opened.status().code() == StatusCode::protocol);
  }
}

TEST_CASE("records do not open twice, out of order, or with another key", "[security]") {
  const auto mode = GENERATE(Protection::encrypted, Protection::integrity_only);
  auto content = noise(100);
  std::vector<std::byte> out(101);
  Pair pair(Cipher::aes_128_gcm, mode);
  const auto first = seal(pair.sealer, content);
  const auto second = seal(pair.sealer, content);
  CHECK(first != second);
  SECTION("twice") {
    REQUIRE(pair.opener.open(first, out).ok());
    CHECK_FALSE(pair.opener.open(first, out).ok());
  }
  SECTION("out of order") { CHECK_FALSE(pair.opener.open(second, out).ok()); }
  SECTION("another key") {
    RecordKeys keys = some_keys(Cipher::aes_128_gcm);
    keys.key[0] ^= std::byte{1};
    auto other = RecordCipher::make(keys, mode).value();
    CHECK_FALSE(other.open(first, out).ok());
  }
}

TEST_CASE("sizes that no record has are refused", "[security]") {
  const auto with = [](uint8_t type, uint8_t major, size_t bytes) {
    return std::array<std::byte, 5>{std::byte{type}, std::byte{major}, std::byte{3}, static_cast<std::byte>(bytes >> 8U),
                                    static_cast<std::byte>(bytes)};
  };
  CHECK(record_size(std::span<const std::byte>(with(23, 3, 100)).first(4)).value() == 0);
  CHECK(record_size(with(23, 3, 17)).value() == 22);
  CHECK(record_size(with(23, 3, 16384 + 17)).value() == max_record_bytes);
  CHECK_FALSE(record_size(with(23, 3, 16)).ok());
  CHECK_FALSE(record_size(with(23, 3, 16384 + 18)).ok());
  CHECK_FALSE(record_size(with(22, 3, 100)).ok());
  CHECK_FALSE(record_size(with(23, 2, 100)).ok());
}

}  // namespace haul::security
