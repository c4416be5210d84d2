// The codec of the file protocol.
#include "object/messages.h"

#include <fmt/format.h>

#include <array>
#include <optional>
#include <string_view>

#include "base/bytes.h"
#include "base/check.h"
#include "object/names.h"

namespace haul::object {

namespace {

using base::ByteReader;
using base::ByteWriter;

constexpr uint32_t magic = 0x4c494648;  // "HFIL"
constexpr size_t max_text_bytes = 1000;

enum class Type : uint8_t {
  welcome = 1,
  push = 2,
  pull = 3,
  offer = 4,
  ready = 5,
  entry = 6,
  data = 7,
  entry_end = 8,
  entries_done = 9,
  slot_free = 10,
  end = 11,
  done = 12,
  failed = 13,
  working = 14,
  ping = 15,
  pong = 16,
  measure = 17,
};

void put_type(ByteWriter& out, Type type) { out.put(static_cast<uint8_t>(type)); }

void put_totals(ByteWriter& out, const Totals& totals) {
  out.put(totals.files);
  out.put(totals.bytes);
  out.put(totals.skipped);
}

Totals get_totals(ByteReader& in) {
  Totals totals;
  totals.files = in.get<uint64_t>();
  totals.bytes = in.get<uint64_t>();
  totals.skipped = in.get<uint64_t>();
  return totals;
}

std::string_view cut(std::string_view text) { return text.substr(0, max_text_bytes); }

/// One overload a message.
struct Encoder {
  ByteWriter& out;

