// A whole connection of the rdma transport over fake devices, with its core played by the script and its peer hostile: any
// records in any order, any bytes, and RDMA by any key.
#include <algorithm>
#include <array>
#include <deque>
#include <memory>
#include <optional>
#include <set>
#include <utility>
#include <vector>

#include "base/bytes.h"
#include "base/random.h"
#include "contract/verbs/raw_peer.h"
#include "fuzz/script.h"
#include "fuzz/targets.h"
#include "rdma/rdma_transport.h"

namespace haul::fuzz {

namespace {

using namespace rdma;

constexpr size_t grant_bytes = 4096;
constexpr size_t max_grants = 8;
constexpr size_t source_begin = grant_bytes * max_grants;
constexpr size_t target_begin = source_begin + (16U << 10);
constexpr size_t memory_bytes = target_begin + (16U << 10);
constexpr size_t most_events = 200'000;  // of all bundles for which there are receives

class ScriptedClock final : public Clock {
 public:
  TimePoint now() const noexcept override { return time; }
  TimePoint time{std::chrono::seconds(1000)};
};

class FuzzedRdma {
 public:
  explicit FuzzedRdma(Script& script);
  ~FuzzedRdma() = default;
  FuzzedRdma(const FuzzedRdma&) = delete;
  FuzzedRdma& operator=(const FuzzedRdma&) = delete;

  void run();

 private:
  struct Grant {
    LocalGrant local;
    Rights rights = Rights::none;
    std::span<const std::byte> memory;
    bool revoking = false;
    bool over = false;
    Bytes at_the_end;  // nothing changes any more
  };

  static verbs::FabricOptions devices(Script& script);
  void act();
  void act_as_peer(size_t what);
  void act_as_core(size_t what);
  void finish();

  // What the peer says and does.
  void say_records();
  void say_odd_bytes();
  void lie();
  void hear();
  wire::Record record();
  wire::Record claim();
  wire::Record odd_record();
  uint32_t grant_number();
  void access();

  // What the core does.
  void grant();
  void revoke();
  void post();
  void poll();
  void take(const Event& event);
  void take_landed(const Event& event);
  void check_quiet() const;

