// Encoding and decoding of the engine's messages.
#include "engine/codec.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/bytes.h"
#include "base/check.h"

namespace haul::engine {

namespace {

// The type byte of each message: its place in Control, plus one. Fixed by docs/wire-format.md.
template <typename T, size_t index = 0>
constexpr uint8_t type_of() {
  if constexpr (std::is_same_v<T, std::variant_alternative_t<index, Control>>) {
    return static_cast<uint8_t>(index + 1);
  } else {
    return type_of<T, index + 1>();
  }
}

// Bits of Hello's flags.
constexpr unsigned hello_integrity = 1;
constexpr unsigned hello_control_only = 2;

// In GrantMade, beside the rights.
constexpr unsigned grant_on_device = 4;

constexpr size_t fixed_bytes = 64;  // more than the fixed fields of any message

struct VariableBytes {
  size_t operator()(const Hello& m) const { return m.name.size() + m.library_version.size() + m.payload_over.size(); }
  size_t operator()(const LaneOpen& m) const { return m.transport.size() + m.endpoint.size(); }
  size_t operator()(const LaneAccept& m) const { return m.endpoint.size(); }
  size_t operator()(const LaneRefuse& m) const { return m.reason.size(); }
  size_t operator()(const GrantMade& m) const { return m.regions.size() * (RemoteRegion::max_bytes + 8); }
  size_t operator()(const GrantExtended&) const { return RemoteRegion::max_bytes + 8; }
  size_t operator()(const UserMessage& m) const { return m.payload.size(); }
  size_t operator()(const Notify& m) const { return m.payload.size(); }
  size_t operator()(const Goodbye& m) const { return m.reason.size(); }
  template <typename T>
  size_t operator()(const T&) const {
    return 0;
  }
};

std::string_view cut(std::string_view text, size_t max_bytes) { return text.substr(0, max_bytes); }

void put_blob(base::ByteWriter& out, std::span<const std::byte> bytes) {
  out.put(static_cast<uint16_t>(bytes.size()));
  out.put_bytes(bytes);
}

void put_region(base::ByteWriter& out, const GrantRegion& region) {
  out.put(region.lane);
  out.put(region.region.size);
  out.put_bytes(region.region.bytes());
}

struct Encoder {
  base::ByteWriter& out;