  void operator()(const Welcome& m) const {
    put_type(out, Type::welcome);
    out.put(magic);
    out.put(m.version);
    out.put_text(cut(m.software));
  }
  void operator()(const PushRequest& m) const {
    put_type(out, Type::push);
    out.put(m.version);
    out.put(static_cast<uint8_t>((m.overwrite ? 1U : 0U) | (m.into ? 2U : 0U)));
    out.put_text(m.destination);
    out.put_text(m.name);
    put_totals(out, m.totals);
  }
  void operator()(const PullRequest& m) const {
    put_type(out, Type::pull);
    out.put(m.version);
    out.put_text(m.path);
    if (m.rate_bytes_s) out.put(*m.rate_bytes_s);
  }
  void operator()(const Offer& m) const {
    put_type(out, Type::offer);
    put_totals(out, m.totals);
  }
  void operator()(const Ready& m) const {
    put_type(out, Type::ready);
    out.put(m.slot_bytes);
    out.put(m.slots);
    out.put(m.entry_window);
    out.put_bytes(m.staging.serialize());
  }
  void operator()(const Entry& m) const {
    put_type(out, Type::entry);
    out.put(m.index);
    out.put(static_cast<uint8_t>(m.kind));
    out.put(m.mode);
    out.put(m.size);
    out.put_text(m.path);
  }
  void operator()(const Data& m) const {
    put_type(out, Type::data);
    out.put(m.index);
    out.put(m.slot);
    out.put(m.offset);
    out.put(m.length);
  }
  void operator()(const EntryEnd& m) const {
    put_type(out, Type::entry_end);
    out.put(m.index);
  }
  void operator()(const EntriesDone& m) const {
    put_type(out, Type::entries_done);
    out.put(m.count);
  }
  void operator()(const SlotFree& m) const {
    put_type(out, Type::slot_free);
    out.put(m.slot);
  }
  void operator()(const End& m) const {
    put_type(out, Type::end);
    out.put(m.entries);
  }
  void operator()(const Done& m) const {
    put_type(out, Type::done);
    out.put(m.entries);
    out.put(m.bytes);
  }
  void operator()(const Failed& m) const {
    put_type(out, Type::failed);
    out.put(static_cast<uint8_t>(m.kind));
    out.put_text(cut(m.text));
  }
  void operator()(const Working&) const { put_type(out, Type::working); }
  void operator()(const Ping& m) const {
    put_type(out, Type::ping);
    out.put(m.token);
  }
  void operator()(const Pong& m) const {
    put_type(out, Type::pong);
    out.put(m.token);
  }
  void operator()(const Measure&) const { put_type(out, Type::measure); }
};

/// What decoding found wrong in the content, beyond the length.
struct Fault {
  std::string text;
};

std::string get_path(ByteReader& in, Fault& fault) {
  const std::string_view path = in.get_text();
  if (const auto why = name_fault(path); !why.empty())
    fault.text = fmt::format("the name \"{}\" is refused: {}", printable(path), why);
  return std::string(path);
}

FileMessage get_welcome(ByteReader& in, Fault& fault) {
  Welcome m;
  if (in.get<uint32_t>() != magic) fault.text = "the welcome is not haul's";
  m.version = in.get<uint16_t>();
  m.software = in.get_text();
  return m;
}

FileMessage get_push(ByteReader& in) {
  PushRequest m;
  m.version = in.get<uint16_t>();
  const auto flags = in.get<uint8_t>();
  m.overwrite = (flags & 1U) != 0;
  m.into = (flags & 2U) != 0;
  m.destination = in.get_text();
  m.name = in.get_text();
  m.totals = get_totals(in);
  return m;
}

FileMessage get_ready(ByteReader& in, Fault& fault) {
  Ready m;
  m.slot_bytes = in.get<uint32_t>();
  m.slots = in.get<uint32_t>();
  m.entry_window = in.get<uint32_t>();
  const auto staging = in.get_bytes(RemoteBuffer::serialized_bytes);
  if (!in.ok()) return m;
  auto remote = RemoteBuffer::deserialize(staging);
  if (!remote) {
    fault.text = fmt::format("the staging grant is malformed: {}", remote.status().message());
    return m;
  }
  m.staging = *remote;
  const bool sane =
      m.slots > 0 && m.entry_window > 0 && m.slot_bytes > 0 && m.staging.size() == uint64_t{m.slots} * m.slot_bytes;
  if (!sane) fault.text = "the slots do not fit the staging memory";
  return m;
}

FileMessage get_entry(ByteReader& in, Fault& fault) {
  Entry m;
  m.index = in.get<uint32_t>();
  const auto kind = in.get<uint8_t>();
  if (kind > static_cast<uint8_t>(EntryKind::folder)) fault.text = fmt::format("entry kind {} is unknown", kind);
  m.kind = kind == 0 ? EntryKind::file : EntryKind::folder;
  m.mode = in.get<uint16_t>();
  m.size = in.get<uint64_t>();
  m.path = get_path(in, fault);
  return m;
}

FileMessage get_data(ByteReader& in) {
  Data m;
  m.index = in.get<uint32_t>();
  m.slot = in.get<uint32_t>();
  m.offset = in.get<uint64_t>();
  m.length = in.get<uint32_t>();
  return m;
}

FileMessage get_failed(ByteReader& in, Fault& fault) {
  Failed m;
  m.kind = static_cast<FailureKind>(in.get<uint8_t>());
  if (m.kind == FailureKind::none) fault.text = "a failure without a kind";
  m.text = printable(cut(in.get_text()));
  return m;
}

FileMessage get_done(ByteReader& in) {
  Done m;
  m.entries = in.get<uint32_t>();
  m.bytes = in.get<uint64_t>();
  return m;
}

FileMessage get_pull(ByteReader& in, Fault& fault) {
  PullRequest m;
  m.version = in.get<uint16_t>();
  m.path = in.get_text();
  if (in.ok() && in.left() > 0) m.rate_bytes_s = in.get<uint64_t>();
  if (m.rate_bytes_s == 0) fault.text = "a pull at a rate of 0";
  return m;
}

std::optional<FileMessage> get_message(uint8_t type, ByteReader& in, Fault& fault) {
  switch (static_cast<Type>(type)) {
    case Type::welcome: return get_welcome(in, fault);
    case Type::push: return get_push(in);
    case Type::pull: return get_pull(in, fault);
    case Type::offer: return Offer{get_totals(in)};
    case Type::ready: return get_ready(in, fault);
    case Type::entry: return get_entry(in, fault);
    case Type::data: return get_data(in);
    case Type::entry_end: return EntryEnd{in.get<uint32_t>()};
    case Type::entries_done: return EntriesDone{in.get<uint32_t>()};
    case Type::slot_free: return SlotFree{in.get<uint32_t>()};
    case Type::end: return End{in.get<uint32_t>()};
    case Type::done: return get_done(in);
    case Type::failed: return get_failed(in, fault);
    case Type::working: return Working{};
    case Type::ping: return Ping{in.get<uint64_t>()};
    case Type::pong: return Pong{in.get<uint64_t>()};
    case Type::measure: return Measure{};
  }
  return std::nullopt;
}

}  // namespace

std::vector<std::byte> encode(const FileMessage& message) {
  std::array<std::byte, max_file_message_bytes> storage;
  ByteWriter out(storage);
  std::visit(Encoder{out}, message);
  base::check(out.ok(), "a file protocol message that does not fit");
  const auto written = out.written();
  return {written.begin(), written.end()};
}

Result<FileMessage> decode(std::span<const std::byte> bytes) {
  ByteReader in(bytes);
  const auto type = in.get<uint8_t>();
  Fault fault;
  auto message = get_message(type, in, fault);
  if (!message) return Status(StatusCode::protocol, fmt::format("file protocol: message type {} is unknown", type));
  if (!in.finished()) {
    return Status(StatusCode::protocol,
                  fmt::format("file protocol: a message of type {} has the wrong length ({})", type, bytes.size()));
  }
  if (!fault.text.empty()) return Status(StatusCode::protocol, fmt::format("file protocol: {}", fault.text));
  return std::move(*message);
}

}  // namespace haul::object