  Script& script_;
  Bytes memory_;
  Bytes before_;
  ScriptedClock clock_;
  verbs::Fabric fabric_;
  verbs::RawPeer peer_;
  std::unique_ptr<Transport> transport_;
  std::unique_ptr<MemoryRegion> region_;
  ConnectionId connection_ = 0;
  bool ready_ = false;
  bool closed_ = false;
  bool answers_ = true;
  wire::RemoteKey lent_;
  size_t heard_until_ = 0;
  std::deque<wire::Record> replies_;
  uint32_t last_claim_ = 0;
  std::vector<Grant> grants_;
  std::set<uint64_t> outstanding_;
  std::vector<uint64_t> landed_;
  uint64_t next_id_ = 1;
};

verbs::FabricOptions FuzzedRdma::devices(Script& script) {
  verbs::FabricOptions options;
  const uint8_t bits = script.byte();
  options.windows = (bits & 1U) == 0;
  options.stops_messages = (bits & 2U) == 0;
  options.piece_bytes = 256;
  options.pieces_a_step = 1U + (bits >> 4U);
  return options;
}

FuzzedRdma::FuzzedRdma(Script& script)
    : script_(script), memory_(memory_bytes), fabric_(clock_, 1, devices(script)), peer_(fabric_, "peer", 2 * grant_bytes) {
  base::Random(1).fill(memory_);
  before_ = memory_;
  transport_ = RdmaTransport::make(fabric_.make_verbs("us"), {}).value();
  region_ = transport_->register_memory(memory_, MemoryKind::host).value();
  ConnectOptions options;
  const bool active = script_.flag();
  if (active) options.address = Address{"peer", 1};
  const auto opened = transport_->open(options, clock_.time).value();
  connection_ = opened.connection;
  peer_.join(opened.bytes);
  require(transport_->join(connection_, peer_.endpoint(), clock_.time).ok(), "an end is not joined");
  if (script_.below(16) != 0) peer_.say({peer_.hello()});
  lent_ = peer_.lend();
  peer_.say({wire::GrantsBound{lent_.number}});
  for (int turn = 0; turn < 8; ++turn) poll();
}

void FuzzedRdma::run() {
  while (!script_.done() && !closed_) act();
  finish();
}

void FuzzedRdma::act() {
  const size_t what = script_.below(32);
  if (what < 18) return act_as_peer(what);
  act_as_core(what - 18);
}

void FuzzedRdma::act_as_peer(size_t what) {
  switch (what) {
    case 0:
    case 1:
    case 2:
    case 3:
    case 4: return say_records();
    case 5: return say_odd_bytes();
    case 6:
    case 7:
    case 8: return access();
    case 9: fabric_.hold("us", script_.flag()); return;
    case 10: fabric_.hold("peer", script_.below(4) == 0); return;
    case 11: clock_.time += std::chrono::milliseconds(script_.number16() / 64); return;
    case 12:
      if (script_.below(16) == 0) fabric_.break_queue_pairs(script_.flag() ? "us" : "peer");
      return;
    case 13: fabric_.step(); return;
    case 14: return lie();
    default: return poll();
  }
}

void FuzzedRdma::act_as_core(size_t what) {
  switch (what) {
    case 0:
    case 1: return grant();
    case 2: return revoke();
    case 3:
    case 4:
    case 5: return post();
    case 6: {
      const auto message = script_.bytes(1U + script_.byte());
      if (!message.empty()) transport_->send(connection_, message, clock_.time);
      return;
    }
    case 7: return transport_->cancel(connection_, script_.number(), clock_.time);
    case 8: answers_ = script_.flag(); return;
    case 9: {
      if (landed_.empty()) return;
      const size_t chosen = script_.below(landed_.size());
      const Status status = script_.flag() ? Status() : Status(StatusCode::corrupt, "so the script wants");
      transport_->answer(connection_, landed_[chosen], status, clock_.time);
      landed_.erase(landed_.begin() + static_cast<ptrdiff_t>(chosen));
      return;
    }
    case 10:
      if (script_.below(4) == 0)
        transport_->close(connection_, script_.flag() ? CloseMode::drain : CloseMode::abort, clock_.time);
      return;
    case 11: return transport_->set_limits(connection_, {script_.number(), {}});
    default: return poll();
  }
}

// --- The peer ---------------------------------------------------------------------------------------------------------------

void FuzzedRdma::say_records() {
  std::vector<wire::Record> records;
  for (size_t count = 1 + script_.below(8); count > 0; --count) records.push_back(record());
  const size_t times = script_.below(64) == 0 ? 500 : 1;
  std::vector<wire::Record> all;
  for (size_t i = 0; i < times; ++i) all.insert(all.end(), records.begin(), records.end());
  peer_.say(all);
}

/// Whatever it is, mostly behind an honest header.
void FuzzedRdma::say_odd_bytes() {
  Bytes bundle;
  if (script_.below(8) != 0) {
    bundle.resize(wire::header_bytes);
    base::ByteWriter(bundle).put(peer_.received());
  }
  const auto bytes = script_.bytes(1U + script_.byte());
  bundle.insert(bundle.end(), bytes.begin(), bytes.end());
  peer_.say_bytes(bundle);
}

/// Says that it let go of a grant, and writes to it before that is heard.
void FuzzedRdma::lie() {
  hear();
  if (replies_.empty() || !std::holds_alternative<wire::Released>(replies_.front())) return;
  const uint32_t number = std::get<wire::Released>(replies_.front()).grant;
  peer_.say({replies_.front()});
  replies_.pop_front();
  for (const Grant& grant : grants_) {
    const auto key = wire::decode_key(grant.local.remote).value();
    if (key.number == number && allows(grant.rights, Rights::write)) peer_.access(true, key.address, key.keys[0], grant_bytes);
  }
  for (size_t i = script_.below(16); i > 0; --i) fabric_.step();
}

/// What it heard and has not answered yet.
void FuzzedRdma::hear() {
  const auto& heard = peer_.heard();
  for (; heard_until_ < heard.size(); ++heard_until_) {
    const wire::Record& record = heard[heard_until_].record;
    if (const auto* landing = std::get_if<wire::Landing>(&record)) replies_.emplace_back(wire::Answer{landing->operation});
    if (const auto* question = std::get_if<wire::Question>(&record)) replies_.emplace_back(wire::Answer{question->operation});
    if (const auto* revoke = std::get_if<wire::Revoke>(&record)) replies_.emplace_back(wire::Released{revoke->grant});
    if (const auto* fence = std::get_if<wire::Fence>(&record)) replies_.emplace_back(wire::Fenced{fence->grant});
  }
}

/// Mostly one that stands.
uint32_t FuzzedRdma::grant_number() {
  if (grants_.empty() || script_.below(64) == 0) return static_cast<uint32_t>(script_.number());
  return wire::decode_key(grants_[script_.below(grants_.size())].local.remote)->number;
}

/// Mostly what an honest peer would say now: dishonest ones don't live long.
wire::Record FuzzedRdma::record() {
  hear();
  const size_t what = script_.below(16);
  if (what < 6 && !replies_.empty()) {
    const wire::Record reply = replies_.front();
    replies_.pop_front();
    return reply;
  }
  if (what < 10 && !grants_.empty()) return claim();
  if (what < 15) return wire::Message{script_.bytes(1U + script_.byte())};
  return odd_record();
}

wire::Record FuzzedRdma::claim() {
  const uint32_t operation = script_.below(32) == 0 ? script_.byte() : ++last_claim_;
  const uint64_t offset = script_.below(32) == 0 ? script_.number() : script_.below(grant_bytes / 16) * 16;
  const auto length = static_cast<uint32_t>(script_.below(32) == 0 ? script_.number() : 1U + script_.below(64));
  if (script_.flag()) return wire::Question{operation, grant_number(), offset, length};
  std::optional<uint32_t> crc32c;
  if (script_.flag()) crc32c = script_.byte();
  return wire::Landing{operation, grant_number(), offset, length, script_.number(), crc32c};
}

wire::Record FuzzedRdma::odd_record() {
  const auto small = [this] { return static_cast<uint32_t>(script_.below(16) == 0 ? script_.number() : script_.byte()); };
  switch (script_.below(8)) {
    case 0: return wire::Answer{small(), static_cast<StatusCode>(script_.byte() % 14), small()};
    case 1: return wire::GrantsBound{small()};
    case 2: return wire::Revoke{small()};
    case 3: return wire::Released{grant_number()};
    case 4: return wire::Fence{small()};
    case 5: return wire::Fenced{grant_number()};
    case 6: return wire::Hello{script_.number()};
    default: return wire::Bye{};
  }
}

/// RDMA by a key that it was granted, mostly, or by any other.
void FuzzedRdma::access() {
  bool writes = script_.flag();
  uint64_t address = script_.number();
  auto key = static_cast<uint32_t>(script_.number());
  uint32_t length = 1U + script_.number16() % grant_bytes;
  if (!grants_.empty() && script_.below(32) != 0) {
    const Grant& chosen = grants_[script_.below(grants_.size())];
    const auto granted = wire::decode_key(chosen.local.remote).value();
    uint64_t offset = script_.below(grant_bytes / 16) * 16;
    if (script_.below(32) == 0) {
      offset = script_.number();
    } else {
      length = static_cast<uint32_t>(std::min<uint64_t>(length, grant_bytes - offset));
      writes = writes ? allows(chosen.rights, Rights::write) : !allows(chosen.rights, Rights::read);
    }
    address = granted.address + offset;
    key = granted.keys[0];
  }
  peer_.access(writes, address, key, length);
}

// --- The core ---------------------------------------------------------------------------------------------------------------

void FuzzedRdma::grant() {
  if (grants_.size() == max_grants) return;
  const auto rights = static_cast<Rights>(1 + script_.below(3));
  const Range range{grants_.size() * grant_bytes, grant_bytes};
  auto made = transport_->grant(connection_, *region_, range, rights, clock_.time);
  require(made.ok() || !ready_ || closed_ || made.status().code() == StatusCode::peer_lost, "a grant is not made");
  if (!made.ok()) return;
  grants_.push_back({*made, rights, std::span(memory_).subspan(range.offset, range.length), false, false, {}});
}

void FuzzedRdma::revoke() {
  if (grants_.empty()) return;
  Grant& grant = grants_[script_.below(grants_.size())];
  if (grant.revoking) return;
  grant.revoking = true;
  transport_->revoke(connection_, grant.local.id, clock_.time);
}

void FuzzedRdma::post() {
  Operation operation;
  operation.op = script_.flag() ? Op::read : Op::write;
  operation.id = next_id_++;
  operation.tag = script_.byte();
  operation.local = region_.get();
  operation.length = 1U + script_.number16() % 4096;
  operation.local_offset = (operation.op == Op::read ? target_begin : source_begin) + script_.below(256);
  wire::RemoteKey key = lent_;
  if (script_.below(64) == 0) {
    key.number = static_cast<uint32_t>(script_.number());
    key.rights = Rights::read_write;
    key.address = script_.number();
    key.length = 1U + script_.number16();
    if (key.length > UINT64_MAX - key.address) key.address = 0;
    key.shift = static_cast<uint8_t>(40U + script_.below(24));
  }
  RemoteRegion remote = wire::encode(key);
  if (script_.below(64) == 0) remote.data[script_.below(RemoteRegion::max_bytes)] ^= std::byte{script_.byte()};
  operation.remote = &remote;
  operation.remote_offset = script_.byte();
  if (script_.flag()) operation.crc32c = 0;
  if (transport_->post(connection_, std::span(&operation, 1), clock_.time) == 1) outstanding_.insert(operation.id);
}

void FuzzedRdma::poll() {
  std::array<Event, 64> events;
  size_t count = 0;
  size_t all = 0;
  do {
    count = transport_->poll(clock_.time, script_.flag() ? NextPoll::when_woken : NextPoll::at_once, events);
    for (size_t i = 0; i < count; ++i) take(events[i]);
    all += count;
    require(all < most_events, "one arrival makes events without end");
  } while (count == events.size());
  peer_.listen();
  require(!peer_.malformed(), "the connection sends what nobody can read");
  for (int i = 0; i < 4; ++i) fabric_.step();
  check_quiet();
}

void FuzzedRdma::take(const Event& event) {
  require(!closed_, "an event after `closed`");
  switch (event.kind) {
    case Event::Kind::connected:
      require(!ready_, "a connection is ready twice");
      ready_ = true;
      return;
    case Event::Kind::landed: return take_landed(event);
    case Event::Kind::completed:
      require(outstanding_.erase(event.id) == 1, "an operation completed twice, or was never posted");
      return;
    case Event::Kind::revoked:
      for (Grant& grant : grants_) {
        if (grant.local.id != event.id) continue;
        require(grant.revoking && !grant.over, "a grant is gone that nobody took back, or gone twice");
        grant.over = true;
        grant.at_the_end.assign(grant.memory.begin(), grant.memory.end());
      }
      return;
    case Event::Kind::message:
      require(!event.payload.empty() && event.payload.size() <= transport_->capabilities().max_message_bytes,
              "a message is longer than allowed");
      return;
    case Event::Kind::closed:
      closed_ = true;
      for (Grant& grant : grants_) {
        if (!std::exchange(grant.over, true)) grant.at_the_end.assign(grant.memory.begin(), grant.memory.end());
      }
      return;
    default: return;
  }
}

void FuzzedRdma::take_landed(const Event& event) {
  const auto within = [&event](const Grant& grant) {
    const std::byte* begin = event.payload.data();
    return begin >= grant.memory.data() && begin + event.payload.size() <= grant.memory.data() + grant.memory.size();
  };
  const auto grant = std::find_if(grants_.begin(), grants_.end(), within);
  require(grant != grants_.end() && !event.payload.empty(), "a write landed outside of every grant");
  require(allows(grant->rights, Rights::write) && !grant->over, "a write landed that its grant does not allow");
  landed_.push_back(event.id);
  require(landed_.size() <= wire::max_operations, "more landings wait for an answer than a peer may have");
  if (!answers_) return;
  landed_.pop_back();
  transport_->answer(event.connection, event.id, {}, clock_.time);
}

/// After `revoked`, and after `closed`, nothing lands.
void FuzzedRdma::check_quiet() const {
  for (const Grant& grant : grants_) {
    require(!grant.over || same(grant.memory, grant.at_the_end), "memory changed whose grant was revoked");
  }
}

void FuzzedRdma::finish() {
  poll();
  transport_->close(connection_, CloseMode::abort, clock_.time);
  for (int turn = 0; turn < 4 && !closed_; ++turn) poll();
  require(closed_, "a connection that was aborted does not close");
  require(outstanding_.empty(), "an operation never completed");
  for (int turn = 0; turn < 20; ++turn) fabric_.step();
  check_quiet();
  const auto intact = [this](size_t begin, size_t bytes) {
    return same(std::span(memory_).subspan(begin, bytes), std::span(before_).subspan(begin, bytes));
  };
  require(intact(source_begin, target_begin - source_begin), "memory changed that was never granted");
  for (size_t i = 0; i < max_grants; ++i) {
    const bool writable = i < grants_.size() && allows(grants_[i].rights, Rights::write);
    require(writable || intact(i * grant_bytes, grant_bytes), "memory changed that was granted for reading at most");
  }
  region_.reset();
  transport_.reset();
  require(fabric_.defects().empty(), fabric_.defects().empty() ? std::string_view() : fabric_.defects().front());
  require(fabric_.queue_pairs() == 1, "a queue pair is left");
}

}  // namespace

void rdma_connection_run(std::span<const std::byte> input) {
  Script script(input);
  FuzzedRdma(script).run();
}

void rdma_connection_seeds(const SeedSink& sink) {
  constexpr size_t seeds = 24;
  for (uint64_t seed = 0; seed < seeds; ++seed) {
    Bytes bytes(200 + 40 * seed);
    base::Random(seed + 1).fill(bytes);
    bytes[0] = std::byte{static_cast<uint8_t>(seed)};
    bytes[2] = std::byte{1};  // a hello
    sink(std::to_string(seed), bytes);
  }
}

}  // namespace haul::fuzz