  void operator()(const Hello& m) const {
    out.put(hello_magic);
    out.put(m.version_min);
    out.put(m.version_max);
    out.put(m.features);
    out.put(m.incarnation);
    out.put(m.max_message_bytes);
    out.put(m.max_lanes);
    out.put(static_cast<uint8_t>((m.integrity ? hello_integrity : 0U) | (m.control_only ? hello_control_only : 0U)));
    out.put_text(cut(m.name, max_name_bytes));
    out.put_text(cut(m.library_version, max_name_bytes));
    if (!m.payload_over.empty()) out.put_text(cut(m.payload_over, max_text_bytes));
  }
  void operator()(const LaneOpen& m) const {
    out.put(m.lane);
    out.put_text(cut(m.transport, max_name_bytes));
    put_blob(out, m.endpoint);
  }
  void operator()(const LaneAccept& m) const {
    out.put(m.lane);
    put_blob(out, m.endpoint);
  }
  void operator()(const LaneRefuse& m) const {
    out.put(m.lane);
    out.put_text(cut(m.reason, max_text_bytes));
  }
  void operator()(const LaneClosed& m) const {
    out.put(m.lane);
    out.put(m.immediates);
  }
  void operator()(const GrantMade& m) const {
    out.put(m.id);
    out.put(m.length);
    out.put(static_cast<uint8_t>(static_cast<unsigned>(m.rights) | (m.on_device ? grant_on_device : 0U)));
    out.put(static_cast<uint16_t>(m.regions.size()));
    for (const GrantRegion& region : m.regions) put_region(out, region);
  }
  void operator()(const GrantExtended& m) const {
    out.put(m.id);
    put_region(out, m.region);
  }
  void operator()(const GrantRevoked& m) const { out.put(m.id); }
  void operator()(const UserMessage& m) const { out.put_bytes(m.payload); }
  void operator()(const Notify& m) const {
    out.put(m.serial);
    out.put(m.count);
    out.put_bytes(m.payload);
  }
  void operator()(const Abandon& m) const { out.put(m.serial); }
  void operator()(const Notified& m) const { out.put(m.serial); }
  void operator()(const Verify& m) const {
    out.put(m.check);
    out.put(m.grant);
    out.put(m.offset);
    out.put(m.length);
  }
  void operator()(const Verified& m) const {
    out.put(m.check);
    out.put(static_cast<uint8_t>(m.ok));
    out.put(m.crc32c);
  }
  void operator()(const Ping& m) const { out.put(m.number); }
  void operator()(const Pong& m) const { out.put(m.number); }
  void operator()(const Goodbye& m) const {
    out.put(static_cast<uint8_t>(m.code));
    out.put_text(cut(m.reason, max_text_bytes));
  }
  void operator()(const ControlMove& m) const { out.put(m.lane); }
  void operator()(const ControlMoved& m) const { out.put(m.lane); }
  void operator()(const LanesWanted& m) const { out.put(m.count); }
};

std::vector<std::byte> get_blob(base::ByteReader& in, bool& sound) {
  const auto bytes = in.get_bytes(in.get<uint16_t>());
  sound = sound && bytes.size() <= max_endpoint_bytes;
  return {bytes.begin(), bytes.end()};
}

// Texts are shown to people, in logs and on terminals, which control characters could command.
std::string get_text(base::ByteReader& in, size_t max_bytes, bool& sound) {
  std::string text(in.get_text());
  sound = sound && text.size() <= max_bytes;
  std::replace_if(
      text.begin(), text.end(), [](char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7f; }, '?');
  return text;
}

GrantRegion get_region(base::ByteReader& in, bool& sound) {
  GrantRegion region;
  region.lane = in.get<uint32_t>();
  const auto bytes = in.get_bytes(in.get<uint8_t>());
  sound = sound && bytes.size() <= RemoteRegion::max_bytes;
  if (!sound) return region;
  std::copy(bytes.begin(), bytes.end(), region.region.data.begin());
  region.region.size = static_cast<uint8_t>(bytes.size());
  return region;
}

// One read_ function a message; `sound` turns false where a field has a value that it can't have.
void read(base::ByteReader& in, Hello& m, bool& sound) {
  sound = in.get<uint32_t>() == hello_magic;
  m.version_min = in.get<uint16_t>();
  m.version_max = in.get<uint16_t>();
  sound = sound && m.version_min <= m.version_max;
  if (m.version_min > protocol_version_max || m.version_max < protocol_version_min) {
    in.get_bytes(in.left());  // another version's fields: the versions are all that can be told
    return;
  }
  m.features = in.get<uint64_t>();
  m.incarnation = in.get<uint64_t>();
  m.max_message_bytes = in.get<uint32_t>();
  m.max_lanes = in.get<uint32_t>();
  const auto flags = in.get<uint8_t>();
  m.integrity = (flags & hello_integrity) != 0;
  m.control_only = (flags & hello_control_only) != 0;
  m.name = get_text(in, max_name_bytes, sound);
  m.library_version = get_text(in, max_name_bytes, sound);
  if (in.left() > 0) m.payload_over = get_text(in, max_text_bytes, sound);
  in.get_bytes(in.left());  // what a later minor version may add
}
void read(base::ByteReader& in, LaneOpen& m, bool& sound) {
  m.lane = in.get<uint32_t>();
  m.transport = get_text(in, max_name_bytes, sound);
  m.endpoint = get_blob(in, sound);
}
void read(base::ByteReader& in, LaneAccept& m, bool& sound) {
  m.lane = in.get<uint32_t>();
  m.endpoint = get_blob(in, sound);
}
void read(base::ByteReader& in, LaneRefuse& m, bool& sound) {
  m.lane = in.get<uint32_t>();
  m.reason = get_text(in, max_text_bytes, sound);
}
void read(base::ByteReader& in, LaneClosed& m, bool&) {
  m.lane = in.get<uint32_t>();
  m.immediates = in.get<uint64_t>();
}
void read(base::ByteReader& in, GrantMade& m, bool& sound) {
  m.id = in.get<uint64_t>();
  m.length = in.get<uint64_t>();
  const auto flags = in.get<uint8_t>();
  sound = flags <= (static_cast<unsigned>(Rights::read_write) | grant_on_device);
  m.rights = static_cast<Rights>(flags & 3U);
  m.on_device = (flags & grant_on_device) != 0;
  const auto count = in.get<uint16_t>();
  for (uint16_t i = 0; i < count && in.ok() && sound; ++i) m.regions.push_back(get_region(in, sound));
}
void read(base::ByteReader& in, GrantExtended& m, bool& sound) {
  m.id = in.get<uint64_t>();
  m.region = get_region(in, sound);
}
void read(base::ByteReader& in, GrantRevoked& m, bool&) { m.id = in.get<uint64_t>(); }
void read(base::ByteReader& in, UserMessage& m, bool&) { m.payload = in.get_bytes(in.left()); }
void read(base::ByteReader& in, Notify& m, bool&) {
  m.serial = in.get<uint64_t>();
  m.count = in.get<uint32_t>();
  m.payload = in.get_bytes(in.left());
}
void read(base::ByteReader& in, Abandon& m, bool&) { m.serial = in.get<uint64_t>(); }
void read(base::ByteReader& in, Notified& m, bool&) { m.serial = in.get<uint64_t>(); }
void read(base::ByteReader& in, Verify& m, bool&) {
  m.check = in.get<uint64_t>();
  m.grant = in.get<uint64_t>();
  m.offset = in.get<uint64_t>();
  m.length = in.get<uint32_t>();
}
void read(base::ByteReader& in, Verified& m, bool&) {
  m.check = in.get<uint64_t>();
  m.ok = in.get<uint8_t>() != 0;
  m.crc32c = in.get<uint32_t>();
}
void read(base::ByteReader& in, Ping& m, bool&) { m.number = in.get<uint64_t>(); }
void read(base::ByteReader& in, Pong& m, bool&) { m.number = in.get<uint64_t>(); }
void read(base::ByteReader& in, Goodbye& m, bool& sound) {
  const auto code = in.get<uint8_t>();
  sound = code <= static_cast<uint8_t>(StatusCode::internal);
  m.code = sound ? static_cast<StatusCode>(code) : StatusCode::protocol;
  m.reason = get_text(in, max_text_bytes, sound);
}
void read(base::ByteReader& in, ControlMove& m, bool&) { m.lane = in.get<uint32_t>(); }
void read(base::ByteReader& in, ControlMoved& m, bool&) { m.lane = in.get<uint32_t>(); }
void read(base::ByteReader& in, LanesWanted& m, bool& sound) {
  m.count = in.get<uint32_t>();
  sound = m.count > 0;
}

template <size_t index>
Result<Control> decode_as(base::ByteReader& in) {
  std::variant_alternative_t<index, Control> message;
  bool sound = true;
  read(in, message, sound);
  if (!sound || !in.finished()) {
    return Status(StatusCode::protocol, fmt::format("the peer sent a malformed message of type {}", index + 1));
  }
  return Control(std::move(message));
}

template <size_t index = 0>
Result<Control> decode_type(uint8_t type, base::ByteReader& in) {
  if constexpr (index < std::variant_size_v<Control>) {
    return type == index + 1 ? decode_as<index>(in) : decode_type<index + 1>(type, in);
  } else {
    return Status(StatusCode::protocol, fmt::format("the peer sent a message of unknown type {}", type));
  }
}

}  // namespace

std::vector<std::byte> encode(const Control& message) {
  std::vector<std::byte> bytes(fixed_bytes + std::visit(VariableBytes{}, message));
  base::ByteWriter out(bytes);
  std::visit([&out]<typename T>(const T&) { out.put(type_of<T>()); }, message);
  std::visit(Encoder{out}, message);
  base::check(out.ok(), "an engine message outgrew its buffer");
  bytes.resize(out.size());
  return bytes;
}

Result<Control> decode(std::span<const std::byte> bytes) {
  base::ByteReader in(bytes);
  const auto type = in.get<uint8_t>();
  if (!in.ok()) return Status(StatusCode::protocol, "the peer sent an empty message");
  return decode_type(type, in);
}

}  // namespace haul::engine
