// What comes over a TCP socket, one piece by itself: prefaces, frame headers, bundles, records of TLS, endpoints of lanes.
#include <array>

#include "base/crc32c.h"
#include "fuzz/script.h"
#include "fuzz/targets.h"
#include "security/records.h"
#include "tcp/wire.h"

namespace haul::fuzz {

namespace {

using namespace tcp;

/// 64 bytes of the input. A checksum over nothing but random bytes is never right: mostly it is made right.
std::array<std::byte, 64> block(Script& script) {
  const bool sealed = script.flag();
  std::array<std::byte, 64> made{};
  const auto bytes = script.bytes(made.size());
  std::copy(bytes.begin(), bytes.end(), made.begin());
  if (sealed) base::ByteWriter(std::span(made).subspan(60)).put(base::crc32c(std::span(made).first(60)));
  return made;
}

void preface(Script& script) {
  const auto bytes = block(script);
  static_cast<void>(wire::is_other_version(bytes));
  const auto decoded = wire::decode_preface(bytes);
  if (!decoded.ok()) return;
  require(wire::begins_preface(bytes), "a preface does not begin as one");
  std::array<std::byte, wire::preface_bytes> encoded{};
  wire::encode(*decoded, encoded);
  const auto again = wire::decode_preface(encoded);
  const bool equal = again.ok() && again->kind == decoded->kind && again->token == decoded->token &&
                     again->credits == decoded->credits && again->max_payload_bytes == decoded->max_payload_bytes &&
                     again->max_message_bytes == decoded->max_message_bytes;
  require(equal, "a preface is not decoded from its own encoding");
}

void header(Script& script) {
  const auto decoded = wire::decode_header(block(script));
  if (!decoded.ok()) return;
  require(decoded->type != wire::FrameType::bundle || decoded->body_bytes <= wire::max_bundle_bytes, "a bundle is too long");
  std::array<std::byte, wire::header_bytes> encoded{};
  wire::encode(*decoded, encoded);
  const auto again = wire::decode_header(encoded);
  require(again.ok(), "a header is not decoded from its own encoding");
  std::array<std::byte, wire::header_bytes> twice{};
  wire::encode(*again, twice);
  require(same(encoded, twice), "a header changes when it is encoded again");
}

void bundle(Script& script) {
  const auto body = script.bytes(wire::max_bundle_bytes);
  wire::RecordReader reader(body);
  Bytes encoded;
  while (!reader.finished()) {
    wire::Record record;
    std::span<const std::byte> payload;
    if (!reader.next(record, payload).ok()) return;
    require(record.length > 0, "an empty record");
    const size_t begin = encoded.size();
    encoded.resize(begin + wire::record_bytes(record.type));
    wire::encode(record, std::span(encoded).subspan(begin));
    encoded.insert(encoded.end(), payload.begin(), payload.end());
  }
  require(encoded.size() == body.size(), "records are longer or shorter than what they were decoded from");
}

void endpoint(Script& script) {
  const auto bytes = script.bytes(wire::max_bundle_bytes);
  const auto decoded = wire::decode_lane_endpoint(bytes);
  if (!decoded.ok()) return;
  std::array<std::byte, wire::LaneEndpoint::bytes> encoded{};
  wire::encode(*decoded, encoded);
  require(same(encoded, bytes), "an endpoint changes when it is encoded again");
}

void tls_record(Script& script) {
  const auto bytes = script.bytes(wire::max_bundle_bytes);
  const auto size = security::record_size(bytes);
  if (!size.ok() || *size == 0) return;
  require(*size >= security::record_overhead_bytes && *size <= security::max_record_bytes, "a record has a size that none has");
  security::RecordKeys keys;
  auto cipher = security::RecordCipher::make(keys, script.flag() ? Protection::encrypted : Protection::integrity_only);
  Bytes content(security::max_record_bytes);
  if (cipher.ok() && bytes.size() >= *size) static_cast<void>(cipher->open(bytes.first(*size), content));
}

}  // namespace

void tcp_wire_run(std::span<const std::byte> input) {
  Script script(input);
  switch (script.below(5)) {
    case 0: return preface(script);
    case 1: return header(script);
    case 2: return bundle(script);
    case 3: return endpoint(script);
    default: return tls_record(script);
  }
}

void tcp_wire_seeds(const SeedSink& sink) {
  const auto put = [&sink](std::string_view name, std::initializer_list<uint8_t> lead, std::span<const std::byte> bytes) {
    Bytes seed;
    for (const uint8_t byte : lead) seed.push_back(std::byte{byte});
    seed.insert(seed.end(), bytes.begin(), bytes.end());
    sink(name, seed);
  };
  std::array<std::byte, 64> made{};
  wire::encode({.kind = wire::PrefaceKind::lane,
                .token = {std::byte{7}},
                .max_payload_bytes = 1U << 20,
                .max_message_bytes = 8192,
                .credits = 64},
               made);
  put("preface", {0, 0}, made);
  made[10] ^= std::byte{1};
  put("preface-unsealed", {0, 1}, made);
  for (const auto type :
       {wire::FrameType::bundle, wire::FrameType::write, wire::FrameType::read_data, wire::FrameType::close}) {
    const bool closes = type == wire::FrameType::close;
    wire::encode({.type = type, .has_crc = !closes, .body_bytes = closes ? 0U : 4096U, .offset = 8, .tag = 1, .sequence = 2},
                 made);
    put("header-" + std::to_string(static_cast<int>(type)), {1, 0}, made);
  }
  Bytes records;
  const Bytes payload = to_bytes("payload");
  for (const auto type : {wire::RecordType::write, wire::RecordType::read, wire::RecordType::read_data,
                          wire::RecordType::answers, wire::RecordType::message}) {
    const size_t begin = records.size();
    records.resize(begin + wire::record_bytes(type));
    wire::encode({.type = type, .length = static_cast<uint32_t>(payload.size())}, std::span(records).subspan(begin));
    if (type == wire::RecordType::read || type == wire::RecordType::answers) continue;
    records.insert(records.end(), payload.begin(), payload.end());
  }
  put("bundle", {2}, records);
  std::array<std::byte, wire::LaneEndpoint::bytes> lane{};
  wire::encode({.token = {std::byte{1}}, .port = 7440}, lane);
  put("endpoint", {3}, lane);
  auto cipher = security::RecordCipher::make(security::RecordKeys(), Protection::encrypted);
  std::array<std::byte, 100> record{};
  iovec part{const_cast<std::byte*>(payload.data()), payload.size()};
  const size_t size = cipher.value().seal(std::span(&part, 1), record).value();
  put("tls-record", {4}, std::span(record).first(size));
}

}  // namespace haul::fuzz
