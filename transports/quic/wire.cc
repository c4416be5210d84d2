// Encoding and decoding of records and pieces.
#include "quic/wire.h"

#include <algorithm>

#include "base/bytes.h"

namespace haul::quic::wire {

namespace {

constexpr uint8_t flag_crc = 1;
constexpr uint8_t flag_payload = 2;
constexpr uint32_t kind_write = 1;
constexpr uint32_t kind_read = 2;
constexpr unsigned kind_shift = 24;
constexpr unsigned high_bits = 32;

Status broken(const char* what) { return Status(StatusCode::protocol, what); }

bool known(uint8_t type) noexcept {
  return type >= static_cast<uint8_t>(RecordType::hello) && type <= static_cast<uint8_t>(RecordType::cancel);
}

Status check(const Record& record, uint8_t flags) {
  const bool carries = record.type == RecordType::write || record.type == RecordType::read_data;
  const bool may_want_crc = carries || record.type == RecordType::read;
  if ((flags & ~(flag_crc | flag_payload)) != 0) return broken("a record with unknown flags");
  if ((record.has_payload && !carries) || (record.has_crc && !may_want_crc)) return broken("a record with flags of another");
  const bool counts = record.type != RecordType::cancel && record.type != RecordType::hello;
  if (counts && record.length == 0) return broken("a record of no bytes");
  return {};
}

void put_hello(base::ByteWriter& writer, const Record& record) {
  writer.put(record.version);
  writer.put(uint16_t{0});
  writer.put_bytes(record.token);
  writer.put(record.max_payload_bytes);
  writer.put(record.max_message_bytes);
  writer.put(record.credits);
}

void get_hello(base::ByteReader& reader, Record& record) {
  record.version = reader.get<uint16_t>();
  reader.get<uint16_t>();
  const auto token = reader.get_bytes(record.token.size());
  std::copy(token.begin(), token.end(), record.token.begin());
  record.max_payload_bytes = reader.get<uint32_t>();
  record.max_message_bytes = reader.get<uint32_t>();
  record.credits = reader.get<uint32_t>();
}

}  // namespace

void encode(const LaneEndpoint& endpoint, std::span<std::byte, LaneEndpoint::bytes> out) noexcept {
  base::ByteWriter writer(out);
  writer.put_bytes(endpoint.token);
  writer.put(endpoint.port);
}

Result<LaneEndpoint> decode_lane_endpoint(std::span<const std::byte> in) {
  base::ByteReader reader(in);
  LaneEndpoint endpoint;
  const auto token = reader.get_bytes(endpoint.token.size());
  std::copy(token.begin(), token.end(), endpoint.token.begin());
  endpoint.port = reader.get<uint16_t>();
  if (!reader.finished() || endpoint.port == 0) {
    return Status(StatusCode::invalid, "the peer's endpoint is not one of a quic transport: pass its bytes unchanged");
  }
  return endpoint;
}

size_t record_bytes(RecordType type) noexcept {
  switch (type) {
    case RecordType::hello:
    case RecordType::write: return Record::head_bytes + 32;
    case RecordType::read: return Record::head_bytes + 20;
    case RecordType::read_data: return Record::head_bytes + 12;
    case RecordType::answers:
    case RecordType::cancel: return Record::head_bytes + 8;
    case RecordType::message: break;
  }
  return Record::head_bytes;
}

void encode(const Record& record, std::span<std::byte> out) noexcept {
  base::ByteWriter writer(out);
  writer.put(static_cast<uint8_t>(record.type));
  writer.put(static_cast<uint8_t>((record.has_crc ? flag_crc : 0) | (record.has_payload ? flag_payload : 0)));
  writer.put(record.code);
  writer.put(record.length);
  const bool places = record.type == RecordType::write || record.type == RecordType::read;
  if (record.type == RecordType::hello) put_hello(writer, record);
  if (places) {
    writer.put(record.key);
    writer.put(record.offset);
  }
  if (record.type == RecordType::write) writer.put(record.tag);
  if (record.type != RecordType::hello && record.type != RecordType::message) writer.put(record.sequence);
  if (record.type == RecordType::write || record.type == RecordType::read_data) writer.put(record.crc);
}

Result<size_t> record_bytes(std::span<const std::byte, Record::head_bytes> head) {
  const auto type = static_cast<uint8_t>(head[0]);
  if (!known(type)) return broken("a record of an unknown type");
  return record_bytes(static_cast<RecordType>(type));
}

Result<Record> decode_record(std::span<const std::byte> in) {
  base::ByteReader reader(in);
  Record record;
  const auto type = reader.get<uint8_t>();
  if (!known(type)) return broken("a record of an unknown type");
  record.type = static_cast<RecordType>(type);
  const auto flags = reader.get<uint8_t>();
  record.has_crc = (flags & flag_crc) != 0;
  record.has_payload = (flags & flag_payload) != 0;
  record.code = reader.get<uint16_t>();
  record.length = reader.get<uint32_t>();
  const bool places = record.type == RecordType::write || record.type == RecordType::read;
  if (record.type == RecordType::hello) get_hello(reader, record);
  if (places) {
    record.key = reader.get<uint32_t>();
    record.offset = reader.get<uint64_t>();
  }
  if (record.type == RecordType::write) record.tag = reader.get<uint64_t>();
  if (record.type != RecordType::hello && record.type != RecordType::message) record.sequence = reader.get<uint64_t>();
  if (record.type == RecordType::write || record.type == RecordType::read_data) record.crc = reader.get<uint32_t>();
  if (!reader.finished()) return broken("a record of another length than its type has");
  if (Status status = check(record, flags); !status.ok()) return status;
  return record;
}

void encode(const Piece& piece, std::span<std::byte> out) noexcept {
  base::ByteWriter writer(out);
  const uint32_t kind = piece.write ? kind_write : kind_read;
  writer.put(kind << kind_shift | (piece.sequence & static_cast<uint32_t>(Piece::sequence_mask)));
  if (piece.write) {
    writer.put(piece.key);
    writer.put(static_cast<uint32_t>(piece.offset));
    writer.put(static_cast<uint16_t>(piece.offset >> high_bits));
  } else {
    writer.put(static_cast<uint32_t>(piece.offset));
  }
}

Result<Piece> decode_piece(std::span<const std::byte> in) {
  base::ByteReader reader(in);
  Piece piece;
  const auto first = reader.get<uint32_t>();
  const uint32_t kind = first >> kind_shift;
  if (kind != kind_write && kind != kind_read) return broken("a piece of an unknown kind");
  piece.write = kind == kind_write;
  piece.sequence = first & static_cast<uint32_t>(Piece::sequence_mask);
  if (piece.write) piece.key = reader.get<uint32_t>();
  piece.offset = reader.get<uint32_t>();
  if (piece.write) piece.offset |= uint64_t{reader.get<uint16_t>()} << high_bits;
  piece.payload = reader.get_bytes(reader.left());
  if (!reader.ok() || piece.payload.empty()) return broken("a piece without payload");
  return piece;
}

uint64_t whole_sequence(uint32_t low_bits, uint64_t near) noexcept {
  constexpr uint64_t modulus = Piece::sequence_mask + 1;
  const uint64_t ahead = (low_bits - near) & Piece::sequence_mask;
  const bool behind = ahead >= modulus / 2 && near + ahead >= modulus;
  return near + ahead - (behind ? modulus : 0);
}

}  // namespace haul::quic::wire
