// The victim, the innocent peer, and the checks.
#include "fuzz/hostile_world.h"

#include <algorithm>
#include <utility>

#include "base/bytes.h"
#include "base/random.h"
#include "sim/network.h"
#include "transfer/tag.h"

namespace haul::fuzz {

namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr Duration round_pause = milliseconds(50);  // of the innocent peer; what costs processor time here is its packets
constexpr uint32_t max_peers = 6;
constexpr uint32_t max_lanes = 4;
constexpr uint32_t most_grants = 16;
constexpr uint32_t max_transfers = 32;
constexpr uint32_t max_message_bytes = 1024;
constexpr uint32_t max_queued_messages = 64;

EngineOptions options_of(const char* name, const Clock& clock, uint64_t seed) {
  EngineOptions options;
  options.name = name;
  options.security = SecurityPolicy::insecure;  // simulated machines have no loopback and no credentials
  options.clock = &clock;
  options.seed = seed;
  options.spin = Duration::zero();
  options.peer_timeout = seconds(2);
  options.keepalive = milliseconds(500);
  options.handshake_timeout = seconds(1);
  options.max_peers = max_peers;
  options.max_unidentified = 4;
  options.max_lanes_per_peer = max_lanes;
  options.max_grants_per_peer = most_grants;
  options.max_transfers = max_transfers;
  options.max_message_bytes = max_message_bytes;
  options.max_queued_messages = max_queued_messages;
  return options;
}

}  // namespace

Bytes encode(const Claim& claim) {
  Bytes bytes(Claim::bytes);
  base::ByteWriter out(bytes);
  out.put(claim.serial);
  out.put(claim.count);
  return bytes;
}

size_t Witness::poll(TimePoint now, NextPoll next, std::span<Event> events) {
  const size_t count = inner_->poll(now, next, events);
  for (const Event& event : events.first(count)) {
    if (event.kind == Event::Kind::landed) tags_[{event.connection, event.id}] = event.tag;
  }
  return count;
}

void Witness::answer(ConnectionId connection, uint64_t id, const Status& status, TimePoint now) {
  const auto tag = tags_.find({connection, id});
  require(tag != tags_.end(), "a write was answered twice, or never landed");
  if (status.ok()) verified_[transfer::tag_serial(tag->second)].insert(transfer::tag_index(tag->second));
  tags_.erase(tag);
  inner_->answer(connection, id, status, now);
}

HostileWorld::HostileWorld(uint64_t seed) : world_(seed), record_(std::make_shared<contract::TransportRecord>()) {
  for (const char* node : {"victim", "innocent", "hostile"}) world_.add_node(node);
  world_.link("victim", "innocent", {});
  world_.link("victim", "hostile", {});
  make_victim();
  make_innocent();
  meet();
}

HostileWorld::~HostileWorld() = default;

void HostileWorld::make_victim() {
  EngineOptions options = options_of("victim", world_.clock(), 1);
  options.on_peer = [this](Peer peer) { on_peer(peer); };
  options.on_message = [this](Peer peer, const Message& message) { on_message(peer, message); };
  options.on_peer_closed = [this](Peer peer, const Status&) {
    const auto found = known_.find(peer.id());
    require(found != known_.end() && !std::exchange(found->second.closed, true), "a peer's end was told twice, or of nobody");
  };
  options.log_level = LogLevel::debug;
  options.log = [](const LogRecord& line) {
    const bool clean = std::none_of(line.text.begin(), line.text.end(),
                                    [](char c) { return static_cast<unsigned char>(c) < 0x20 || c == '\x7f'; });
    require(clean, "a peer writes control characters into the log");
  };
  std::vector<std::unique_ptr<Transport>> transports;
  auto witness = std::make_unique<Witness>(world_.make_transport("victim"), verified_);
  transports.push_back(std::make_unique<contract::CheckedTransport>(std::move(witness), record_));
  victim_ = Engine::create(std::move(options), std::move(transports)).value();
  memory_ = victim_->allocate(areas * area_bytes).value();
  base::Random(2).fill(memory_.bytes());
  secret_.assign(bytes(secret).begin(), bytes(secret).end());
  readable_.assign(bytes(readable).begin(), bytes(readable).end());
  require(victim_->listen({"victim", 1}).ok(), "the victim cannot listen");
}

