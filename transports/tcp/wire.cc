// Encoding and decoding of prefaces, frame headers and records.
#include "tcp/wire.h"

#include <fmt/format.h>

#include <cstring>

#include "base/bytes.h"
#include "base/crc32c.h"

namespace haul::tcp::wire {

namespace {

constexpr uint32_t magic = 0x4c554148;  // "HAUL" in this byte order
constexpr size_t checked_bytes = 60;    // of a preface or header; their CRC32C follows
constexpr uint8_t flag_crc = 1;

void seal(std::span<std::byte> block) noexcept {
  base::ByteWriter crc(block.subspan(checked_bytes));
  crc.put(base::crc32c(block.first(checked_bytes)));
}

bool sealed(std::span<const std::byte> block) noexcept {
  return base::ByteReader(block.subspan(checked_bytes)).get<uint32_t>() == base::crc32c(block.first(checked_bytes));
}

void put_zeros(base::ByteWriter& writer, std::span<std::byte> block) noexcept {
  std::memset(block.data() + writer.size(), 0, checked_bytes - writer.size());
}

template <size_t size>
std::array<std::byte, size> get_array(base::ByteReader& reader) noexcept {
  std::array<std::byte, size> array{};
  const auto bytes = reader.get_bytes(size);
  if (bytes.size() == size) std::memcpy(array.data(), bytes.data(), size);
  return array;
}

Status malformed(std::string_view what) {
  return Status(StatusCode::protocol, fmt::format("the peer broke the framing: {}; the connection was closed", what));
}

}  // namespace

void encode(const Preface& preface, std::span<std::byte, preface_bytes> out) noexcept {
  base::ByteWriter writer(out);
  writer.put(magic);
  writer.put(preface.version);
  writer.put(static_cast<uint8_t>(preface.kind));
  writer.put(uint8_t{0});
  writer.put_bytes(preface.token);
  writer.put(preface.max_payload_bytes);
  writer.put(preface.max_message_bytes);
  writer.put(preface.credits);
  put_zeros(writer, out);
  seal(out);
}

bool begins_preface(std::span<const std::byte> in) noexcept {
  return in.size() >= sizeof(magic) && base::ByteReader(in).get<uint32_t>() == magic;
}

Result<Preface> decode_preface(std::span<const std::byte, preface_bytes> in) {
  base::ByteReader reader(in);
  if (reader.get<uint32_t>() != magic) return Status(StatusCode::protocol, "it speaks something else than haul's TCP framing");
  Preface preface;
  preface.version = reader.get<uint16_t>();
  // Before the check sum: another version may place that elsewhere.
  if (preface.version != version) {
    return Status(StatusCode::protocol,
                  fmt::format("it speaks version {} of haul's TCP framing, this side version {}: use releases of haul that "
                              "share one",
                              preface.version, version));
  }
  if (!sealed(in)) return Status(StatusCode::protocol, "its preface is damaged (the check sum does not match)");
  const uint8_t kind = reader.get<uint8_t>();
  const uint8_t flags = reader.get<uint8_t>();
  if (kind < 1 || kind > 3 || flags != 0) return Status(StatusCode::protocol, "its preface asks for something unknown");
  preface.kind = static_cast<PrefaceKind>(kind);
  if (preface.kind == PrefaceKind::needs_credentials) {
    return Status(StatusCode::refused,
                  "it talks only to peers with credentials: make some (`haul keygen`), and have its operator "
                  "authorize them");
  }
  preface.token = get_array<16>(reader);
  preface.max_payload_bytes = reader.get<uint32_t>();
  preface.max_message_bytes = reader.get<uint32_t>();
  preface.credits = reader.get<uint32_t>();
  if (preface.max_payload_bytes == 0 || preface.max_message_bytes == 0 || preface.credits == 0) {
    return Status(StatusCode::protocol, "its preface announces a limit of zero");
  }
  return preface;
}

bool is_other_version(std::span<const std::byte, preface_bytes> in) noexcept {
  base::ByteReader reader(in);
  return reader.get<uint32_t>() == magic && reader.get<uint16_t>() != version;
}

void encode(const LaneEndpoint& endpoint, std::span<std::byte, LaneEndpoint::bytes> out) noexcept {
  base::ByteWriter writer(out);
  writer.put_bytes(endpoint.token);
  writer.put(endpoint.port);
}

Result<LaneEndpoint> decode_lane_endpoint(std::span<const std::byte> in) {
  if (in.size() != LaneEndpoint::bytes) {
    return Status(StatusCode::invalid, "the peer's endpoint was not made by a tcp transport");
  }
  base::ByteReader reader(in);
  LaneEndpoint endpoint;
  endpoint.token = get_array<16>(reader);
  endpoint.port = reader.get<uint16_t>();
  if (endpoint.port == 0) return Status(StatusCode::invalid, "the peer's endpoint names no port");
  return endpoint;
}

void encode(const FrameHeader& header, std::span<std::byte, header_bytes> out) noexcept {
  base::ByteWriter writer(out);
  writer.put(static_cast<uint8_t>(header.type));
  writer.put(header.has_crc ? flag_crc : uint8_t{0});
  writer.put(uint16_t{0});
  writer.put(header.body_bytes);
  writer.put_bytes(header.key);
  writer.put(header.offset);
  writer.put(header.tag);
  writer.put(header.sequence);
  writer.put(header.crc);
  put_zeros(writer, out);
  seal(out);
}

Result<FrameHeader> decode_header(std::span<const std::byte, header_bytes> in) {
  if (!sealed(in)) return malformed("a frame header's check sum does not match");
  base::ByteReader reader(in);
  const uint8_t type = reader.get<uint8_t>();
  const uint8_t flags = reader.get<uint8_t>();
  const uint16_t reserved = reader.get<uint16_t>();
  if (type < 1 || type > 4 || flags > flag_crc || reserved != 0) return malformed(fmt::format("unknown frame type {}", type));
  FrameHeader header;
  header.type = static_cast<FrameType>(type);
  header.has_crc = flags == flag_crc;
  header.body_bytes = reader.get<uint32_t>();
  header.key = get_array<16>(reader);
  header.offset = reader.get<uint64_t>();
  header.tag = reader.get<uint64_t>();
  header.sequence = reader.get<uint64_t>();
  header.crc = reader.get<uint32_t>();
  const bool has_body = header.body_bytes > 0;
  if (has_body == (header.type == FrameType::close)) return malformed("a frame's length does not fit its type");
  if (header.type == FrameType::bundle && header.body_bytes > max_bundle_bytes) return malformed("a bundle is too long");
  return header;
}

size_t record_bytes(RecordType type) noexcept {
  switch (type) {
    case RecordType::write: return Record::write_bytes;
    case RecordType::read: return Record::read_bytes;
    case RecordType::read_data: return Record::read_data_bytes;
    case RecordType::answers: return Record::answers_bytes;
    case RecordType::message: return Record::message_bytes;
  }
  return 0;
}

void encode(const Record& record, std::span<std::byte> out) noexcept {
  base::ByteWriter writer(out);
  writer.put(static_cast<uint8_t>(record.type));
  writer.put(record.has_crc ? flag_crc : uint8_t{0});
  writer.put(record.code);
  writer.put(record.length);
  switch (record.type) {
    case RecordType::write:
      writer.put_bytes(record.key);
      writer.put(record.offset);
      writer.put(record.tag);
      writer.put(record.crc);
      break;
    case RecordType::read:
      writer.put_bytes(record.key);
      writer.put(record.offset);
      break;
    case RecordType::read_data:
      writer.put(record.sequence);
      writer.put(record.crc);
      break;
    case RecordType::answers: writer.put(record.sequence); break;
    case RecordType::message: break;
  }
}

Status RecordReader::next(Record& record, std::span<const std::byte>& payload) {
  base::ByteReader reader(body_.subspan(used_));
  const uint8_t type = reader.get<uint8_t>();
  const uint8_t flags = reader.get<uint8_t>();
  if (type < 1 || type > 5 || flags > flag_crc) return malformed(fmt::format("unknown record type {}", type));
  record.type = static_cast<RecordType>(type);
  record.has_crc = flags == flag_crc;
  record.code = reader.get<uint16_t>();
  record.length = reader.get<uint32_t>();
  if (record.type == RecordType::write || record.type == RecordType::read) {
    record.key = get_array<16>(reader);
    record.offset = reader.get<uint64_t>();
  }
  if (record.type == RecordType::write) record.tag = reader.get<uint64_t>();
  if (record.type == RecordType::read_data || record.type == RecordType::answers) record.sequence = reader.get<uint64_t>();
  if (record.type == RecordType::write || record.type == RecordType::read_data) record.crc = reader.get<uint32_t>();
  const bool has_payload = record.type != RecordType::read && record.type != RecordType::answers;
  payload = reader.get_bytes(has_payload ? record.length : 0);
  if (!reader.ok() || record.length == 0) return malformed("a record's length does not fit its bundle");
  used_ = body_.size() - reader.left();
  return {};
}

}  // namespace haul::tcp::wire
