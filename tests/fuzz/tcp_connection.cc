// A whole connection of the tcp transport, with its core played by the script and its peer hostile: frames in any order and of
// any content, cut into pieces of any size, plain or in TLS records.
#include <sys/socket.h>

#include <array>
#include <map>
#include <set>

#include "base/crc32c.h"
#include "base/random.h"
#include "fuzz/script.h"
#include "fuzz/scripted_io.h"
#include "fuzz/targets.h"
#include "tcp/protected_stream.h"
#include "tcp/tcp_transport.h"

namespace haul::fuzz {

namespace {

using namespace tcp;

constexpr size_t grant_bytes = 4096;
constexpr size_t max_grants = 8;
constexpr size_t source_begin = grant_bytes * max_grants;
constexpr size_t target_begin = source_begin + (16U << 10);
constexpr size_t memory_bytes = target_begin + (16U << 10);

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
  struct Grant {
    LocalGrant local;
    Rights rights = Rights::none;
    std::span<const std::byte> memory;
    bool revoking = false;
    bool over = false;
  };

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
  void grant();
  void revoke();
  void post();
  void poll();
  void take(const Event& event);
  void take_landed(const Event& event);
  void listen();

  Script& script_;
  Bytes memory_;
  Bytes before_;
  ScriptedIo* io_ = nullptr;  // the transport's
  std::unique_ptr<TcpTransport> transport_;
  std::unique_ptr<MemoryRegion> region_;
  TimePoint now_{std::chrono::seconds(1000)};
  ConnectionId connection_ = 0;
  bool closed_ = false;
  bool answers_ = true;
  std::vector<Grant> grants_;
  std::set<uint64_t> outstanding_;
  std::vector<uint64_t> landed_;
  uint64_t next_id_ = 1;
  uint64_t next_sequence_ = 0;
  std::optional<security::RecordCipher> seals_;
  Listener listener_;
  Receiver hears_{listener_};
  std::unique_ptr<ProtectedStream> opens_;
  uint64_t heard_polls_ = 0;
};

Fuzzed::Fuzzed(Script& script) : script_(script), memory_(memory_bytes) {
  base::Random(1).fill(memory_);
  before_ = memory_;
  Options options;
  options.direct_threshold_bytes = 1024;
  options.kernel_tls = KernelTls::off;
  auto io = std::make_unique<ScriptedIo>();
  io_ = io.get();
  auto inbox = Inbox::create().value();
  transport_ = std::make_unique<TcpTransport>(options, std::move(io), inbox, TcpTransport::Steering{});
  region_ = transport_->register_memory(memory_, MemoryKind::host).value();

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
  require(connection_ != 0 || closed_, "an arrival became no connection");
}

void Fuzzed::run() {
  while (!script_.done() && !closed_) act();
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
    case 1: return grant();
    case 2: return revoke();
    case 3:
    case 4:
    case 5: return post();
    case 6: {
      const auto message = script_.bytes(1U + script_.byte());
      if (!message.empty()) transport_->send(connection_, message, now_);
      return;
    }
    case 7: return transport_->cancel(connection_, script_.number(), now_);
    case 8: answers_ = script_.flag(); return;
    case 9: {
      if (landed_.empty()) return;
      const size_t chosen = script_.below(landed_.size());
      const Status status = script_.flag() ? Status() : Status(StatusCode::corrupt, "so the script wants");
      transport_->answer(connection_, landed_[chosen], status, now_);
      landed_.erase(landed_.begin() + static_cast<ptrdiff_t>(chosen));
      return;
    }
    case 10:
      if (script_.below(4) == 0) transport_->close(connection_, script_.flag() ? CloseMode::drain : CloseMode::abort, now_);
      return;
    case 11: return transport_->set_limits(connection_, {script_.number(), {}});
    case 12: return transport_->answer(connection_, script_.number(), {}, now_);
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
  if (chosen < grants_.size()) {
    const auto bytes = grants_[chosen].local.remote.bytes();
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

void Fuzzed::grant() {
  if (grants_.size() == max_grants) return;
  const auto rights = static_cast<Rights>(1 + script_.below(3));
  const Range range{grants_.size() * grant_bytes, grant_bytes};
  auto made = transport_->grant(connection_, *region_, range, rights, now_);
  if (!made.ok()) return;
  grants_.push_back({*made, rights, std::span(memory_).subspan(range.offset, range.length), false, false});
}

void Fuzzed::revoke() {
  if (grants_.empty()) return;
  Grant& grant = grants_[script_.below(grants_.size())];
  if (grant.revoking) return;
  grant.revoking = true;
  transport_->revoke(connection_, grant.local.id, now_);
}

void Fuzzed::post() {
  Operation operation;
  operation.op = script_.flag() ? Op::read : Op::write;
  operation.id = next_id_++;
  operation.local = region_.get();
  operation.length = 1U + script_.number16() % 4096;
  operation.local_offset = (operation.op == Op::read ? target_begin : source_begin) + script_.below(256);
  RemoteRegion remote;
  remote.size = sizeof(wire::Key);
  operation.remote = &remote;
  if (script_.flag()) operation.crc32c = 0;
  if (transport_->post(connection_, std::span(&operation, 1), now_) == 1) outstanding_.insert(operation.id);
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
  require(!closed_, "an event after `closed`");
  switch (event.kind) {
    case Event::Kind::accepted: connection_ = event.connection; return;
    case Event::Kind::landed: return take_landed(event);
    case Event::Kind::completed:
      require(outstanding_.erase(event.id) == 1, "an operation completed twice, or was never posted");
      return;
    case Event::Kind::revoked:
      for (Grant& grant : grants_) {
        if (grant.local.id != event.id) continue;
        require(grant.revoking && !grant.over, "a grant is gone that nobody took back, or gone twice");
        grant.over = true;
      }
      return;
    case Event::Kind::message:
      require(!event.payload.empty() && event.payload.size() <= transport_->capabilities().max_message_bytes,
              "a message is longer than allowed");
      return;
    case Event::Kind::closed: closed_ = true; return;
    default: return;
  }
}

void Fuzzed::take_landed(const Event& event) {
  const auto within = [&event](const Grant& grant) {
    const std::byte* begin = event.payload.data();
    return begin >= grant.memory.data() && begin + event.payload.size() <= grant.memory.data() + grant.memory.size();
  };
  const auto grant = std::find_if(grants_.begin(), grants_.end(), within);
  require(grant != grants_.end() && !event.payload.empty(), "a write landed outside of every grant");
  require(allows(grant->rights, Rights::write) && !grant->over, "a write landed that its grant does not allow");
  landed_.push_back(event.id);
  if (!answers_) return;
  landed_.pop_back();
  transport_->answer(event.connection, event.id, {}, now_);
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
  transport_->close(connection_, CloseMode::abort, now_);
  for (int turn = 0; turn < 4 && !closed_; ++turn) poll();
  require(closed_, "a connection that was aborted does not close");
  require(outstanding_.empty(), "an operation never completed");
  const auto intact = [this](size_t begin, size_t bytes) {
    return same(std::span(memory_).subspan(begin, bytes), std::span(before_).subspan(begin, bytes));
  };
  require(intact(source_begin, target_begin - source_begin), "memory changed that was never granted");
  for (size_t i = 0; i < max_grants; ++i) {
    const bool writable = i < grants_.size() && allows(grants_[i].rights, Rights::write);
    require(writable || intact(i * grant_bytes, grant_bytes), "memory changed that was granted for reading at most");
  }
}

}  // namespace

void tcp_connection_run(std::span<const std::byte> input) {
  Script script(input);
  Fuzzed(script).run();
}

void tcp_connection_seeds(const SeedSink& sink) {
  constexpr size_t seeds = 24;
  for (uint64_t seed = 0; seed < seeds; ++seed) {
    Bytes bytes(200 + 40 * seed);
    base::Random(seed + 1).fill(bytes);
    bytes[0] = std::byte{static_cast<uint8_t>(seed)};
    bytes[2] = std::byte{16};  // a grant first
    sink(std::to_string(seed), bytes);
  }
}

}  // namespace haul::fuzz