void HostileWorld::make_innocent() {
  EngineOptions options = options_of("innocent", world_.clock(), 3);
  options.on_message = [this](Peer, const Message& message) { on_innocent_message(message); };
  options.on_peer_closed = [](Peer, const Status& why) {
    std::fprintf(stderr, "fuzz: %s\n", why.to_string().c_str());
    require(false, "the innocent peer lost its connection");
  };
  std::vector<std::unique_ptr<Transport>> transports;
  transports.push_back(world_.make_transport("innocent"));
  innocent_ = Engine::create(std::move(options), std::move(transports)).value();
  source_ = innocent_->allocate(area_bytes).value();
  returned_ = innocent_->allocate(area_bytes).value();
}

// The innocent peer comes first, so that the victim's first peer is it, whatever others call themselves.
void HostileWorld::meet() {
  to_victim_ = innocent_->connect({"victim", 1}).value();
  for (int turn = 0; turn < 100 && rounds_done_ == 0; ++turn) run(milliseconds(10), [] { return std::nullopt; });
  require(rounds_done_ > 0, "the innocent peer gets nothing done even when it is alone");
}

// --- The victim's application -----------------------------------------------------------------------------------------------

void HostileWorld::grant_to(Peer& peer, size_t area, Rights rights) {
  const auto granted = peer.grant(slice(area), rights);
  if (!granted.ok()) return;
  static_cast<void>(peer.send(granted->serialize()));
  if (peer.id() != innocent_id_) made_.push_back(*granted);
}

void HostileWorld::on_peer(Peer peer) {
  require(known_.emplace(peer.id(), Known{}).second, "a peer was told of twice");
  if (innocent_id_ == 0) {
    innocent_id_ = peer.id();
    return grant_to(peer, served, Rights::read_write);
  }
  hostile_.push_back(peer);
  grant_to(peer, writable, Rights::write);
  grant_to(peer, readable, Rights::read);
  grant_to(peer, both, Rights::read_write);
}

void HostileWorld::on_message(const Peer& peer, const Message& message) {
  const auto known = known_.find(peer.id());
  require(known != known_.end() && !known->second.closed, "a message from a peer that is not there");
  require(message.payload.size() <= max_message_bytes, "a message is longer than this side allows");
  if (!message.notification) return;
  if (peer.id() == innocent_id_) {
    round_told_ = true;
    require(same(bytes(served), source_.bytes()), "the innocent peer's notification came before its bytes");
    return;
  }
  if (message.payload.size() != Claim::bytes) return;
  base::ByteReader in(message.payload);
  const auto serial = in.get<uint64_t>();
  const auto count = in.get<uint32_t>();
  const auto placed = verified_.find(serial);
  const size_t verified = placed == verified_.end() ? 0 : placed->second.size();
  require(verified >= count, "a notification came before all of its writes were placed and verified");
  if (serial >= uint64_t{1} << session_shift) require(delivered_.insert(serial).second, "a notification came twice");
}

Transfer& HostileWorld::keep(Transfer transfer) { return transfers_.emplace_back(std::move(transfer)); }

void HostileWorld::act_as_victim(Script& script, std::span<const RemoteBuffer> hostile_grants) {
  const size_t what = script.below(12);
  if (what == 0) {
    PeerOptions options;
    options.lanes = 1U + static_cast<uint32_t>(script.below(max_lanes));
    options.connect_timeout = seconds(1);
    options.on_ready = [this](Peer peer, const Status& status) {
      if (!status.ok()) return;
      require(known_.emplace(peer.id(), Known{}).second, "a peer was told of twice");
      hostile_.push_back(peer);
      grant_to(peer, writable, Rights::write);
    };
    static_cast<void>(victim_->connect({"hostile", 1}, std::move(options)));
    return;
  }
  if (hostile_.empty()) return;
  Peer& peer = hostile_[script.below(hostile_.size())];
  const Bytes note = to_bytes("from the victim");
  if (what <= 5) {
    if (hostile_grants.empty()) return;
    const RemoteBuffer& remote = hostile_grants[script.below(hostile_grants.size())];
    const uint64_t length = std::min<uint64_t>({1U + script.number16(), area_bytes, remote.size()});
    TransferOptions options;
    if (script.flag()) options.notify = note;
    if (script.flag()) options.timeout = milliseconds(1 + script.byte());
    ++callbacks_owed_;
    options.on_done = [this](const TransferResult&) { --callbacks_owed_; };
    const bool puts = script.flag();
    if (!puts) options.notify.reset();
    const Slice local = slice(puts ? readable : fetched);
    const Slice part{local.buffer, local.offset, length};
    keep(puts ? peer.put(part, remote.slice(0, length), std::move(options))
              : peer.get(part, remote.slice(0, length), std::move(options)));
    return;
  }
  switch (what) {
    case 6:
      if (!transfers_.empty()) transfers_[script.below(transfers_.size())].cancel();
      return;
    case 7:
      if (!made_.empty()) static_cast<void>(peer.revoke(made_[script.below(made_.size())]));
      return;
    case 8: static_cast<void>(peer.send(note)); return;
    case 9: return grant_to(peer, readable, Rights::read);
    case 10: return peer.close(script.flag());
    default: static_cast<void>(peer.explain()); return;
  }
}

