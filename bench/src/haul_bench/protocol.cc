// Encoding and decoding of haul-bench's messages; protocol.h has the layout.
#include "haul_bench/protocol.h"

#include <string_view>

#include "base/bytes.h"

namespace bench {

namespace {

using haul::base::ByteReader;
using haul::base::ByteWriter;

constexpr size_t max_text_bytes = 400;

// The kind of a message is its place in BenchMessage.
void put_fields(ByteWriter& out, const Setup& message) {
  out.put(message.version);
  out.put(message.working_set_bytes);
  out.put(message.block_bytes);
  out.put_bytes(message.client_memory.serialize());
}
void put_fields(ByteWriter& out, const Ready& message) {
  out.put_bytes(message.server_memory.serialize());
  out.put_text(std::string_view(message.settings).substr(0, max_text_bytes));
}
void put_fields(ByteWriter& out, const Refused& message) {
  out.put_text(std::string_view(message.why).substr(0, max_text_bytes));
}
void put_fields(ByteWriter& out, const Usage& message) {
  out.put(message.cpu_time_ns);
  out.put(message.peak_resident_bytes);
  out.put(message.retransmits);
}
void put_fields(ByteWriter& out, const Ping& message) {
  out.put(static_cast<uint16_t>(message.sequence));
  out.put(static_cast<uint8_t>(message.sequence >> 16U));
}
void put_fields(ByteWriter& /*out*/, const AskUsage& /*message*/) {}
void put_fields(ByteWriter& /*out*/, std::monostate /*nothing*/) {}

bool get_memory(ByteReader& in, haul::RemoteBuffer& memory) {
  auto read = haul::RemoteBuffer::deserialize(in.get_bytes(haul::RemoteBuffer::serialized_bytes));
  if (read) memory = *read;
  return read.ok();
}

BenchMessage get_setup(ByteReader& in) {
  Setup message;
  message.version = in.get<uint16_t>();
  message.working_set_bytes = in.get<uint64_t>();
  message.block_bytes = in.get<uint64_t>();
  if (!get_memory(in, message.client_memory)) return {};
  return message;
}

BenchMessage get_ready(ByteReader& in) {
  Ready message;
  if (!get_memory(in, message.server_memory)) return {};
  message.settings = in.get_text();
  return message;
}

BenchMessage get_usage(ByteReader& in) {
  Usage message;
  message.cpu_time_ns = in.get<uint64_t>();
  message.peak_resident_bytes = in.get<uint64_t>();
  message.retransmits = in.get<uint64_t>();
  return message;
}

BenchMessage get_ping(ByteReader& in) {
  const uint32_t low = in.get<uint16_t>();
  return Ping{uint32_t{in.get<uint8_t>()} << 16U | low};
}

BenchMessage get_fields(ByteReader& in) {
  switch (in.get<uint8_t>()) {
    case 1: return get_setup(in);
    case 2: return get_ready(in);
    case 3: return Refused{std::string(in.get_text())};
    case 4: return AskUsage{};
    case 5: return get_usage(in);
    case 6: return get_ping(in);
    default: return {};
  }
}

}  // namespace

EncodedMessage encode(const BenchMessage& message) {
  EncodedMessage encoded;
  ByteWriter out(encoded.data);
  out.put(static_cast<uint8_t>(message.index()));
  std::visit([&out](const auto& fields) { put_fields(out, fields); }, message);
  encoded.size = out.size();
  return encoded;
}

BenchMessage decode(std::span<const std::byte> bytes) {
  ByteReader in(bytes);
  BenchMessage message = get_fields(in);
  if (!in.finished()) return {};
  return message;
}

}  // namespace bench
