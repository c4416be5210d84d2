// A whole connection of the tcp transport, with its core played by the script and its peer hostile: frames in any order and of
// any content, cut into pieces of any size, plain or in TLS records.
#include <sys/socket.h>

#include <algorithm>
#include <array>

#include "base/crc32c.h"
#include "base/random.h"
#include "fuzz/scripted_core.h"
#include "fuzz/scripted_io.h"
#include "fuzz/targets.h"
#include "tcp/protected_stream.h"
#include "tcp/tcp_transport.h"

namespace haul::fuzz {

namespace {

using namespace tcp;

/// Reads what the connection sends, which must be well-formed whatever it was sent.
class Listener final : public FrameHandler {
 public:
  Result<std::byte*> on_payload_begin(const wire::FrameHeader&) override { return static_cast<std::byte*>(nullptr); }
  Status on_payload_end(const wire::FrameHeader&) override { return {}; }
  Status on_bundle(const wire::FrameHeader&, std::span<const std::byte> body) override {
    wire::RecordReader reader(body);
    while (!reader.finished()) {
      wire::Record record;
      std::span<const std::byte> payload;
      if (Status status = reader.next(record, payload); !status.ok()) return status;
    }
    return {};
  }
  Status on_close() override { return {}; }
};

security::RecordKeys keys_of(uint8_t which) {
  security::RecordKeys keys;
  keys.key.fill(std::byte{which});
  return keys;
}

class Fuzzed {
 public:
  explicit Fuzzed(Script& script);
  ~Fuzzed() = default;
  Fuzzed(const Fuzzed&) = delete;
  Fuzzed& operator=(const Fuzzed&) = delete;

  void run();

 private:
  void begin(Protection protection);
  void act();
  void act_as_core(size_t what);
  void act_as_peer(size_t what);
  void finish();

  // What the peer says.
  void say(std::span<const std::byte> bytes);
  void say_header(const wire::FrameHeader& header, bool sealed = true);
  void write_frame();
  void bundle();
  void read_data_frame();
  void record(Bytes& body);
  wire::Key key();
  uint64_t own_sequence();

  // What the core does.
  void post();
  void poll();
  void take(const Event& event);
  void listen();