// --- The innocent peer ------------------------------------------------------------------------------------------------------

void HostileWorld::on_innocent_message(const Message& message) {
  const auto granted = RemoteBuffer::deserialize(message.payload);
  require(granted.ok() && !served_grant_, "the innocent peer got a message that was not for it");
  served_grant_ = *granted;
  next_round();
}

void HostileWorld::next_round() {
  next_round_at_.reset();
  base::Random(++round_).fill(source_.bytes());
  round_told_ = false;
  const Bytes note = to_bytes("placed");
  TransferOptions options;
  options.notify = note;
  options.on_done = [this](const TransferResult& put) {
    require(put.status.ok(), "the innocent peer's put failed");
    TransferOptions back;
    back.on_done = [this](const TransferResult& got) {
      require(got.status.ok(), "the innocent peer's get failed");
      require(same(source_.bytes(), returned_.bytes()), "the innocent peer got back something else than it had put");
      require(round_told_, "the innocent peer's notification was not delivered");
      ++rounds_done_;
      next_round_at_ = now() + round_pause;
    };
    to_victim_.get(returned_.slice(), served_grant_->slice(), std::move(back));
  };
  to_victim_.put(source_.slice(), served_grant_->slice(), std::move(options));
}

// --- Time, and the checks ---------------------------------------------------------------------------------------------------

void HostileWorld::run(Duration time, const std::function<std::optional<TimePoint>()>& also) {
  const TimePoint end = now() + time;
  constexpr int most_rounds = 20;  // at one moment; then time goes on all the same
  while (true) {
    std::optional<TimePoint> wanted;
    for (int round = 0; round < most_rounds; ++round) {
      const size_t handled = victim_->poll() + innocent_->poll();
      wanted = also();
      if (handled == 0 && (!wanted || *wanted > now())) break;
    }
    if (now() >= end) break;
    if (next_round_at_ && *next_round_at_ <= now()) next_round();
    TimePoint next = std::min({end, world_.state().next_event().value_or(end), wanted.value_or(end)});
    next = std::min(next, next_round_at_.value_or(end));
    for (const Engine* engine : {victim_.get(), innocent_.get()}) next = std::min(next, engine->next_deadline().value_or(end));
    world_.state().advance_to(std::max(next, now() + std::chrono::microseconds(1)));
  }
  check_limits();
}

void HostileWorld::check_limits() {
  for (const std::string& defect : record_->defects) {
    std::fprintf(stderr, "fuzz: %s\n", defect.c_str());
    require(false, "the engine broke its transport's contract");
  }
  const EngineStats stats = victim_->stats();
  require(stats.peers.size() <= max_peers, "more peers than allowed");
  for (const PeerStats& peer : stats.peers) {
    require(peer.lanes.size() <= max_lanes, "more lanes than allowed");
    require(peer.grants_held <= most_grants, "more grants held than allowed");
    require(peer.transfers_active <= max_transfers, "more transfers than allowed");
  }
}

void HostileWorld::check_memory(const char* when) const {
  require(same(bytes(secret), secret_) && same(bytes(readable), readable_), when);
}

HostileSummary HostileWorld::summary() const {
  return {hostile_.size(), delivered_.size(), transfers_.size(), victim_->stats().bytes_landed - rounds_done_ * area_bytes};
}

void HostileWorld::finish(const std::function<std::optional<TimePoint>()>& also) {
  check_memory("the victim's memory changed where nobody may write");
  constexpr int most_seconds = 20;  // some timeouts, one after the other
  for (int second = 0; second < most_seconds && victim_->stats().peers.size() > 1; ++second) run(seconds(1), also);
  require(victim_->stats().peers.size() == 1, "the victim does not get rid of a peer that is gone");
  for (const auto& [id, peer] : known_) require(id == innocent_id_ || peer.closed, "a peer's end was never told");
  for (const Transfer& transfer : transfers_) require(transfer.done(), "a transfer did not end with its peer");
  require(callbacks_owed_ == 0, "a transfer's end was not told, or told twice");
  const uint64_t before = rounds_done_;
  run(seconds(1), also);
  require(rounds_done_ > before + 1, "the innocent peer is not served any more");
  check_memory("the victim's memory changed where nobody may write, afterwards");
}

}  // namespace haul::fuzz
