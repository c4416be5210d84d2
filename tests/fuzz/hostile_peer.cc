// What the hostile peer does, and the target that lets it loose.
#include "fuzz/hostile_peer.h"

#include <algorithm>
#include <array>

#include "base/crc32c.h"
#include "base/random.h"
#include "fuzz/targets.h"
#include "transfer/tag.h"

namespace haul::fuzz {

HostilePeer::HostilePeer(HostileWorld& world)
    : world_(world), transport_(world.world().make_transport("hostile")), memory_(memory_bytes) {
  base::Random(7).fill(memory_);
  region_ = transport_->register_memory(memory_, MemoryKind::host).value();
  require(transport_->listen({"hostile", 1}).ok(), "the hostile peer cannot listen");
}

// --- Connections and lanes --------------------------------------------------------------------------------------------------

HostilePeer::Session& HostilePeer::add_session(ConnectionId control) {
  auto session = std::make_unique<Session>();
  session->index = sessions_.size() + 1;
  session->incarnation = 1000 + session->index;
  session->connections.push_back(control);
  session->next_serial = session->index << session_shift;
  return *sessions_.emplace_back(std::move(session));
}

void HostilePeer::connect() {
  if (sessions_.size() == max_sessions) return;
  ConnectOptions options;
  options.address = Address{"victim", 1};
  const auto opened = transport_->open(options, world_.now());
  if (!opened.ok()) return;
  if (transport_->join(opened->connection, {}, world_.now()).ok()) add_session(opened->connection);
}

void HostilePeer::open_lane(Script& script, Session& session) {
  const uint32_t number = script.below(8) == 0 ? static_cast<uint32_t>(script.number()) : session.next_lane++;
  engine::LaneOpen message{number, script.below(8) == 0 ? "none\x1b[31m" : "sim", {}};
  if (script.below(8) == 0) {
    const auto bytes = script.bytes(script.byte());
    message.endpoint.assign(bytes.begin(), bytes.end());
  } else {
    ConnectOptions options;
    options.address = Address{"victim", 1};
    const auto opened = transport_->open(options, world_.now());
    if (!opened.ok()) return;
    message.endpoint = opened->bytes;
    session.opened.emplace_back(number, opened->connection);
  }
  send(session, message);
}

void HostilePeer::speak_of_lane(Script& script, Session& session) {
  const uint32_t number =
      script.below(4) == 0 ? static_cast<uint32_t>(script.number()) : static_cast<uint32_t>(script.below(6));
  switch (script.below(3)) {
    case 0: {
      const auto opened = transport_->open({}, world_.now());
      engine::LaneAccept accept{number, {}};
      if (opened.ok() && script.flag()) accept.endpoint = opened->bytes;
      return send(session, accept);
    }
    case 1: return send(session, engine::LaneRefuse{number, "no\r\nreason"});
    default: return send(session, engine::LaneClosed{number});
  }
}

void HostilePeer::close_connection(Script& script, Session& session) {
  const CloseMode mode = script.flag() ? CloseMode::drain : CloseMode::abort;
  transport_->close(connection_of(script, session), mode, world_.now());
}

ConnectionId HostilePeer::connection_of(Script& script, const Session& session) const {
  return session.connections[script.below(session.connections.size())];
}

// --- Messages ---------------------------------------------------------------------------------------------------------------

void HostilePeer::send(const Session& session, const engine::Control& message) { send_bytes(session, engine::encode(message)); }

void HostilePeer::send_bytes(const Session& session, std::span<const std::byte> bytes) {
  if (bytes.empty() || bytes.size() > transport_->capabilities().max_message_bytes) return;
  static_cast<void>(transport_->send(session.connections.front(), bytes, world_.now()));
}

void HostilePeer::send_hello(Script& script, Session& session, bool good) {
  engine::Hello hello;
  hello.incarnation = session.incarnation;
  hello.max_message_bytes = 8192;
  hello.max_lanes = 64;
  hello.name = "hostile";
  hello.library_version = "0";
  if (!good) {
    hello.version_min = static_cast<uint16_t>(script.below(3));
    hello.version_max = static_cast<uint16_t>(hello.version_min + script.below(3));
    hello.features = script.number();
    hello.max_message_bytes = static_cast<uint32_t>(script.number());
    hello.max_lanes = static_cast<uint32_t>(script.number());
    hello.integrity = script.flag();
    hello.name = std::string(to_text(script.bytes(1U + script.below(engine::max_name_bytes))));
  }
  send(session, hello);
}

void HostilePeer::send_grant(Script& script, Session& session) {
  engine::GrantMade message;
  message.id = script.below(8) == 0 ? script.number() : session.next_grant++;
  message.length = script.below(8) == 0 ? script.number() : memory_bytes;
  message.rights = static_cast<Rights>(script.below(4));
  for (size_t i = 0; i < session.connections.size(); ++i) {
    engine::GrantRegion region{static_cast<uint32_t>(i), {}};
    const auto made = transport_->grant(session.connections[i], *region_, {0, memory_bytes}, Rights::read_write, world_.now());
    if (made.ok() && script.below(8) != 0) {
      region.region = made->remote;
      transport_grants_.emplace_back(session.connections[i], made->id);
    } else {
      region.region.size = static_cast<uint8_t>(script.below(RemoteRegion::max_bytes + 1));
    }
    message.regions.push_back(region);
  }
  if (script.below(16) == 0) message.regions.resize(script.byte(), engine::GrantRegion{9, {}});
  granted_.emplace_back(session.incarnation, message.id, message.length, Rights::read_write);
  send(session, message);
}

void HostilePeer::speak_of_grant(Script& script, Session& session) {
  const uint64_t id = script.below(4) == 0 ? script.number() : script.below(8);
  switch (script.below(3)) {
    case 0: return send(session, engine::GrantRevoked{id});
    case 1: {
      engine::GrantExtended extended{id, {static_cast<uint32_t>(script.below(6)), {}}};
      extended.region.region.size = static_cast<uint8_t>(script.below(RemoteRegion::max_bytes + 1));
      return send(session, extended);
    }
    default: {
      if (transport_grants_.empty()) return;
      const auto& [connection, grant] = transport_grants_[script.below(transport_grants_.size())];
      return transport_->revoke(connection, grant, world_.now());
    }
  }
}

void HostilePeer::notify(Script& script, Session& session) {
  const uint64_t own = (session.index << session_shift) + script.below(8);
  const uint64_t serial = script.below(8) == 0 ? script.number() : own;
  const uint32_t count = script.below(8) == 0 ? static_cast<uint32_t>(script.number()) : static_cast<uint32_t>(script.below(6));
  if (script.below(4) == 0) return send(session, engine::Abandon{serial});
  const Bytes claim = encode(Claim{serial, count});
  send(session, engine::Notify{serial, count, claim});
}

void HostilePeer::ask(Script& script, Session& session) {
  switch (script.below(9)) {
    case 0: return send(session, engine::Ping{script.number()});
    case 1: return send(session, engine::Pong{script.number()});
    case 2:
      return send(session,
                  engine::Verify{script.number(), script.below(8), script.number(), static_cast<uint32_t>(script.number())});
    case 3: return send(session, engine::Verified{script.number(), script.flag(), 0});
    case 4: {
      const Bytes message(1U + script.number16() % 1'200U);
      return send(session, engine::UserMessage{message});
    }
    case 5: return send(session, engine::ControlMove{static_cast<uint32_t>(script.below(4))});
    case 6: return send(session, engine::ControlMoved{static_cast<uint32_t>(script.below(4))});
    case 7: return send(session, engine::LanesWanted{static_cast<uint32_t>(script.number())});
    default: return send_bytes(session, script.bytes(1U + script.byte()));
  }
}

// The same, many times: what grows without bound shows.
void HostilePeer::flood(Script& script, Session& session) {
  const size_t what = script.below(6);
  const size_t times = (1U + script.below(32)) * 16;
  const uint64_t stride = 1 + script.below(3);
  const Bytes payload(64);
  for (size_t i = 0; i < times; ++i) {
    const uint64_t number = session.next_serial + (uint64_t{1} << (session_shift - 1)) + i * stride;
    switch (what) {
      case 0: send(session, engine::Notify{number, 1, payload}); break;
      case 1: send(session, engine::Abandon{number}); break;
      case 2: send(session, engine::Ping{number}); break;
      case 3: send(session, engine::GrantMade{session.next_grant++, 1, Rights::read, {}}); break;
      case 4:
        send(session, engine::LaneOpen{session.next_lane, "sim", {}});
        send(session, engine::LaneClosed{session.next_lane++});
        break;
      default: send(session, engine::UserMessage{payload}); break;
    }
  }
  session.next_serial += times * stride;
}

// --- Operations -------------------------------------------------------------------------------------------------------------

/// A grant of the victim, mostly with the connection that it is for.
RemoteRegion HostilePeer::region_of(Script& script, const Session& session, ConnectionId& connection) const {
  RemoteRegion made_up;
  if (session.regions.empty() || script.below(16) == 0) {
    made_up.size = static_cast<uint8_t>(script.below(RemoteRegion::max_bytes + 1));
    return made_up;
  }
  const engine::GrantRegion& chosen = session.regions[script.below(session.regions.size())];
  if (chosen.lane < session.connections.size() && script.below(16) != 0) connection = session.connections[chosen.lane];
  return chosen.region;
}

void HostilePeer::post(Script& script, Session& session) {
  ConnectionId connection = connection_of(script, session);
  const RemoteRegion remote = region_of(script, session, connection);
  Operation operation;
  operation.op = script.below(8) == 0 ? Op::read : Op::write;
  operation.id = next_operation_++;
  operation.local = region_.get();
  operation.local_offset = script.byte();
  operation.remote = &remote;
  operation.length = 1U + script.number16() % 4096;
  operation.remote_offset = script.below(8) == 0 ? script.number() : script.byte() * 16U;
  const uint64_t serial = (session.index << session_shift) + script.below(8);
  operation.tag = script.below(4) == 0 ? script.number() : transfer::make_tag(serial, static_cast<uint32_t>(script.below(8)));
  const auto payload = std::span(memory_).subspan(operation.local_offset, operation.length);
  if (script.flag()) operation.crc32c = base::crc32c(payload) ^ (script.below(4) == 0 ? 1U : 0U);
  static_cast<void>(transport_->post(connection, std::span(&operation, 1), world_.now()));
  if (script.below(16) == 0) transport_->cancel(connection, operation.id, world_.now());
}

// As a good peer does it, in the order that the script wants: so that deliveries happen, which must be right.
void HostilePeer::whole_transfer(Script& script, Session& session) {
  const uint64_t serial = ++session.next_serial;
  const auto count = static_cast<uint32_t>(1 + script.below(4));
  const bool early = script.flag();
  const Bytes claim = encode(Claim{serial, count});
  if (early) send(session, engine::Notify{serial, count, claim});
  for (uint32_t index = 0; index < count; ++index) {
    ConnectionId connection = session.connections.front();
    const RemoteRegion remote = region_of(script, session, connection);
    Operation operation;
    operation.id = next_operation_++;
    operation.tag = transfer::make_tag(serial, script.below(8) == 0 ? 0 : index);
    operation.local = region_.get();
    operation.remote = &remote;
    operation.length = 256;
    operation.crc32c = base::crc32c(std::span(memory_).first(256));
    static_cast<void>(transport_->post(connection, std::span(&operation, 1), world_.now()));
  }
  if (!early) send(session, engine::Notify{serial, count, claim});
}

// --- Events -----------------------------------------------------------------------------------------------------------------

std::optional<TimePoint> HostilePeer::poll() {
  if (silent_) return std::nullopt;
  std::array<Event, 64> events;
  size_t count = 0;
  do {
    count = transport_->poll(world_.now(), NextPoll::when_woken, events);
    for (size_t i = 0; i < count; ++i) take(events[i]);
  } while (count == events.size());
  return transport_->next_deadline();
}

HostilePeer::Session* HostilePeer::session_of(ConnectionId connection) {
  for (const auto& session : sessions_) {
    if (session->connections.front() == connection) return session.get();
  }
  return nullptr;
}

void HostilePeer::take(const Event& event) {
  if (event.kind == Event::Kind::accepted && sessions_.size() < max_sessions) add_session(event.connection);
  if (event.kind == Event::Kind::landed) {
    landed_.emplace_back(event.connection, event.id);
    if (!answers_) return;
    transport_->answer(event.connection, event.id, {}, world_.now());
    landed_.pop_back();
  }
  if (event.kind != Event::Kind::message) return;
  Session* session = session_of(event.connection);
  const auto message = engine::decode(event.payload);
  require(message.ok(), "the victim sends what nobody can read");
  if (session != nullptr) take_message(*session, *message);
}

void HostilePeer::take_message(Session& session, const engine::Control& message) {
  if (const auto* made = std::get_if<engine::GrantMade>(&message)) {
    session.regions.insert(session.regions.end(), made->regions.begin(), made->regions.end());
  } else if (const auto* extended = std::get_if<engine::GrantExtended>(&message)) {
    session.regions.push_back(extended->region);
  } else if (const auto* ping = std::get_if<engine::Ping>(&message)) {
    if (pongs_) send(session, engine::Pong{ping->number});
  } else if (const auto* accept = std::get_if<engine::LaneAccept>(&message)) {
    for (const auto& [number, connection] : session.opened) {
      if (number != accept->lane || !joins_) continue;
      static_cast<void>(transport_->join(connection, accept->endpoint, world_.now()));
      session.connections.push_back(connection);
    }
  } else if (const auto* open = std::get_if<engine::LaneOpen>(&message)) {
    if (!joins_) return;
    const auto opened = transport_->open({}, world_.now());
    if (!opened.ok() || !transport_->join(opened->connection, open->endpoint, world_.now()).ok()) return;
    session.connections.push_back(opened->connection);
    send(session, engine::LaneAccept{open->lane, opened->bytes});
  }
}

// --- The script -------------------------------------------------------------------------------------------------------------

void HostilePeer::act(Script& script) {
  if (sessions_.empty()) return connect();
  // Mostly the newest: older ones have often met their end.
  Session& session = script.below(4) == 0 ? *sessions_[script.below(sessions_.size())] : *sessions_.back();
  // What ends the peer is rare, so that much can happen before.
  const size_t what = script.below(64);
  if (what < 8) return open_lane(script, session);
  if (what < 16) return send_grant(script, session);
  if (what < 20) return speak_of_grant(script, session);
  if (what < 26) return notify(script, session);
  if (what < 36) return post(script, session);
  if (what < 52) return whole_transfer(script, session);
  switch (what) {
    case 52: return connect();
    case 53: return send_hello(script, session, true);
    case 54: return send_hello(script, session, false);
    case 55: return speak_of_lane(script, session);
    case 56: return ask(script, session);
    case 57: return flood(script, session);
    case 58: return close_connection(script, session);
    case 59: {
      const auto code = static_cast<StatusCode>(script.below(static_cast<size_t>(StatusCode::internal) + 1));
      return send(session, engine::Goodbye{code, "and\x07 bye"});
    }
    case 60: answers_ = script.flag(); return;
    case 61: pongs_ = script.flag(); return;
    case 62: joins_ = script.flag(); return;
    default: return answer_late(script);
  }
}

void HostilePeer::begin() {
  connect();
  world_.run(std::chrono::milliseconds(1), [this] { return poll(); });
  Script nothing({});
  send_hello(nothing, *sessions_.back(), true);
  world_.run(std::chrono::milliseconds(1), [this] { return poll(); });
}

void HostilePeer::answer_late(Script& script) {
  for (const auto& [connection, id] : landed_) {
    transport_->answer(connection, id, script.flag() ? Status() : Status(StatusCode::corrupt, "no"), world_.now());
  }
  landed_.clear();
}

HostileSummary run_hostile(std::span<const std::byte> input) {
  constexpr size_t most_bytes = 4096;  // a longer script finds nothing that a shorter one doesn't
  Script script(input.first(std::min(input.size(), most_bytes)));
  const bool goes_silent = script.flag();
  const bool begins_well = script.below(8) != 0;
  HostileWorld world(1);
  auto peer = std::make_unique<HostilePeer>(world);
  const auto also = [&peer] { return peer ? peer->poll() : std::nullopt; };
  if (begins_well) peer->begin();
  while (!script.done()) {
    const size_t what = script.below(8);
    if (what == 0) {
      world.run(std::chrono::microseconds(20U * (1U + script.byte())), also);
    } else if (what == 1 && script.below(16) == 0) {
      world.run(std::chrono::milliseconds(20U * (1U + script.byte())), also);
    } else if (what == 2 && script.below(16) == 0) {
      peer->begin();
    } else if (what == 3) {
      world.act_as_victim(script, peer->grants());
    } else {
      peer->act(script);
    }
  }
  world.run(std::chrono::milliseconds(2), also);
  if (goes_silent) {
    peer->go_silent();
  } else {
    peer.reset();
  }
  world.finish(also);
  return world.summary();
}

void hostile_peer_run(std::span<const std::byte> input) { static_cast<void>(run_hostile(input)); }

void hostile_peer_seeds(const SeedSink& sink) {
  constexpr size_t seeds = 32;
  for (uint64_t seed = 0; seed < seeds; ++seed) {
    Bytes bytes(40 + 20 * seed);
    base::Random(seed + 1).fill(bytes);
    sink(std::to_string(seed), bytes);
  }
}

}  // namespace haul::fuzz
