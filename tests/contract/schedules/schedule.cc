// The course of a random schedule: engines, connections, random actions.
#include "contract/schedules/schedule.h"

#include <fmt/format.h>

#include <map>

#include "base/bytes.h"

namespace haul::contract {

using namespace std::chrono_literals;

namespace {

constexpr Duration peer_timeout = 2s;
/// Longer than any loss may take to notice, at both ends one after the other.
constexpr Duration long_enough = 4 * peer_timeout + 10s;

}  // namespace

Schedule::Schedule(uint64_t seed) : random_(seed), world_(seed) {
  transport_options_.dead_after = 1s;
  transport_options_.max_operation_bytes = 1U << (10 + random_.below(7));
  transport_options_.max_operations = static_cast<uint32_t>(4 + random_.below(60));
  corrupts_ = random_.chance(0.2);
  sides_[0].node = "a";
  sides_[1].node = "b";
  for (Side& side : sides_) {
    side.arena = std::make_unique<Arena>(random_);
    world_.add_node(side.node);
  }
  change_link();
}

Schedule::~Schedule() = default;

std::string Schedule::summary() const {
  std::map<std::string_view, int> ends;
  for (const auto& move : moves_) ++ends[move->orphaned ? "orphaned" : to_string(move->transfer.status().code())];
  std::string text = fmt::format("{} connections, {} packets, {} transfers:", epoch_, world_.packets(), moves_.size());
  for (const auto& [name, count] : ends) text += fmt::format(" {} {}", count, name);
  return text;
}

void Schedule::broken(const std::string& what) const {
  throw Broken(fmt::format("{} (at {} ns)", what, world_.clock().now().time_since_epoch().count()));
}

void Schedule::start_engine(size_t index) {
  Side& side = sides_[index];
  EngineOptions options;
  options.name = side.node;
  options.clock = &world_.clock();
  options.security = SecurityPolicy::insecure;
  options.seed = random_.next() | 1;
  options.peer_timeout = peer_timeout;
  options.keepalive = 400ms;
  options.handshake_timeout = 1s;
  if (!corrupts_ && random_.chance(0.2)) options.integrity = Integrity::off;
  options.on_message = [this, index](Peer, const Message& message) { on_message(index, message); };
  options.on_peer_closed = [this, index](Peer, const Status&) { on_closed(index); };
  options.on_peer = [this, index](Peer peer) {
    sides_[index].peer = peer;
    sides_[index].connected = true;
  };
  side.record = std::make_shared<TransportRecord>();
  std::vector<std::unique_ptr<Transport>> transports;
  transports.push_back(std::make_unique<CheckedTransport>(world_.make_transport(side.node, transport_options_), side.record));
  auto engine = Engine::create(std::move(options), std::move(transports));
  if (!engine.ok()) broken("no engine: " + engine.status().to_string());
  side.engine = std::move(engine).value();
  auto buffer = side.engine->register_memory(side.arena->all());
  if (!buffer.ok()) broken("no buffer: " + buffer.status().to_string());
  side.buffer = std::move(buffer).value();
  if (const auto bound = side.engine->listen({side.node, 1}); !bound.ok()) broken("no listener: " + bound.status().to_string());
}

bool Schedule::step(const std::function<bool()>& until, Duration limit) {
  std::vector<Engine*> engines;
  for (const Side& side : sides_) engines.push_back(side.engine.get());
  const bool reached = world_.run(
      engines, [&] { return !first_broken_.empty() || until(); }, limit);
  if (!first_broken_.empty()) broken(first_broken_);
  for (const Side& side : sides_) {
    if (!side.record->defects.empty()) broken(side.record->defects.front());
  }
  return reached;
}

/// Both sides have forgotten the last connection when this is called.
void Schedule::connect() {
  ++epoch_;
  const size_t from = random_.below(2);
  PeerOptions options;
  options.lanes = static_cast<uint32_t>(1 + random_.below(4));
  bool settled = false;
  options.on_ready = [&](Peer peer, const Status& status) {
    settled = true;
    sides_[from].connected = status.ok();
    sides_[from].peer = peer;
  };
  for (Side& side : sides_) {
    side.next_sent = 0;
    side.next_received = 0;
  }
  const auto peer = sides_[from].engine->connect({sides_[other(from)].node, 1}, options);
  if (!peer.ok()) broken("connect: " + peer.status().to_string());
  if (!step([&] { return settled; }, long_enough)) broken("connecting came to no end");
  if (!sides_[from].connected) {
    // Possible on a bad link; the other side may believe in a connection until it finds out.
    step([&] { return !sides_[other(from)].connected; }, long_enough);
    return;
  }
  step([&] { return sides_[0].connected && sides_[1].connected; }, long_enough);
  for (size_t owner = 0; owner < 2; ++owner) make_grant(owner, false);
}

void Schedule::make_grant(size_t owner, bool may_expire) {
  Side& side = sides_[owner];
  if (!side.connected) return;
  GrantOptions options;
  if (may_expire) options.expires_after = Duration(1 + random_.below(20'000'000));
  const auto granted = side.peer.grant(side.buffer.slice(), Rights::read_write, options);
  if (granted.ok()) sides_[other(owner)].remote = std::make_shared<RemoteBuffer>(granted.value());
}

void Schedule::run() {
  start_engine(0);
  start_engine(1);
  const uint64_t actions = 20 + random_.below(60);
  for (uint64_t i = 0; i < actions; ++i) {
    if (!silenced_ && !sides_[0].connected && !sides_[1].connected) connect();
    act();
    if (random_.chance(0.5)) {
      uint64_t rounds = random_.below(60);
      step([&] { return rounds-- == 0; }, 1s);
    } else {
      step([] { return false; }, Duration(random_.below(3'000'000)));
    }
    check_intact("during the schedule");
  }
  settle();
  check_end();
}

void Schedule::act() {
  const uint64_t choice = random_.below(100);
  if (choice < 55) return start_move();
  if (choice < 68) return cancel_one();
  if (choice < 78) return send_message();
  if (choice < 84) return revoke_one();
  if (choice < 90) return change_link();
  if (choice < 93) return kill_lane();
  if (choice < 95) return leave();
  if (choice < 97) return crash();
  silenced_ = !silenced_;
  if (silenced_) {
    world_.partition("a", "b");
  } else {
    world_.heal("a", "b");
  }
}

void Schedule::change_link() {
  sim::LinkOptions link;
  link.rate_bytes_s = 10'000'000 + random_.below(2'000'000'000);
  link.delay = Duration(1'000 + random_.below(random_.chance(0.2) ? 5'000'000 : 100'000));
  link.queue_bytes = 20'000 + random_.below(1U << 20);
  link.mtu_bytes = static_cast<uint32_t>(random_.chance(0.5) ? 1500 : 9000);
  if (random_.chance(0.5)) link.loss = 0.03 * static_cast<double>(random_.below(100)) / 100;
  if (random_.chance(0.3)) link.reorder = 0.1;
  if (random_.chance(0.3)) link.duplicate = 0.05;
  if (corrupts_) link.corrupt = 0.01;
  world_.link("a", "b", link);
}

void Schedule::cancel_one() {
  if (moves_.empty()) return;
  Move& move = *moves_[moves_.size() - 1 - random_.below(std::min<size_t>(moves_.size(), 8))];
  if (!move.orphaned) move.transfer.cancel();
}

void Schedule::send_message() {
  const size_t index = random_.below(2);
  Side& side = sides_[index];
  if (!side.connected) return;
  std::vector<std::byte> message(9 + random_.below(4000));
  base::ByteWriter writer(message);
  writer.put(uint8_t{'m'});
  writer.put(side.next_sent);
  if (side.peer.send(message).ok()) ++side.next_sent;
}

void Schedule::revoke_one() {
  const size_t owner = random_.below(2);
  Side& side = sides_[owner];
  const auto granted = sides_[other(owner)].remote;
  if (!side.connected || !granted) return;
  const uint64_t epoch = epoch_;
  const Status status = side.peer.revoke(*granted, [this, owner, granted, epoch] {
    // Nothing can be written or read through it any more: what is there now stays until a later grant is used.
    for (const auto& move : moves_) {
      if (move->side == other(owner) && move->epoch == epoch && move->remote == granted) expect_quiet(*move);
    }
  });
  if (status.ok()) make_grant(owner, random_.chance(0.2));
}

void Schedule::kill_lane() {
  TransportRecord& record = *sides_[random_.below(2)].record;
  if (record.connections.empty()) return;
  auto it = record.connections.begin();
  std::advance(it, static_cast<ptrdiff_t>(random_.below(record.connections.size())));
  record.to_kill.push_back(*it);
}

void Schedule::leave() {
  Side& side = sides_[random_.below(2)];
  if (side.connected) side.peer.close(random_.chance(0.5));
}

/// The power of one machine is cut; it starts again with the same memory.
void Schedule::crash() {
  const size_t index = random_.below(2);
  Side& side = sides_[index];
  world_.crash(side.node);
  for (const auto& move : moves_) {
    if (move->side == index && move->calls == 0) move->orphaned = true;
  }
  side.buffer = Buffer();
  side.engine.reset();
  side.connected = false;
  quiet_side(index);
  world_.restart(side.node);
  start_engine(index);
}

}  // namespace haul::contract
