// Records and pieces, as the specification has them.
#include "quic/wire.h"

#include <algorithm>
#include <array>
#include <catch2/catch.hpp>
#include <vector>

namespace haul::quic::wire {
namespace {

std::vector<std::byte> encoded(const Record& record) {
  std::vector<std::byte> bytes(record_bytes(record.type));
  encode(record, bytes);
  return bytes;
}

TEST_CASE("records survive encoding", "[quic]") {
  Record write{.type = RecordType::write, .has_crc = true, .has_payload = true, .length = 77};
  write.key = 0xdeadbeef;
  write.offset = uint64_t{1} << 40;
  write.tag = 0x1122334455667788;
  write.sequence = 12345678901;
  write.crc = 99;
  const auto decoded = decode_record(encoded(write));
  REQUIRE(decoded.ok());
  CHECK(decoded->type == write.type);
  CHECK((decoded->has_crc && decoded->has_payload));
  CHECK(decoded->length == 77);
  CHECK(decoded->key == write.key);
  CHECK(decoded->offset == write.offset);
  CHECK(decoded->tag == write.tag);
  CHECK(decoded->sequence == write.sequence);
  CHECK(decoded->crc == 99);
  CHECK(decoded->payload_bytes() == 77);

  Record hello{.type = RecordType::hello, .code = 2};
  hello.token.fill(std::byte{7});
  hello.max_payload_bytes = 1;
  hello.max_message_bytes = 2;
  hello.credits = 3;
  const auto greeted = decode_record(encoded(hello));
  REQUIRE(greeted.ok());
  CHECK(greeted->version == version);
  CHECK(greeted->token == hello.token);
  CHECK((greeted->code == 2 && greeted->max_payload_bytes == 1 && greeted->max_message_bytes == 2 && greeted->credits == 3));
}

TEST_CASE("records that are none are refused", "[quic]") {
  auto bytes = encoded({.type = RecordType::answers, .length = 1, .sequence = 5});
  CHECK(decode_record(bytes).ok());
  for (const unsigned type : {0U, 8U, 255U}) {
    auto wrong = bytes;
    wrong[0] = static_cast<std::byte>(type);
    CHECK(decode_record(wrong).status().code() == StatusCode::protocol);
    CHECK_FALSE(record_bytes(std::span<const std::byte, Record::head_bytes>(wrong.data(), Record::head_bytes)).ok());
  }
  for (const unsigned flags : {1U, 2U, 4U, 128U}) {
    auto wrong = bytes;
    wrong[1] = static_cast<std::byte>(flags);
    CHECK(decode_record(wrong).status().code() == StatusCode::protocol);
  }
  CHECK(decode_record(encoded({.type = RecordType::message, .length = 0})).status().code() == StatusCode::protocol);
  bytes.pop_back();
  CHECK(decode_record(bytes).status().code() == StatusCode::protocol);
  bytes.resize(bytes.size() + 2);
  CHECK(decode_record(bytes).status().code() == StatusCode::protocol);
}

TEST_CASE("pieces survive encoding, and need payload", "[quic]") {
  for (const bool write : {true, false}) {
    Piece piece;
    piece.write = write;
    piece.sequence = 0xabcdef;
    piece.key = write ? 0x12345678U : 0U;
    piece.offset = write ? Piece::max_offset - 1 : 0xfffffffe;
    std::vector<std::byte> bytes(Piece::header_bytes(write) + 3, std::byte{9});
    encode(piece, bytes);
    const auto decoded = decode_piece(bytes);
    REQUIRE(decoded.ok());
    CHECK(decoded->write == write);
    CHECK(decoded->sequence == piece.sequence);
    CHECK(decoded->key == piece.key);
    CHECK(decoded->offset == piece.offset);
    CHECK(decoded->payload.size() == 3);
    for (size_t bytes_left = 0; bytes_left <= Piece::header_bytes(write); ++bytes_left) {
      CHECK(decode_piece(std::span(bytes).first(bytes_left)).status().code() == StatusCode::protocol);
    }
  }
  std::vector<std::byte> unknown(30);
  CHECK(decode_piece(unknown).status().code() == StatusCode::protocol);
}

TEST_CASE("numbers are completed to the nearest", "[quic]") {
  constexpr uint64_t modulus = Piece::sequence_mask + 1;
  for (const uint64_t near : {uint64_t{0}, uint64_t{5}, modulus - 3, modulus, 7 * modulus + 12, 9 * modulus - 1}) {
    for (const int64_t distance : {-4096, -1, 0, 1, 4096}) {
      if (distance < 0 && near < static_cast<uint64_t>(-distance)) continue;
      const uint64_t number = near + static_cast<uint64_t>(distance);
      CAPTURE(near, distance);
      CHECK(whole_sequence(static_cast<uint32_t>(number & Piece::sequence_mask), near) == number);
    }
  }
}

TEST_CASE("lane endpoints of others are invalid", "[quic]") {
  LaneEndpoint endpoint{.token = {}, .port = 4433};
  endpoint.token.fill(std::byte{3});
  std::array<std::byte, LaneEndpoint::bytes> bytes{};
  encode(endpoint, bytes);
  const auto decoded = decode_lane_endpoint(bytes);
  REQUIRE(decoded.ok());
  CHECK((decoded->port == 4433 && decoded->token == endpoint.token));
  CHECK(decode_lane_endpoint(std::span(bytes).first(17)).status().code() == StatusCode::invalid);
  bytes[16] = bytes[17] = std::byte{0};
  CHECK(decode_lane_endpoint(bytes).status().code() == StatusCode::invalid);
}

}  // namespace
}  // namespace haul::quic::wire
