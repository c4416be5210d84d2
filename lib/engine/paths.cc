// Congestion control of a peer's paths: who controls, what controllers are told, and what they say to the scheduler.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <utility>

#include "engine/core.h"
#include "haul/lane_memory.h"
#include "haul/lane_steering.h"

namespace haul::detail {

using congestion::OperationPath;
using congestion::PathLimit;
using congestion::SampledPath;
using engine::PathState;

namespace {

constexpr std::string_view for_wan = "hub";
// Completions are the clock of what is posted next: smaller operations tick more often, larger ones cost less. Some two dozen
// of 64 KiB fit into a queue of 1.6 MB; where only a few do, a controller that wants a few in the queue can't keep it short.
constexpr uint32_t controlled_operation_bytes = 64U << 10;
// So many operations tell the round trip well enough.
constexpr uint64_t measured_operations = 8;
// Of a lane whose window the engine keeps for all of them: no bound of its own, and far from overflow.
constexpr uint64_t no_window = uint64_t{1} << 62;
constexpr std::array<std::string_view, 2> directions{"out", "in"};

bool is_off(const CongestionPolicy& policy) { return !policy.make && policy.controller == "off"; }
bool is_automatic(const CongestionPolicy& policy) { return !policy.make && policy.controller == "automatic"; }

template <typename Path>
PathStats stats_of(const Path& path, std::string_view transport) {
  PathStats stats;
  stats.transport = transport;
  stats.controller = "none";
  stats.in_flight_bytes = path.in_flight_bytes();
  if (path.rtt().known()) {
    stats.rtt_smoothed = path.rtt().smoothed();
    stats.rtt_min = path.rtt().lowest();
  }
  if (const CongestionController* controller = path.controller()) {
    stats.controller = controller->name();
    stats.phase = controller->phase();
    stats.window_bytes = controller->window_bytes();
    stats.rate_bytes_s = controller->pacing_rate();
  }
  return stats;
}

bool steerable(const LaneState& lane) {
  const LaneSteering* steering = lane.transport->steering();
  return steering != nullptr && steering->steerable(lane.connection);
}

/// For people, behind what the controller says.
std::string explain_form(const PathStats& path) {
  if (path.steers == "operations") return {};
  if (path.steers == "pacing") return "; it steers the pacing over the backend's own congestion control";
  return fmt::format("; it steers {}, obeyed by {} of {} lanes",
                     path.steers == "mixed" ? "window and pacing, of some lanes only the pacing" : "window and pacing",
                     path.lanes_obeying, path.lanes);
}

std::string_view form_of(const SampledPath& path) {
  if (path.steered_lanes() == 0) return "pacing";
  return path.steered_lanes() == path.lanes() ? "window and pacing" : "mixed";
}

std::string_view name_of(PathLimit limit) {
  switch (limit) {
    case PathLimit::nothing_to_send: return "nothing to send";
    case PathLimit::window: return "window";
    case PathLimit::pacing: return "pacing";
    case PathLimit::backend: return "lanes";
    case PathLimit::budget: return "budget";
  }
  return "unknown";
}

/// A path that carries the payload of what we start waits for our own rates, too.
std::string_view limit_of(const PeerEntry& peer, const PathState& path) {
  const bool carries = !peer.data_lanes.empty() && peer.data_lanes.front()->transport_index == path.transport_index;
  const SampledPath& sampled = *path.sampled;
  if (carries && peer.gate && peer.gate->held_by[static_cast<size_t>(Op::write)] != nullptr) return "budget";
  if (sampled.app_limited()) return "nothing to send";
  const CongestionController* controller = sampled.controller();
  if (controller == nullptr) return name_of(PathLimit::backend);
  if (sampled.held_back()) return name_of(PathLimit::backend);
  const uint64_t in_flight = sampled.in_flight_bytes();
  return in_flight + in_flight / 8 >= controller->window_bytes() ? "window" : "pacing";
}

}  // namespace

Status EngineCore::check_congestion(const CongestionPolicy& policy, std::string_view whose) {
  if (policy.make || is_off(policy) || is_automatic(policy)) return {};
  auto made = congestion::make(policy.controller, ControllerOptions());
  if (made) return {};
  return Status(StatusCode::invalid, fmt::format("{}: {}; also \"off\" and \"automatic\"", whose, made.status().message()));
}

const CongestionPolicy& EngineCore::congestion_policy(const PeerEntry& peer) const {
  return peer.options.congestion ? *peer.options.congestion : options_.congestion;
}

PathState* EngineCore::find_path(const PeerEntry& peer, uint32_t transport) {
  const auto found = std::find_if(peer.paths.begin(), peer.paths.end(),
                                  [transport](const auto& path) { return path->transport_index == transport; });
  return found != peer.paths.end() ? found->get() : nullptr;
}

// A lane is there, and with the first one over its transport a path.
void EngineCore::enter_path(PeerEntry& peer, LaneState& lane) {
  const CongestionPolicy& policy = congestion_policy(peer);
  const Acknowledgements source = lane.transport->capabilities().acknowledged_by;
  if (source == Acknowledgements::own) return recall_path(peer, lane);
  if (is_off(policy)) return;
  PathState* path = find_path(peer, lane.transport_index);
  if (path == nullptr) {
    path = peer.paths.emplace_back(std::make_unique<PathState>()).get();
    path->transport_index = lane.transport_index;
    if (source == Acknowledgements::samples) {
      path->sampled = std::make_unique<SampledPath>();
    } else {
      for (auto& each : path->operations) each = std::make_unique<OperationPath>(controlled_operation_bytes);
    }
    controlled_ = true;
    if (!is_automatic(policy)) steer(peer, *path, policy.controller, "by policy");
  }
  if (path->sampled) path->sampled->add_lane(lane.number, steerable(lane));
  if (!path->operations[0]) return;
  lane.operation_bytes = std::min(lane.operation_bytes, controlled_operation_bytes);
  if (path->decided) lane.transport->set_limits(lane.connection, Limits{.window_bytes = no_window, .rate_bytes_s = {}});
}

// The backend's controller is one a lane: the first gets what is remembered, and the last one to end says what is from then on.
void EngineCore::recall_path(const PeerEntry& peer, LaneState& lane) {
  LaneMemory* memory = lane.transport->lane_memory();
  if (memory == nullptr) return;
  lane.memory_name = path_name(peer, lane.transport_index, directions[0]);
  const auto remembered = path_memories_.start(lane.memory_name);
  lane.given_memory = remembered.has_value();
  if (remembered) memory->recall(lane.connection, *remembered);
}

void EngineCore::leave_path(const PeerEntry& peer, LaneState& lane) {
  if (const std::string name = std::exchange(lane.memory_name, {}); !name.empty()) {
    path_memories_.ended(name, lane.given_memory, lane.transport->lane_memory()->lesson(lane.connection));
    save_memories();
  }
  const PathState* path = find_path(peer, lane.transport_index);
  if (path != nullptr && path->sampled) path->sampled->remove_lane(lane.number);
}

std::string EngineCore::path_name(const PeerEntry& peer, uint32_t transport, std::string_view direction) const {
  return engine::path_name(peer.identity, peer.initiator ? peer.address.to_string() : std::string(),
                           transports_[transport]->capabilities().name, direction);
}

std::unique_ptr<CongestionController> EngineCore::make_controller(const PeerEntry& peer, PathState& path, size_t direction,
                                                                  std::string_view name) {
  const CongestionPolicy& policy = congestion_policy(peer);
  ControllerOptions options;
  path.memory_names[direction] = path_name(peer, path.transport_index, directions[direction]);
  options.memory = path_memories_.start(path.memory_names[direction]);
  path.given_memory[direction] = options.memory.has_value();
  if (path.operations[0]) options.packet_bytes = controlled_operation_bytes;
  if (policy.make) return policy.make(options);
  auto made = congestion::make(name, options);  // the name was checked when it was set
  return made ? std::move(made).value() : nullptr;
}

void EngineCore::steer(PeerEntry& peer, PathState& path, std::string_view name, std::string_view why) {
  constexpr std::string_view none = "CongestionPolicy::make made no controller";
  path.decided = true;
  if (path.sampled) {
    auto controller = make_controller(peer, path, 0, name);
    if (!controller) return leave_uncontrolled(peer, path, none);
    path.verdict = fmt::format("{} ({})", controller->name(), why);
    return path.sampled->steer_by(std::move(controller));
  }
  for (size_t i = 0; i < path.operations.size(); ++i) {
    auto controller = make_controller(peer, path, i, name);
    if (!controller) return leave_uncontrolled(peer, path, none);
    path.verdict = fmt::format("{} ({})", controller->name(), why);
    path.operations[i]->steer_by(std::move(controller));
  }
  for (const auto& lane : peer.lanes) {
    if (lane->ready && lane->transport_index == path.transport_index)
      lane->transport->set_limits(lane->connection, Limits{.window_bytes = no_window, .rate_bytes_s = {}});
  }
}

// Its controllers are not needed any more. A second call does nothing.
void EngineCore::remember_path(PathState& path) {
  const auto remember = [&](size_t direction, const CongestionController* controller) {
    const std::string name = std::exchange(path.memory_names.at(direction), {});
    path_memories_.ended(name, path.given_memory.at(direction), controller);
  };
  if (path.sampled) return remember(0, path.sampled->controller());
  for (size_t i = 0; i < path.operations.size(); ++i)
    remember(i, path.operations[i] ? path.operations[i]->controller() : nullptr);
}

void EngineCore::remember_paths(PeerEntry& peer) {
  for (const auto& path : peer.paths) remember_path(*path);
}

// What all paths of a connection taught is written together, and what comes within a second of that, after it.
void EngineCore::save_memories() {
  if (!path_memories_.save_soon() || save_pending_) return;
  save_pending_ = true;
  set_timer(now_ + std::chrono::seconds(1), Timer{TimerKind::save_paths});
}

// As without a policy. Operations that are under way hold tickets of nothing then, which are ignored.
void EngineCore::leave_uncontrolled(PeerEntry& peer, PathState& path, std::string_view why) {
  path.decided = true;
  remember_path(path);
  path.operations = {};
  path.sampled.reset();
  path.verdict = fmt::format("nobody but the backend ({})", why);
  for (const auto& lane : peer.lanes) {
    if (lane->transport_index != path.transport_index) continue;
    lane->operation_bytes = std::min(lane->transport->capabilities().preferred_operation_bytes, most_operation_bytes_);
  }
  refresh_gate(peer);
}

// The lowest round trip, once there is enough to tell.
std::optional<Duration> EngineCore::measured_rtt(const PeerEntry& peer, const PathState& path) {
  std::optional<Duration> lowest;
  const auto take = [&lowest](const std::optional<Duration>& rtt) {
    if (rtt && (!lowest || *rtt < *lowest)) lowest = rtt;
  };
  uint64_t arrived = 0;
  for (const auto& each : path.operations) {
    if (!each || !each->rtt().known()) continue;
    arrived += each->arrived_operations();
    take(each->rtt().lowest());
  }
  if (!path.sampled && arrived < measured_operations) return std::nullopt;
  for (const auto& lane : peer.lanes) {
    // What an operation took includes its own length: the control lane's kernel, where it has measured, is asked too.
    const bool counts = lane->transport_index == path.transport_index || lane->number == peer.control_lane;
    if (lane->ready && counts) take(lane->transport->sample(lane->connection).rtt_min);
  }
  return lowest;
}

// `automatic`, once the round trip is known.
void EngineCore::decide_path(PeerEntry& peer, PathState& path) {
  const auto lowest = measured_rtt(peer, path);
  if (!lowest) return;
  const auto us = *lowest / std::chrono::microseconds(1);
  if (*lowest < engine::rack_rtt) {
    return leave_uncontrolled(peer, path, fmt::format("automatic: a round trip of {} us is a rack's", us));
  }
  steer(peer, path, for_wan, fmt::format("automatic: the lowest round trip is {} us", us));
  log(LogLevel::info, fmt::format("peer {}: congestion control over {}: {}", peer.id,
                                  transports_[path.transport_index]->capabilities().name, path.verdict));
}

// A few times a round trip.
void EngineCore::take_samples(const PeerEntry& peer, const PathState& path) {
  if (!path.sampled->due(now_)) return;
  const auto each_lane = [&](auto&& call) {
    for (const auto& lane : peer.lanes) {
      if (lane->ready && lane->transport_index == path.transport_index) call(*lane);
    }
  };
  each_lane([&](const LaneState& lane) {
    std::optional<LaneReport> report;
    if (path.sampled->steered(lane.number)) report = lane.transport->steering()->take_report(lane.connection);
    path.sampled->take(lane.number, lane.transport->sample(lane.connection), report);
  });
  path.sampled->settle(now_);
  each_lane([&](const LaneState& lane) {
    if (const auto limits = path.sampled->command(lane.number)) command_lane(peer, lane, *path.sampled, *limits);
  });
}

void EngineCore::command_lane(const PeerEntry& peer, const LaneState& lane, SampledPath& path, const Limits& limits) {
  if (!path.steered(lane.number)) return lane.transport->set_limits(lane.connection, limits);
  const Status status =
      lane.transport->steering()->steer(lane.connection, limits.path_bytes.value_or(0), limits.rate_bytes_s, path.validity());
  if (status.ok()) return;
  log(LogLevel::warning,
      fmt::format("peer {}: lane {} can't be steered any more, and is paced only: {}", peer.id, lane.number, status.message()));
  path.stop_steering(lane.number);
}

void EngineCore::tend_paths(PeerEntry& peer) {
  for (const auto& path : peer.paths) {
    if (!path->decided) decide_path(peer, *path);
    if (path->sampled) take_samples(peer, *path);
  }
}

// Of what has ended controllers hear before anything else is posted.
void EngineCore::settle_operations(const PeerEntry& peer) {
  for (const auto& path : peer.paths) {
    for (const auto& each : path->operations) {
      if (each) each->settle();
    }
  }
}

// Once a round, before anything is posted: what controllers learn of the last one, and who has nothing to post.
void EngineCore::tend_peers() {
  controlled_ = false;
  for (const auto& [id, peer] : peers_) {
    tend_paths(*peer);
    settle_operations(*peer);
    controlled_ |= peer->controlled();
    if (!peer->gate || !peer->scheduler.empty()) continue;
    peer->gate->forget();
    tell_unused(*peer);
  }
}

// After the transports were asked what ended: what lies in a completion queue while we are late is no silence. The number of
// paths that may probe now.
size_t EngineCore::notice_silence() {
  size_t count = 0;
  for (const auto& [id, peer] : peers_) {
    for (const auto& path : peer->paths) {
      for (const auto& each : path->operations) count += each && each->notice_silence(now_) ? 1 : 0;
    }
  }
  return count;
}

void EngineCore::end_ticket(const PeerEntry& peer, const LaneState& lane, transfer::OperationRecord& record,
                            OperationPath::End end) {
  const OperationPath::Ticket ticket = std::exchange(record.ticket, 0);
  const PathState* path = find_path(peer, lane.transport_index);
  if (path == nullptr) return;
  const auto& operations = path->operations.at(static_cast<size_t>(record.transfer->op));
  if (operations) operations->ended(now_, ticket, end);
}

OperationPath::End EngineCore::end_of(const Status& status) {
  switch (status.code()) {
    case StatusCode::ok:
    case StatusCode::corrupt: return OperationPath::End::arrived;
    case StatusCode::peer_lost:
    case StatusCode::unavailable: return OperationPath::End::lost;
    default: return OperationPath::End::withdrawn;
  }
}

std::optional<TimePoint> EngineCore::paths_deadline() const {
  std::optional<TimePoint> next;
  const auto take = [&next](std::optional<TimePoint> deadline) {
    if (deadline && (!next || *deadline < *next)) next = deadline;
  };
  for (const auto& [id, peer] : peers_) {
    const bool waiting = !peer->scheduler.empty();
    if (waiting && peer->gate && peer->gate->held()) take(peer->budget->ready_at(now_, peer->gate->held_priority));
    for (const auto& path : peer->paths) {
      for (size_t i = 0; i < path->operations.size(); ++i) {
        const OperationPath* each = path->operations[i].get();
        // A path that nobody asks, since its lanes are gone, would name the time of a turn that nobody takes.
        const bool asked = waiting && peer->gate && peer->gate->paths[i] == each && peer->gate->full[i];
        if (each != nullptr) take(each->deadline(asked));
      }
      if (path->sampled) take(path->sampled->deadline());
    }
  }
  return next;
}

std::vector<PathStats> EngineCore::path_stats(const PeerEntry& peer) const {
  std::vector<PathStats> all;
  for (const auto& path : peer.paths) {
    const std::string_view transport = transports_[path->transport_index]->capabilities().name;
    for (size_t i = 0; i < path->operations.size(); ++i) {
      if (!path->operations[i]) continue;
      PathStats& stats = all.emplace_back(stats_of(*path->operations[i], transport));
      stats.direction = directions[i];
      stats.steers = "operations";
      stats.limited_by = name_of(path->operations[i]->limit());
    }
    if (!path->sampled) continue;
    PathStats& stats = all.emplace_back(stats_of(*path->sampled, transport));
    stats.direction = directions[0];
    stats.steers = form_of(*path->sampled);
    stats.lanes = path->sampled->lanes();
    stats.lanes_obeying = path->sampled->obeying_lanes();
    stats.limited_by = limit_of(peer, *path);
  }
  return all;
}

std::string EngineCore::explain_paths(const PeerEntry& peer) const {
  std::string text;
  for (const auto& path : peer.paths) {
    text += fmt::format("  congestion control over {}: {}\n", transports_[path->transport_index]->capabilities().name,
                        path->decided ? path->verdict : "automatic, not decided before the round trip is known");
  }
  for (const PathStats& path : path_stats(peer)) {
    const auto us = [](const std::optional<Duration>& time) {
      return time.value_or(Duration::zero()) / std::chrono::microseconds(1);
    };
    text += fmt::format("    {} {}: {} {}, window {} bytes, {} in flight, {}, round trip {} us (lowest {}), limited by {}{}\n",
                        path.transport, path.direction, path.controller, path.phase, path.window_bytes, path.in_flight_bytes,
                        path.rate_bytes_s ? fmt::format("paced at {} bytes/s", *path.rate_bytes_s) : "not paced",
                        us(path.rtt_smoothed), us(path.rtt_min), path.limited_by, explain_form(path));
  }
  return text;
}

}  // namespace haul::detail
