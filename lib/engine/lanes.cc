// More connections to a peer: opening, losing and replacing lanes.
#include <fmt/format.h>

#include <algorithm>

#include "engine/core.h"

namespace haul::detail {

using engine::LanePhase;
using engine::PeerPhase;

namespace {

constexpr Duration first_reopen_delay = std::chrono::milliseconds(200);
constexpr uint32_t max_reopen_doublings = 7;

std::string_view accepted_there(const PeerEntry& peer) {
  return peer.theirs.payload_over.empty() ? "other transports" : std::string_view(peer.theirs.payload_over);
}

}  // namespace

LaneState& EngineCore::add_lane(PeerEntry& peer, uint32_t number, uint32_t transport, ConnectionId connection) {
  auto lane = std::make_unique<LaneState>();
  lane->number = number;
  lane->transport = transports_[transport].get();
  lane->transport_index = transport;
  lane->connection = connection;
  lane->operation_bytes = std::min(lane->transport->capabilities().preferred_operation_bytes, most_operation_bytes_);
  LaneState& entry = *lane;
  peer.lanes.push_back(std::move(lane));
  entry.open_deadline = now_ + peer.options.connect_timeout;
  links_[transport].insert_or_assign(connection, Link{.peer = &peer, .lane = &entry});
  return entry;
}

// Which of the permitted transports further lanes go over: the best that is not out of the question yet. Who came decides that,
// and shows it by its lanes.
uint32_t EngineCore::lane_transport(const PeerEntry& peer) const {
  if (!peer.initiator && !peer.data_lanes.empty()) return peer.data_lanes.front()->transport_index;
  return peer.data_choice < peer.for_data.size() ? peer.for_data[peer.data_choice] : peer.control().transport_index;
}

// Once both sides said whether the first lane may carry payload: those that connect by address had their chance. What is
// behind it in the order stands back. False: nothing is left, and the peer is lost.
bool EngineCore::decide_for_data(PeerEntry& peer) {
  const uint32_t first = peer.control().transport_index;
  if (peer.theirs.control_only && !peer.control_only) {
    peer.control_only = true;
    std::erase(peer.for_data, first);
    peer.choices.push_back(fmt::format("{}: the peer accepts payload over {} only", transports_[first]->capabilities().name,
                                       accepted_there(peer)));
  }
  if (!peer.control_only) {
    const auto here = std::find(peer.for_data.begin(), peer.for_data.end(), first);
    for (auto it = here + 1; it != peer.for_data.end(); ++it) {
      if (!transports_[*it]->capabilities().bootstraps) {
        peer.choices.push_back(fmt::format("{}: not used, an earlier choice works", transports_[*it]->capabilities().name));
      }
    }
    peer.for_data.erase(here + 1, peer.for_data.end());
  }
  std::erase_if(peer.for_data, [&](uint32_t index) { return index != first && transports_[index]->capabilities().bootstraps; });
  if (!peer.for_data.empty()) return true;
  lose(peer,
       Status(StatusCode::refused,
              fmt::format("the peer accepts payload over {0} only, which this side was made without or may not use: add such "
                          "a transport, or permit it (TransportPolicy; command: --transport {0})",
                          accepted_there(peer))));
  return false;
}

// False when nothing is left: the peer is lost then.
bool EngineCore::try_next_for_data(PeerEntry& peer, const Status& why) {
  if (peer.data_choice + 1 >= peer.for_data.size()) {
    lose_without_payload(peer, why);
    return false;
  }
  const std::string_view name = transports_[lane_transport(peer)]->capabilities().name;
  peer.choices.push_back(fmt::format("{}: {}", name, why.message()));
  ++peer.data_choice;
  log(LogLevel::warning, fmt::format("peer {}: {}; payload goes over {}", peer.id, peer.choices.back(),
                                     transports_[lane_transport(peer)]->capabilities().name));
  peer.next_lane_open.reset();
  peer.lane_failures = 0;
  peer.last_lane_failure = Status();  // the next transport's are its own
  refresh_data_lanes(peer);
  widen(peer);
  return true;
}

// Of what policy permits for payload nothing works, so that the peer would be of no use.
void EngineCore::lose_without_payload(PeerEntry& peer, const Status& why) {
  peer.choices.push_back(fmt::format("{}: {}", transports_[lane_transport(peer)]->capabilities().name, why.message()));
  lose(peer, Status(why.code() == StatusCode::refused ? StatusCode::refused : StatusCode::unavailable,
                    fmt::format("{}. Policy permits no other transport for payload: make this one work on both sides, or "
                                "permit others (TransportPolicy; command: --transport auto)",
                                peer.choices.back())));
}

// Those that are neither worn nor gone.
size_t EngineCore::count_lanes(const PeerEntry& peer, uint32_t transport) {
  return static_cast<size_t>(std::count_if(peer.lanes.begin(), peer.lanes.end(), [transport](const auto& lane) {
    return !lane->aging && lane->phase != LanePhase::closed && lane->transport_index == transport;
  }));
}

// Of the transport that payload goes over. A first lane that is of another kind is not counted.
uint32_t EngineCore::wanted_lanes(const PeerEntry& peer) const {
  uint32_t wanted = peer.options.lanes;
  if (wanted == 0) wanted = transports_[lane_transport(peer)]->capabilities().usual_lanes;
  if (has_trials(peer)) wanted = peer.trials->count.wanted();
  if (has_trials(peer) && peer.initiator) wanted = std::max(wanted, peer.lanes_asked);
  return std::min(wanted, most_data_lanes(peer));
}

uint32_t EngineCore::most_data_lanes(const PeerEntry& peer) const {
  const uint32_t most = most_lanes(peer);
  const bool apart = lane_transport(peer) != peer.control().transport_index;
  return apart && most > 1 ? most - 1 : most;
}

// Opens as many lanes as the application asked for and the peer allows.
void EngineCore::widen(PeerEntry& peer) {
  const uint32_t transport = lane_transport(peer);
  const uint32_t beside = peer.control().transport_index;
  const auto open_up_to = [&](uint32_t of, uint32_t count) {
    size_t before = SIZE_MAX;
    while (count_lanes(peer, of) < count && may_open_lane(peer) && peer.usable() && before != peer.lanes.size()) {
      before = peer.lanes.size();
      open_lane(peer, of);
    }
  };
  open_up_to(transport, wanted_lanes(peer));
  if (transport != beside) open_up_to(beside, 1);  // a worn control lane is replaced by its like
}

uint32_t EngineCore::most_lanes(const PeerEntry& peer) const {
  return std::min(peer.theirs.max_lanes, options_.max_lanes_per_peer);
}

// Lanes that are being replaced come on top of those that are allowed.
bool EngineCore::has_lane_room(const PeerEntry& peer) const { return peer.lanes.size() < size_t{2} * most_lanes(peer); }

// The peer counts lanes that are being taken away among those that last, until they have ended there.
bool EngineCore::may_open_lane(const PeerEntry& peer) const {
  const auto counted = std::count_if(peer.lanes.begin(), peer.lanes.end(), [](const auto& lane) {
    return lane->surplus ? !lane->over() : !lane->aging && lane->phase != LanePhase::closed;
  });
  const bool leaving = std::any_of(peer.lanes.begin(), peer.lanes.end(), [](const auto& lane) { return lane->surplus; });
  return has_lane_room(peer) && (!leaving || static_cast<size_t>(counted) < most_lanes(peer));
}

// The lane that takes over from those that are worn: the youngest that is not, else, where no further one can be opened before
// another ends, the youngest. Null: none yet.
LaneState* EngineCore::heir(const PeerEntry& peer) const {
  const auto youngest = [&peer](bool worn_too) -> LaneState* {
    const auto found = std::find_if(peer.lanes.rbegin(), peer.lanes.rend(), [&peer, worn_too](const auto& lane) {
      const bool alike = lane->transport_index == peer.control().transport_index;
      return alike && lane->ready && (worn_too || !lane->aging);
    });
    return found != peer.lanes.rend() ? found->get() : nullptr;
  };
  LaneState* fresh = youngest(false);
  return fresh != nullptr || has_lane_room(peer) ? fresh : youngest(true);
}

// Make before break: the new lane is opened first, and what runs on the old one ends there.
void EngineCore::on_aging(PeerEntry& peer, LaneState& lane) {
  lane.aging = true;
  lane.surplus = false;  // nothing keeps it any more, as it may one that is taken away
  log(LogLevel::info, fmt::format("peer {}: the keys of lane {} are to be renewed", peer.id, lane.number));
  if (peer.initiator) widen(peer);
  refresh_data_lanes(peer);
  move_control_if_worn(peer);
  retire_lanes(peer);
}

// Lanes that were replaced end when their last operation did, and once they carry no control messages.
void EngineCore::retire_lanes(PeerEntry& peer) {
  if (!peer.initiator) return;
  const LaneState* takes_over = heir(peer);
  if (takes_over == nullptr) return;
  for (const auto& lane : peer.lanes) {
    if (lane.get() == takes_over || lane->number == peer.control_lane ||
        (peer.move != engine::Move::none && lane->number == peer.move_to))
      continue;
    if (lane->surplus && !may_take_away(peer, *lane)) continue;
    if (lane->aging && lane->operations_outstanding == 0) close_lane(*lane, CloseMode::drain);
  }
}

void EngineCore::open_lane(PeerEntry& peer, uint32_t index) {
  const LaneState& control = peer.control();
  Transport& transport = *transports_[index];
  ConnectOptions options;
  options.address = peer.address;
  options.timeout = peer.options.connect_timeout;
  if (index == control.transport_index) options.beside = control.connection;
  options.protection = peer.options.protection;
  auto endpoint = transport.open(options, now_);
  if (!endpoint) {
    if (!peer.next_lane_open) ++peer.lane_failures;
    log(LogLevel::warning, fmt::format("peer {}: no further lane: {}", peer.id, endpoint.status().message()));
    if (peer.phase == PeerPhase::widening) peer.last_lane_failure = endpoint.status();
    return reopen_later(peer);
  }
  const uint32_t number = peer.next_lane++;
  add_lane(peer, number, index, endpoint->connection);
  set_timer(now_ + peer.options.connect_timeout, Timer{TimerKind::lane, peer.id, number});
  send_control(peer, engine::LaneOpen{number, std::string(transport.capabilities().name), endpoint->bytes});
}

void EngineCore::on_lane_open(PeerEntry& peer, const engine::LaneOpen& message) {
  const auto refuse_lane = [&](std::string reason) { send_control(peer, engine::LaneRefuse{message.lane, std::move(reason)}); };
  if (peer.initiator || message.lane <= peer.highest_lane) {
    return lose(peer, Status(StatusCode::protocol, "the peer opened a lane that it may not open"));
  }
  peer.highest_lane = message.lane;
  if (!peer.usable()) return refuse_lane("the peer is being closed");
  const auto lasting = std::count_if(peer.lanes.begin(), peer.lanes.end(), [](const auto& lane) { return !lane->aging; });
  const size_t most = options_.max_lanes_per_peer;
  if (static_cast<size_t>(lasting) >= most || peer.lanes.size() >= 2 * most)
    return refuse_lane("all lanes that this engine allows are open");
  const auto found = std::find_if(transports_.begin(), transports_.end(),
                                  [&](const auto& transport) { return transport->capabilities().name == message.transport; });
  if (found == transports_.end()) {
    return refuse_lane(
        fmt::format("this engine has no transport {0}: start it with one (command: --transport {0})", message.transport));
  }
  const auto index = static_cast<uint32_t>(found - transports_.begin());
  // One more of the first lane's kind takes over from it when its keys wear out.
  const bool for_control = index == peer.control().transport_index && count_lanes(peer, index) < 2;
  if (!accepts_payload_over(index) && !for_control) {
    return refuse_lane(fmt::format(
        "this engine accepts payload over {} only, not over {} (EngineOptions::accept_policy; command: --transport)",
        accepted_names(), message.transport));
  }
  ConnectOptions options;
  if (found->get() == peer.control().transport) options.beside = peer.control().connection;
  options.timeout = peer.options.connect_timeout;
  options.peer_endpoint = message.endpoint;
  auto endpoint = (*found)->open(options, now_);
  if (!endpoint) return refuse_lane(std::string(endpoint.status().message()));
  if (Status status = (*found)->join(endpoint->connection, message.endpoint, now_); !status.ok()) {
    (*found)->close(endpoint->connection, CloseMode::abort, now_);
    return refuse_lane(std::string(status.message()));
  }
  add_lane(peer, message.lane, index, endpoint->connection);
  set_timer(now_ + peer.options.connect_timeout, Timer{TimerKind::lane, peer.id, message.lane});
  send_control(peer, engine::LaneAccept{message.lane, endpoint->bytes});
}

void EngineCore::on_lane_accept(PeerEntry& peer, const engine::LaneAccept& message) {
  LaneState* lane = peer.lane(message.lane);
  if (lane == nullptr || !peer.initiator) return;  // given up in the meantime
  if (lane->phase != LanePhase::opening || lane->number == 0) return;
  const Status status = transport_of(*lane).join(lane->connection, message.endpoint, now_);
  if (status.ok()) return;
  log(LogLevel::warning, fmt::format("peer {}: lane {}: {}", peer.id, lane->number, status.message()));
  peer.last_lane_failure = status;
  close_lane(*lane, CloseMode::abort);
}

void EngineCore::on_lane_refuse(PeerEntry& peer, const engine::LaneRefuse& message) {
  LaneState* lane = peer.lane(message.lane);
  if (lane == nullptr || !peer.initiator || lane->phase == LanePhase::ready || lane->number == 0) return;
  if (lane->phase != LanePhase::opening) {
    // Given up meanwhile: the peer, which has no such lane, says nothing more of it.
    lane->closed_by_peer = true;
    if (lane->over()) release_parked(peer, *lane);
    return leave_if_idle(peer);
  }
  log(LogLevel::warning, fmt::format("peer {}: lane {} was refused: {}", peer.id, message.lane, message.reason));
  lane->closed_by_peer = true;
  peer.last_lane_failure = Status(StatusCode::refused, fmt::format("the peer refuses: {}", message.reason));
  close_lane(*lane, CloseMode::abort);
}

void EngineCore::on_connected(PeerEntry& peer, LaneState& lane) {
  // Whose endpoint came over the authenticated first lane is who is there.
  PeerIdentity identity =
      lane.transport->capabilities().authenticates ? lane.transport->identity(lane.connection) : peer.identity;
  if (lane.number == 0) {
    peer.identity = std::move(identity);
  } else if (identity.fingerprint != peer.identity.fingerprint) {
    log(LogLevel::error, fmt::format("peer {}: lane {} was opened by another identity ({}, not {}) and is closed", peer.id,
                                     lane.number, identity.fingerprint, peer.identity.fingerprint));
    return close_lane(lane, CloseMode::abort);
  }
  lane.phase = LanePhase::ready;
  lane.ready = true;
  if (lane.number == 0) {
    if (peer.initiator) greet(peer);
    return;
  }
  lane.ready_since = now_;
  if (may_carry_payload(peer, lane)) enter_path(peer, lane);
  refresh_data_lanes(peer);
  if (may_carry_payload(peer, lane)) extend_grants(peer, lane);
  if (!peer.initiator && !peer.data_lanes.empty()) announce_ready(peer);
  if (peer.stand_in && lane.transport_index == lane_transport(peer)) {
    peer.stand_in = false;
    peer.choices.push_back(
        fmt::format("{}: chosen for payload, now that a lane is ready", lane.transport->capabilities().name));
    log(LogLevel::info, fmt::format("peer {}: {}", peer.id, peer.choices.back()));
  }
  settle_lanes(peer, Status());
  move_control_if_worn(peer);
  retire_lanes(peer);
}

// In either direction: what may not has no grants.
bool EngineCore::may_carry_payload(const PeerEntry& peer, const LaneState& lane) {
  return !peer.control_only || lane.transport_index != peer.control().transport_index;
}

bool EngineCore::is_ready_over(const PeerEntry& peer, uint32_t transport) {
  return std::any_of(peer.lanes.begin(), peer.lanes.end(),
                     [transport](const auto& lane) { return lane->ready && lane->transport_index == transport; });
}

// The peer is ready, but the transport chosen for payload is not: what happens meanwhile is told.
void EngineCore::tell_stand_in(PeerEntry& peer) {
  const uint32_t chosen = lane_transport(peer);
  if (!peer.initiator || is_ready_over(peer, chosen)) return;
  const std::string_view meanwhile = peer.data_lanes.front()->transport->capabilities().name;
  peer.stand_in = true;
  peer.choices.push_back(fmt::format("{}: none of its lanes is ready yet, payload goes over {} until one is",
                                     transports_[chosen]->capabilities().name, meanwhile));
  log(LogLevel::warning, fmt::format("peer {}: {}", peer.id, peer.choices.back()));
}

// Called when a lane's opening is decided: on_ready waits for all of the first ones. Without any, the next transport has a try.
void EngineCore::settle_lanes(PeerEntry& peer, const Status& last_failure) {
  const auto undecided = [&peer] {
    return std::any_of(peer.lanes.begin(), peer.lanes.end(),
                       [](const auto& lane) { return lane->phase == LanePhase::opening; });
  };
  while (peer.initiator && peer.phase == PeerPhase::widening && !undecided()) {
    const uint32_t chosen = lane_transport(peer);
    if (is_ready_over(peer, chosen)) {
      if (chosen != peer.control().transport_index)
        peer.choices.push_back(fmt::format("{}: chosen for payload", transports_[chosen]->capabilities().name));
      return announce_ready(peer);
    }
    const Status why = !peer.last_lane_failure.ok() ? peer.last_lane_failure : last_failure;
    if (!try_next_for_data(peer, why.ok() ? Status(StatusCode::unavailable, "its lanes closed before they were ready") : why))
      return;
  }
}

// A lane that carried something, or stood for long, shows that lanes can be had. Others fail, however far they came: one that
// is closed as soon as it stands, for want of a grant say, must not be opened anew five times a second. Lanes that fail side
// by side count as one failure.
void EngineCore::count_failure(PeerEntry& peer, const LaneState& lane) const {
  if (lane.carried || (lane.ready_since && now_ - *lane.ready_since >= options_.peer_timeout)) {
    peer.lane_failures = 0;
  } else if (!lane.aging && !peer.next_lane_open && peer.phase != PeerPhase::widening) {
    ++peer.lane_failures;
  }
}

// The connecting side tries again, after each failure after twice as long.
void EngineCore::reopen_later(PeerEntry& peer) {
  if (!peer.initiator || peer.phase == PeerPhase::widening) return;
  const TimePoint when = now_ + first_reopen_delay * (int64_t{1} << std::min(peer.lane_failures, max_reopen_doublings));
  if (peer.next_lane_open && *peer.next_lane_open <= when) return;
  peer.next_lane_open = when;
  set_timer(*peer.next_lane_open, Timer{TimerKind::lane, peer.id});
}

void EngineCore::close_lane(LaneState& lane, CloseMode mode) {
  if (lane.phase == LanePhase::closing || lane.phase == LanePhase::closed) return;
  lane.phase = LanePhase::closing;
  lane.ready = false;
  lane.transport->close(lane.connection, mode, now_);
}

void EngineCore::on_closed(PeerEntry& peer, LaneState& lane, const Status& status) {
  const bool was_opening = lane.phase == LanePhase::opening;
  lane.phase = LanePhase::closed;
  lane.ready = false;
  leave_path(peer, lane);
  refresh_data_lanes(peer);
  lane_ends_grants(peer, lane);
  if (peer.phase == PeerPhase::losing) return finish_loss_if_quiet(peer);
  park_posted(peer, lane);
  if (lane.number == peer.vital_lane()) {
    if (was_opening && peer.phase == PeerPhase::connecting && !peer.candidates.empty()) {
      peer.choices.push_back(fmt::format("{}: {}", transport_of(lane).capabilities().name, status.message()));
      log(LogLevel::warning, fmt::format("{}: {}", peer.address.to_string(), peer.choices.back()));
      peer.lanes.clear();
      return try_next_transport(peer);
    }
    return lose(peer, status.ok() ? Status(StatusCode::peer_lost, "the peer closed its connection") : status);
  }
  // It used what it was not granted: no other lane of it is to be trusted.
  if (status.code() == StatusCode::refused && !was_opening) return lose(peer, status);
  if (!status.ok()) log(LogLevel::warning, fmt::format("peer {}: lane {} is lost: {}", peer.id, lane.number, status.message()));
  notify_again(peer, lane);
  // Who opened it would only hear that it is gone, and not what to do about it.
  const bool tells_why = was_opening && !peer.initiator && !status.ok();
  if (tells_why) send_control(peer, engine::LaneRefuse{lane.number, fmt::format("its end failed: {}", status.message())});
  send_control(peer, engine::LaneClosed{lane.number, lane.immediates_heard});
  lane.confirm_deadline = now_ + options_.peer_timeout;
  set_timer(*lane.confirm_deadline, Timer{TimerKind::lane, peer.id, lane.number});
  if (was_opening && !status.ok()) peer.last_lane_failure = status;
  count_failure(peer, lane);
  if (!lane.surplus) reopen_later(peer);
  settle_lanes(peer, status);
  if (peer.phase != PeerPhase::losing && lane.over()) release_parked(peer, lane);
  leave_if_idle(peer);  // it may have been the last one to hold a notification that was not confirmed
}

void EngineCore::on_lane_closed_by_peer(PeerEntry& peer, const engine::LaneClosed& message) {
  LaneState* lane = peer.lane(message.lane);
  if (lane == nullptr) return;
  if (message.lane == peer.control_lane)
    return lose(peer, Status(StatusCode::protocol, "the peer closed its control lane while using it"));
  if (message.immediates > lane->immediates.sent())
    return lose(peer, Status(StatusCode::protocol, "the peer heard of writes that were never sent"));
  lane->closed_by_peer = true;
  lane->immediates_heard_by_peer = message.immediates;
  close_lane(*lane, CloseMode::abort);
  if (lane->over()) release_parked(peer, *lane);
  leave_if_idle(peer);
}

// Payload goes over the lanes of one transport: the chosen one, else the one that stands in for it.
void EngineCore::refresh_data_lanes(PeerEntry& peer) {
  peer.data_lanes.clear();
  const auto take = [&peer](auto&& wanted) {
    if (!peer.data_lanes.empty()) return;
    for (const auto& lane : peer.lanes) {
      if (lane->ready && !lane->aging && wanted(*lane)) peer.data_lanes.push_back(lane.get());
    }
  };
  const uint32_t control = peer.lanes.empty() ? 0 : peer.control().transport_index;
  const auto apart = [control](const LaneState& lane) { return lane.transport_index != control; };
  const auto alike = [control, &peer](const LaneState& lane) { return lane.transport_index == control && !peer.control_only; };
  take(apart);
  take(alike);
  if (peer.data_lanes.empty() && !peer.control_only) {
    const LaneState* takes_over = heir(peer);
    for (const auto& lane : peer.lanes) {
      if (lane->ready && (takes_over == nullptr || lane.get() == takes_over)) peer.data_lanes.push_back(lane.get());
    }
  }
  // Who asked for so many uses the oldest of them: the others are about to be taken away, or the peer's own.
  const bool asked = !peer.initiator && peer.lanes_asked != 0 && has_trials(peer);
  if (asked && peer.data_lanes.size() > peer.lanes_asked) peer.data_lanes.resize(peer.lanes_asked);
  if (!peer.data_lanes.empty()) {
    peer.stranded_since.reset();
  } else if (!peer.stranded_since) {
    peer.stranded_since = now_;
  }
  refresh_gate(peer);
}

// Timed work on lanes: those that never opened, those whose end the peer never confirmed, those to be replaced.
void EngineCore::check_lanes(PeerEntry& peer) {
  if (!peer.usable()) return;
  for (const auto& lane : peer.lanes) {
    if (lane->phase == LanePhase::closed && lane->confirm_deadline && *lane->confirm_deadline <= now_ &&
        !lane->closed_by_peer) {
      return lose(peer,
                  Status(StatusCode::peer_lost, fmt::format("the peer did not confirm the end of lane {}", lane->number)));
    }
  }
  for (const auto& lane : peer.lanes) {
    if (lane->number == 0 || lane->phase != LanePhase::opening || lane->open_deadline > now_) continue;
    peer.last_lane_failure = Status(StatusCode::unavailable, "its lanes were not ready within the connect timeout");
    close_lane(*lane, CloseMode::abort);
  }
  if (peer.next_lane_open && *peer.next_lane_open <= now_) {
    peer.next_lane_open.reset();
    widen(peer);
  }
}

}  // namespace haul::detail