  Script& script_;
  ScriptedCore core_;
  ScriptedIo* io_ = nullptr;  // the transport's
  std::unique_ptr<TcpTransport> transport_;
  TimePoint now_{std::chrono::seconds(1000)};
  uint64_t next_sequence_ = 0;
  std::optional<security::RecordCipher> seals_;
  Listener listener_;
  Receiver hears_{listener_};
  std::unique_ptr<ProtectedStream> opens_;
  uint64_t heard_polls_ = 0;
};

Fuzzed::Fuzzed(Script& script) : script_(script), core_(script) {
  Options options;
  options.direct_threshold_bytes = 1024;
  options.kernel_tls = KernelTls::off;
  auto io = std::make_unique<ScriptedIo>();
  io_ = io.get();
  auto inbox = Inbox::create().value();
  transport_ = std::make_unique<TcpTransport>(options, std::move(io), inbox, TcpTransport::Steering{});
  core_.begin(*transport_);

  constexpr Protection protections[] = {Protection::plain, Protection::encrypted, Protection::integrity_only};
  const size_t chosen = script_.below(3);
  Arrival arrival;
  int ends[2];
  require(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) == 0, "no pair of sockets could be made");
  arrival.socket.reset(ends[0]);
  const base::UniqueFd other(ends[1]);
  arrival.preface = {
      .max_payload_bytes = 1U << 20, .max_message_bytes = 1U << 14, .credits = 1U + static_cast<uint32_t>(script_.below(16))};
  arrival.link.protection = protections[chosen];
  if (chosen > 0) {
    arrival.link.sealer = security::RecordCipher::make(keys_of(1), Protection::encrypted).value();
    arrival.link.opener = security::RecordCipher::make(keys_of(2), Protection::encrypted).value();
    arrival.link.integrity_sends = keys_of(3);
    arrival.link.integrity_receives = keys_of(2);
    seals_ = security::RecordCipher::make(keys_of(2), protections[chosen]).value();
    auto opener_keys = keys_of(chosen == 1 ? 1 : 3);
    opener_keys.sequence = chosen == 1 ? 1 : 0;  // the first record was the preface, which went another way
    opens_ = std::make_unique<ProtectedStream>(security::RecordCipher::make(keys_of(9), protections[chosen]).value(),
                                               security::RecordCipher::make(opener_keys, protections[chosen]).value(), 1024);
  }
  inbox->put(std::move(arrival));
  poll();
  require(core_.connection != 0 || core_.closed, "an arrival became no connection");
}

void Fuzzed::run() {
  while (!script_.done() && !core_.closed) act();
  finish();
}

void Fuzzed::act() {
  const size_t what = script_.below(32);
  if (what < 16) return act_as_peer(what);
  act_as_core(what - 16);
}

void Fuzzed::act_as_peer(size_t what) {
  switch (what) {
    case 0:
    case 1: return write_frame();
    case 2:
    case 3:
    case 4: return bundle();
    case 5: return read_data_frame();
    case 6: return say_header({.type = wire::FrameType::close});
    case 7: return say(script_.bytes(1U + script_.byte()));
    case 8: {
      wire::FrameHeader header;
      header.type = static_cast<wire::FrameType>(script_.byte());
      header.body_bytes = static_cast<uint32_t>(script_.number());
      header.sequence = script_.number();
      return say_header(header, script_.below(8) != 0);
    }
    case 9: {
      const auto bytes = script_.bytes(1U + script_.byte());
      io_->incoming.insert(io_->incoming.end(), bytes.begin(), bytes.end());
      return;
    }
    case 10: io_->ended = script_.below(8) == 0; return;
    case 11: io_->receive_most = 1U + script_.number16(); return;
    case 12: io_->send_most = script_.number16(); return;
    case 13: now_ += std::chrono::milliseconds(script_.number16()); return;
    default: return poll();
  }
}

void Fuzzed::act_as_core(size_t what) {
  switch (what) {
    case 0:
    case 1: core_.grant(now_); return;
    case 2: return core_.revoke(now_);
    case 3:
    case 4:
    case 5: return post();
    case 6: return core_.send(now_);
    case 7: return transport_->cancel(core_.connection, script_.number(), now_);
    case 8: return core_.answers(script_.flag());
    case 9: return core_.answer_one(now_);
    case 10: return core_.close_perhaps(now_);
    case 11: return transport_->set_limits(core_.connection, {script_.number(), {}});
    case 12: return transport_->answer(core_.connection, script_.number(), {}, now_);
    default: return poll();
  }
}

// --- The peer ---------------------------------------------------------------------------------------------------------------

void Fuzzed::say(std::span<const std::byte> bytes) {
  if (!seals_) {
    io_->incoming.insert(io_->incoming.end(), bytes.begin(), bytes.end());
    return;
  }
  Bytes record(security::max_record_bytes);
  while (!bytes.empty()) {
    const size_t most = std::min<size_t>(security::max_record_content_bytes, 1U + (size_t{script_.byte()} << 6U));
    const auto content = bytes.first(std::min(bytes.size(), most));
    const iovec part{const_cast<std::byte*>(content.data()), content.size()};
    const size_t size = seals_->seal(std::span(&part, 1), record).value();
    io_->incoming.insert(io_->incoming.end(), record.begin(), record.begin() + static_cast<ptrdiff_t>(size));
    bytes = bytes.subspan(content.size());
  }
}

void Fuzzed::say_header(const wire::FrameHeader& header, bool sealed) {
  std::array<std::byte, wire::header_bytes> bytes{};
  wire::encode(header, bytes);
  if (!sealed) bytes[script_.below(bytes.size())] ^= std::byte{script_.byte()};
  say(bytes);
}

wire::Key Fuzzed::key() {
  wire::Key key{};
  const size_t chosen = script_.below(max_grants + 1);
  if (chosen < core_.grants.size()) {
    const auto bytes = core_.grants[chosen].local.remote.bytes();
    std::copy(bytes.begin(), bytes.end(), key.begin());
  } else {
    const auto bytes = script_.bytes(key.size());
    std::copy(bytes.begin(), bytes.end(), key.begin());
  }
  return key;
}

// Mostly the right one.
uint64_t Fuzzed::own_sequence() {
  const size_t odd = script_.below(16);
  return odd == 0 ? script_.number() : next_sequence_;
}

void Fuzzed::write_frame() {
  const uint32_t length = 1U + script_.number16() % (2 * grant_bytes);
  Bytes payload(length);
  base::Random(length).fill(payload);
  const bool fits = script_.below(4) != 0;
  const uint32_t crc = base::crc32c(payload) ^ (script_.below(8) == 0 ? 1U : 0U);
  say_header({.type = wire::FrameType::write,
              .has_crc = script_.flag(),
              .body_bytes = length,
              .key = key(),
              .offset = fits ? script_.below(grant_bytes / 64) * 16 : script_.number(),
              .tag = script_.number(),
              .sequence = own_sequence(),
              .crc = crc});
  ++next_sequence_;
  say(std::span(payload).first(script_.below(8) == 0 ? length / 2 : length));
}

void Fuzzed::bundle() {
  const uint64_t sequence = own_sequence();
  Bytes body;
  for (size_t count = 1 + script_.below(8); count > 0; --count) record(body);
  const uint32_t odd = script_.below(16) == 0 ? script_.byte() : 0U;
  say_header({.type = wire::FrameType::bundle, .body_bytes = static_cast<uint32_t>(body.size()) + odd, .sequence = sequence});
  say(body);
}

void Fuzzed::record(Bytes& body) {
  wire::Record record;
  record.type = static_cast<wire::RecordType>(1 + script_.below(5));
  record.has_crc = script_.flag();
  const uint32_t length = 1U + script_.number16() % 1500;
  record.length = script_.below(8) == 0 ? static_cast<uint32_t>(script_.number()) : length;
  record.code = record.type == wire::RecordType::answers ? static_cast<uint16_t>(script_.byte() % 12) : uint16_t{0};
  record.offset = script_.below(8) == 0 ? script_.number() : script_.below(grant_bytes / 32) * 16;
  record.tag = script_.number();
  record.sequence = script_.number();
  const bool operation = record.type == wire::RecordType::write || record.type == wire::RecordType::read;
  if (operation) record.key = key();
  if (operation) ++next_sequence_;
  const bool has_payload = record.type != wire::RecordType::read && record.type != wire::RecordType::answers;
  if (record.type == wire::RecordType::answers) record.length = 1U + static_cast<uint32_t>(script_.below(4));
  const size_t begin = body.size();
  const size_t payload_bytes = has_payload ? length : 0;
  body.resize(begin + wire::record_bytes(record.type) + payload_bytes);
  wire::encode(record, std::span(body).subspan(begin));
  base::Random(length).fill(std::span(body).last(payload_bytes));
}

void Fuzzed::read_data_frame() {
  const uint32_t length = 1U + script_.number16() % 4096;
  say_header(
      {.type = wire::FrameType::read_data, .has_crc = script_.flag(), .body_bytes = length, .sequence = script_.number()});
  say(Bytes(length));
}

// --- The core ---------------------------------------------------------------------------------------------------------------

void Fuzzed::post() {
  Operation operation;
  operation.op = script_.flag() ? Op::read : Op::write;
  operation.id = core_.next_id();
  operation.local = &core_.region();
  operation.length = 1U + script_.number16() % 4096;
  operation.local_offset = (operation.op == Op::read ? target_begin : source_begin) + script_.below(256);
  RemoteRegion remote;
  remote.size = sizeof(wire::Key);
  operation.remote = &remote;
  if (script_.flag()) operation.crc32c = 0;
  core_.post(operation, now_);
}

void Fuzzed::poll() {
  std::array<Event, 16> events;
  size_t count = 0;
  do {
    count = transport_->poll(now_, NextPoll::when_woken, events);
    for (size_t i = 0; i < count; ++i) take(events[i]);
  } while (count == events.size());
  listen();
}

void Fuzzed::take(const Event& event) {
  if (event.kind == Event::Kind::accepted) core_.connection = event.connection;
  core_.take(event, now_);
}

void Fuzzed::listen() {
  std::span<const std::byte> bytes = io_->sent;
  while (!bytes.empty()) {
    ++heard_polls_;
    if (opens_) {
      const auto room = opens_->room();
      const size_t count = std::min(room.size(), bytes.size());
      std::copy_n(bytes.begin(), count, room.begin());
      opens_->received(count);
      bytes = bytes.subspan(count);
      while (true) {
        const auto delivered = opens_->deliver(hears_, heard_polls_);
        require(delivered.ok(), "the connection sends what nobody can read");
        if (*delivered != ProtectedStream::Delivered::record) break;
      }
      continue;
    }
    std::array<iovec, 2> ranges{};
    require(hears_.plan(ranges, heard_polls_) > 0, "there is no memory to listen with");
    const size_t count = std::min(ranges[0].iov_len, bytes.size());
    std::copy_n(bytes.begin(), count, static_cast<std::byte*>(ranges[0].iov_base));
    require(hears_.advance(count).ok(), "the connection sends what nobody can read");
    bytes = bytes.subspan(count);
  }
  io_->sent.clear();
}

void Fuzzed::finish() {
  poll();
  transport_->close(core_.connection, CloseMode::abort, now_);
  for (int turn = 0; turn < 4 && !core_.closed; ++turn) poll();
  core_.check_end();
  core_.stop();
}

}  // namespace

void tcp_connection_run(std::span<const std::byte> input) {
  Script script(input);
  Fuzzed(script).run();
}

void tcp_connection_seeds(const SeedSink& sink) {
  draw_scripts(sink, 200, 40, [](Bytes& script) { script[2] = std::byte{16}; });  // a grant first
}

}  // namespace haul::fuzz
