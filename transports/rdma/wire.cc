// Encoding and decoding of what crosses the fabric besides payload.
#include "rdma/wire.h"

#include "base/bytes.h"

namespace haul::rdma::wire {

namespace {

constexpr uint32_t endpoint_magic = 0x4d445248;  // "HRDM"
constexpr uint8_t endpoint_version = 1;
constexpr uint8_t key_magic = 0x4b;
constexpr size_t endpoint_bytes = 4 + 1 + 1 + 1 + 2 + 16 + 4 + 4 + 4 + 1 + 8;

// The first byte of a record: its place in the variant.
template <typename T>
constexpr uint8_t kind_of();
template <>
constexpr uint8_t kind_of<Hello>() {
  return 1;
}
template <>
constexpr uint8_t kind_of<Landing>() {
  return 2;
}
template <>
constexpr uint8_t kind_of<Answer>() {
  return 3;
}
template <>
constexpr uint8_t kind_of<Question>() {
  return 4;
}
template <>
constexpr uint8_t kind_of<Message>() {
  return 5;
}
template <>
constexpr uint8_t kind_of<GrantsBound>() {
  return 6;
}
template <>
constexpr uint8_t kind_of<Revoke>() {
  return 7;
}
template <>
constexpr uint8_t kind_of<Released>() {
  return 8;
}
template <>
constexpr uint8_t kind_of<Bye>() {
  return 9;
}

template <>
constexpr uint8_t kind_of<Fence>() {
  return 10;
}
template <>
constexpr uint8_t kind_of<Fenced>() {
  return 11;
}

constexpr size_t landing_bytes = 1 + 4 + 4 + 8 + 4 + 8 + 1 + 4;

struct Sizes {
  size_t operator()(const Hello&) const { return 1 + 8; }
  size_t operator()(const Landing&) const { return landing_bytes; }
  size_t operator()(const Answer&) const { return 1 + 4 + 1 + 4; }
  size_t operator()(const Question&) const { return 1 + 4 + 4 + 8 + 4; }
  size_t operator()(const Message& message) const { return 1 + 2 + message.payload.size(); }
  size_t operator()(const GrantsBound&) const { return 1 + 4; }
  size_t operator()(const Revoke&) const { return 1 + 4; }
  size_t operator()(const Released&) const { return 1 + 4; }
  size_t operator()(const Bye&) const { return 1; }
  size_t operator()(const Fence&) const { return 1 + 4; }
  size_t operator()(const Fenced&) const { return 1 + 4; }
};

struct Writer {
  base::ByteWriter& out;
  void operator()(const Hello& m) const { out.put(m.secret); }
  void operator()(const Landing& m) const {
    out.put(m.operation);
    out.put(m.grant);
    out.put(m.offset);
    out.put(m.length);
    out.put(m.tag);
    out.put(static_cast<uint8_t>(m.crc32c.has_value() ? 1 : 0));
    out.put(m.crc32c.value_or(0));
  }
  void operator()(const Answer& m) const {
    out.put(m.operation);
    out.put(static_cast<uint8_t>(m.code));
    out.put(m.crc32c);
  }
  void operator()(const Question& m) const {
    out.put(m.operation);
    out.put(m.grant);
    out.put(m.offset);
    out.put(m.length);
  }
  void operator()(const Message& m) const {
    out.put(static_cast<uint16_t>(m.payload.size()));
    out.put_bytes(m.payload);
  }
  void operator()(const GrantsBound& m) const { out.put(m.number); }
  void operator()(const Revoke& m) const { out.put(m.grant); }
  void operator()(const Released& m) const { out.put(m.grant); }
  void operator()(const Bye&) const {}
  void operator()(const Fence& m) const { out.put(m.grant); }
  void operator()(const Fenced& m) const { out.put(m.grant); }
};

Landing read_landing(base::ByteReader& in) {
  Landing landing;
  landing.operation = in.get<uint32_t>();
  landing.grant = in.get<uint32_t>();
  landing.offset = in.get<uint64_t>();
  landing.length = in.get<uint32_t>();
  landing.tag = in.get<uint64_t>();
  const bool has_checksum = in.get<uint8_t>() != 0;
  const auto checksum = in.get<uint32_t>();
  if (has_checksum) landing.crc32c = checksum;
  return landing;
}

Answer read_answer(base::ByteReader& in) {
  Answer answer;
  answer.operation = in.get<uint32_t>();
  const auto code = in.get<uint8_t>();
  answer.code = code <= static_cast<uint8_t>(StatusCode::internal) ? static_cast<StatusCode>(code) : StatusCode::protocol;
  answer.crc32c = in.get<uint32_t>();
  return answer;
}

Question read_question(base::ByteReader& in) {
  Question question;
  question.operation = in.get<uint32_t>();
  question.grant = in.get<uint32_t>();
  question.offset = in.get<uint64_t>();
  question.length = in.get<uint32_t>();
  return question;
}

std::optional<Record> read_record(base::ByteReader& in) {
  switch (in.get<uint8_t>()) {
    case kind_of<Hello>(): return Hello{in.get<uint64_t>()};
    case kind_of<Landing>(): return read_landing(in);
    case kind_of<Answer>(): return read_answer(in);
    case kind_of<Question>(): return read_question(in);
    case kind_of<Message>(): return Message{in.get_bytes(in.get<uint16_t>())};
    case kind_of<GrantsBound>(): return GrantsBound{in.get<uint32_t>()};
    case kind_of<Revoke>(): return Revoke{in.get<uint32_t>()};
    case kind_of<Released>(): return Released{in.get<uint32_t>()};
    case kind_of<Bye>(): return Bye{};
    case kind_of<Fence>(): return Fence{in.get<uint32_t>()};
    case kind_of<Fenced>(): return Fenced{in.get<uint32_t>()};
    default: return std::nullopt;
  }
}

}  // namespace

std::vector<std::byte> encode(const Endpoint& endpoint) {
  std::vector<std::byte> bytes(endpoint_bytes);
  base::ByteWriter out(bytes);
  out.put(endpoint_magic);
  out.put(endpoint_version);
  out.put(static_cast<uint8_t>(endpoint.link));
  out.put(static_cast<uint8_t>(endpoint.gid_type));
  out.put(endpoint.lid);
  out.put_bytes(std::as_bytes(std::span(endpoint.gid.raw)));
  out.put(endpoint.mtu_bytes);
  out.put(endpoint.queue_pair);
  out.put(endpoint.packet_number);
  out.put(endpoint.max_reads);
  out.put(endpoint.secret);
  return bytes;
}

Result<Endpoint> decode_endpoint(std::span<const std::byte> bytes) {
  base::ByteReader in(bytes);
  if (in.get<uint32_t>() != endpoint_magic) return Status(StatusCode::invalid, "these bytes are no RDMA endpoint");
  if (in.get<uint8_t>() != endpoint_version) {
    return Status(StatusCode::invalid, "the peer's RDMA endpoint is of another version: upgrade the older side");
  }
  Endpoint endpoint;
  const auto link = in.get<uint8_t>();
  const auto type = in.get<uint8_t>();
  endpoint.lid = in.get<uint16_t>();
  for (uint8_t& byte : endpoint.gid.raw) byte = in.get<uint8_t>();
  endpoint.mtu_bytes = in.get<uint32_t>();
  endpoint.queue_pair = in.get<uint32_t>();
  endpoint.packet_number = in.get<uint32_t>();
  endpoint.max_reads = in.get<uint8_t>();
  endpoint.secret = in.get<uint64_t>();
  constexpr uint32_t mask_24 = 0xffffff;
  const bool sound = in.finished() && link <= static_cast<uint8_t>(LinkLayer::ethernet) &&
                     type <= static_cast<uint8_t>(GidType::roce_v2) && endpoint.mtu_bytes >= 256 &&
                     endpoint.mtu_bytes <= 4096 && endpoint.max_reads > 0 && endpoint.queue_pair <= mask_24 &&
                     endpoint.packet_number <= mask_24;
  if (!sound) return Status(StatusCode::invalid, "the peer's RDMA endpoint is malformed");
  endpoint.link = static_cast<LinkLayer>(link);
  endpoint.gid_type = static_cast<GidType>(type);
  return endpoint;
}

RemoteRegion encode(const RemoteKey& key) {
  RemoteRegion region;
  base::ByteWriter out(region.data);
  out.put(key_magic);
  out.put(key.queue_pair);
  out.put(key.number);
  out.put(static_cast<uint8_t>(key.rights));
  out.put(key.address);
  out.put(key.length);
  out.put(key.shift);
  for (size_t i = 0; i < pieces_of(key.address, key.length, key.shift); ++i) out.put(key.keys[i]);
  region.size = static_cast<uint8_t>(out.size());
  return region;
}

Result<RemoteKey> decode_key(const RemoteRegion& region) {
  const auto invalid = [] { return Status(StatusCode::invalid, "the remote region is not one of the rdma transport"); };
  if (region.size > RemoteRegion::max_bytes) return invalid();
  base::ByteReader in(region.bytes());
  if (in.get<uint8_t>() != key_magic) return invalid();
  RemoteKey key;
  key.queue_pair = in.get<uint32_t>();
  key.number = in.get<uint32_t>();
  key.rights = static_cast<Rights>(in.get<uint8_t>() & static_cast<uint8_t>(Rights::read_write));
  key.address = in.get<uint64_t>();
  key.length = in.get<uint64_t>();
  key.shift = in.get<uint8_t>();
  if (!in.ok() || key.shift > 63 || key.length == 0 || key.length > UINT64_MAX - key.address) return invalid();
  const uint64_t pieces = pieces_of(key.address, key.length, key.shift);
  if (pieces > max_pieces) return invalid();
  for (size_t i = 0; i < pieces; ++i) key.keys[i] = in.get<uint32_t>();
  if (!in.finished()) return invalid();
  return key;
}

size_t encoded_bytes(const Record& record) { return std::visit(Sizes(), record); }

void BundleWriter::add(const Record& record) {
  base::ByteWriter out(slot_.subspan(used_));
  std::visit([&out]<typename T>(const T&) { out.put(kind_of<T>()); }, record);
  std::visit(Writer{out}, record);
  used_ += out.size();
}

std::span<const std::byte> BundleWriter::finish(uint32_t received) {
  base::ByteWriter(slot_).put(received);
  return slot_.first(used_);
}

BundleReader::BundleReader(std::span<const std::byte> bundle) : rest_(bundle) {
  base::ByteReader in(bundle);
  received_ = in.get<uint32_t>();
  sound_ = in.ok();
  rest_ = sound_ ? bundle.subspan(header_bytes) : std::span<const std::byte>();
}

std::optional<Record> BundleReader::next() {
  if (rest_.empty() || !sound_) return std::nullopt;
  base::ByteReader in(rest_);
  auto record = read_record(in);
  if (!record || !in.ok()) {
    sound_ = false;
    return std::nullopt;
  }
  rest_ = rest_.subspan(rest_.size() - in.left());
  return record;
}

}  // namespace haul::rdma::wire
