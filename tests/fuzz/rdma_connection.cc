// A whole connection of the rdma transport over fake devices, with its core played by the script and its peer hostile: any
// records in any order, any bytes, and RDMA by any key.
#include <algorithm>
#include <array>
#include <deque>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "base/bytes.h"
#include "contract/verbs/raw_peer.h"
#include "fuzz/scripted_core.h"
#include "fuzz/targets.h"
#include "rdma/rdma_transport.h"

namespace haul::fuzz {

namespace {

using namespace rdma;

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
  void post();
  void poll();
  void take(const Event& event);

  Script& script_;
  ScriptedCore core_;
  ScriptedClock clock_;
  verbs::Fabric fabric_;
  verbs::RawPeer peer_;
  std::unique_ptr<Transport> transport_;
  bool ready_ = false;
  wire::RemoteKey lent_;
  size_t heard_until_ = 0;
  std::deque<wire::Record> replies_;
  uint32_t last_claim_ = 0;
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
    : script_(script), core_(script), fabric_(clock_, 1, devices(script)), peer_(fabric_, "peer", 2 * grant_bytes) {
  transport_ = RdmaTransport::make(fabric_.make_verbs("us"), {}).value();
  core_.begin(*transport_);
  core_.most_landed = wire::max_operations;
  ConnectOptions options;
  const bool active = script_.flag();
  if (active) options.address = Address{"peer", 1};
  const auto opened = transport_->open(options, clock_.time).value();
  core_.connection = opened.connection;
  peer_.join(opened.bytes);
  require(transport_->join(core_.connection, peer_.endpoint(), clock_.time).ok(), "an end is not joined");
  if (script_.below(16) != 0) peer_.say({peer_.hello()});
  lent_ = peer_.lend();
  peer_.say({wire::GrantsBound{lent_.number}});
  for (int turn = 0; turn < 8; ++turn) poll();
}

void FuzzedRdma::run() {
  while (!script_.done() && !core_.closed) act();
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
    case 2: return core_.revoke(clock_.time);
    case 3:
    case 4:
    case 5: return post();
    case 6: return core_.send(clock_.time);
    case 7: return transport_->cancel(core_.connection, script_.number(), clock_.time);
    case 8: return core_.answers(script_.flag());
    case 9: return core_.answer_one(clock_.time);
    case 10: return core_.close_perhaps(clock_.time);
    case 11: return transport_->set_limits(core_.connection, {script_.number(), {}});
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
  for (const ScriptedCore::Grant& grant : core_.grants) {
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
  if (core_.grants.empty() || script_.below(64) == 0) return static_cast<uint32_t>(script_.number());
  return wire::decode_key(core_.grants[script_.below(core_.grants.size())].local.remote)->number;
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
  if (what < 10 && !core_.grants.empty()) return claim();
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
  if (!core_.grants.empty() && script_.below(32) != 0) {
    const ScriptedCore::Grant& chosen = core_.grants[script_.below(core_.grants.size())];
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
  const Status made = core_.grant(clock_.time);
  require(made.ok() || !ready_ || core_.closed || made.code() == StatusCode::peer_lost, "a grant is not made");
}

void FuzzedRdma::post() {
  Operation operation;
  operation.op = script_.flag() ? Op::read : Op::write;
  operation.id = core_.next_id();
  operation.tag = script_.byte();
  operation.local = &core_.region();
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
  core_.post(operation, clock_.time);
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
  core_.check_quiet();
}

void FuzzedRdma::take(const Event& event) {
  if (event.kind == Event::Kind::connected) require(!std::exchange(ready_, true), "a connection is ready twice");
  core_.take(event, clock_.time);
}

void FuzzedRdma::finish() {
  poll();
  transport_->close(core_.connection, CloseMode::abort, clock_.time);
  for (int turn = 0; turn < 4 && !core_.closed; ++turn) poll();
  for (int turn = 0; turn < 20; ++turn) fabric_.step();
  core_.check_quiet();
  core_.check_end();
  core_.stop();
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
  draw_scripts(sink, 200, 40, [](Bytes& script) { script[2] = std::byte{1}; });  // a hello
}

}  // namespace haul::fuzz
