// As many lanes as bring something, where the application leaves their number to the engine: looking at them a few times a
// second while bytes go out, adding one more or some, and taking away those that bring nothing. Each side tries for what it
// sends; who may open none asks the other side for them.
#include <fmt/format.h>

#include <algorithm>

#include "engine/core.h"

namespace haul::detail {

using congestion::LaneCount;
using engine::LanePhase;
using engine::LaneTrials;
using engine::PeerPhase;

namespace {

// So long may operations of the peer's keep a lane that was taken away. Then they are repeated over others.
constexpr Duration longest_farewell = std::chrono::seconds(5);

bool carries(const LaneState& lane, const LaneTrials& trials) {
  return lane.ready && !lane.aging && lane.transport_index == trials.transport_index;
}

/// Whether more waits than the lane takes. What a kernel's send buffer holds is all under way where that buffer is the limit.
bool has_work(const PathSample& sample, bool held) {
  return held || !sample.app_limited || sample.bytes_unsent > sample.bytes_in_flight + sample.bytes_in_flight / 4;
}

/// Adds what the lane did since the look before. `used`: this side posts on it.
void note_lane(LaneTrials& trials, LaneTrials::Window& window, const LaneState& lane, bool used, Duration since_last) {
  const PathSample sample = lane.transport->sample(lane.connection);
  const bool known = trials.lanes.contains(lane.number);
  LaneTrials::Seen& seen = trials.lanes[lane.number];
  const Duration limited = sample.limited_by_buffers.value_or(Duration::zero());
  const bool held = known && 2 * (limited - seen.limited) > since_last;
  const bool works = has_work(sample, held);
  if (known && sample.bytes_delivered > seen.delivered) window.delivered += sample.bytes_delivered - seen.delivered;
  if (used && carries(lane, trials)) {
    ++window.lanes;
    window.had_work += works && seen.had_work ? 1 : 0;
    window.held += held ? 1 : 0;
  }
  if (sample.rtt_min && (window.lowest_rtt == Duration::zero() || *sample.rtt_min < window.lowest_rtt))
    window.lowest_rtt = *sample.rtt_min;
  if (sample.rtt_smoothed) window.rtt = std::max(window.rtt.value_or(Duration::zero()), *sample.rtt_smoothed);
  seen.quiet = known && sample.bytes_received == seen.received && sample.bytes_unsent == 0;
  seen.delivered = sample.bytes_delivered;
  seen.received = sample.bytes_received;
  seen.limited = limited;
  seen.had_work = works;
}

// One more is one more flow, unless a controller of ours divides one flow's window and rate among them and they obey (RFC 9743,
// section 5.2: what is deployed must not harm others). A pace over the kernel's algorithm bounds them only where that algorithm
// would send more. So without one that they obey they are added only where each stays below what the path would give it: held
// back by its own buffers.
bool may_add(const LaneTrials& trials, const LaneTrials::Window& window) {
  // Within a rack one lane fills the link, or the processor is what is short: several without a controller are for longer ways.
  return trials.steered || (window.lowest_rtt >= engine::rack_rtt && 2 * window.held > window.lanes);
}

std::string_view name_of(LaneCount::Outcome outcome) {
  switch (outcome) {
    case LaneCount::Outcome::kept: return "kept";
    case LaneCount::Outcome::taken_back: return "taken back";
    case LaneCount::Outcome::not_enough: return "void, too little was to be sent";
    case LaneCount::Outcome::not_opened: return "given up, they were not ready in time";
    case LaneCount::Outcome::lane_lost: return "void, a lane was lost";
    case LaneCount::Outcome::not_allowed: return "taken back, the path was what limited them";
    case LaneCount::Outcome::shed: return "taken away, the path is what limits them";
  }
  return "unknown";
}

std::string text_of(const LaneCount::Trial& trial) {
  std::string text = fmt::format("{} instead of {}: {}", trial.to, trial.from, name_of(trial.outcome));
  if (trial.before_bytes_s > 0 && trial.after_bytes_s > 0) {
    text += fmt::format(" ({:.1f} MB/s, {:.1f} before)", trial.after_bytes_s * 1e-6, trial.before_bytes_s * 1e-6);
  }
  return text;
}

}  // namespace

// Where the side that connected, which opens them, leaves their number open.
bool EngineCore::tries_lanes(const PeerEntry& peer) const {
  const bool left_open = peer.initiator ? peer.options.lanes == 0 : (peer.theirs.features & engine::feature_lanes_wanted) != 0;
  if (!left_open || !peer.usable()) return false;
  return transports_[lane_transport(peer)]->capabilities().acknowledged_by == Acknowledgements::samples;
}

bool EngineCore::has_trials(const PeerEntry& peer) const {
  return tries_lanes(peer) && peer.trials && peer.trials->transport_index == lane_transport(peer);
}

// At the end of a window; without bytes that go out, whenever the peer is looked after.
void EngineCore::look_at_lanes(PeerEntry& peer) {
  if (!tries_lanes(peer) || peer.phase != PeerPhase::ready) return;
  const uint32_t over = lane_transport(peer);
  if (!peer.trials || peer.trials->transport_index != over) {
    const bool pending = peer.trials && peer.trials->look_pending;
    peer.trials = std::make_unique<LaneTrials>(over, transports_[over]->capabilities().usual_lanes);
    peer.trials->look_pending = pending;
  }
  LaneTrials& trials = *peer.trials;
  LaneTrials::Window window;
  for (const auto& lane : peer.lanes) {
    if (!lane->ready || lane->transport_index != over) continue;
    const auto& data = peer.data_lanes;
    const bool used = peer.initiator || std::find(data.begin(), data.end(), lane.get()) != data.end();
    note_lane(trials, window, *lane, used, now_ - trials.looked_at);
  }
  std::erase_if(trials.lanes, [&peer](const auto& seen) { return peer.lane(seen.first) == nullptr; });
  trials.looked_at = now_;
  const engine::PathState* path = find_path(peer, over);
  trials.steered = path != nullptr && path->sampled && path->sampled->is_one_flow();
  trials.may_add = may_add(trials, window);
  const uint32_t before = trials.count.wanted();
  trials.count.look(now_, {.delivered_bytes = window.delivered,
                           .busy = window.lanes > 0 && 2 * window.had_work >= window.lanes,
                           .may_add = trials.may_add,
                           .ready = window.lanes,
                           .most = most_data_lanes(peer)});
  // What could not be opened, and is not wanted any more, makes nothing else wait.
  const auto& last = trials.count.last_trial();
  const bool given_up = trials.count.wanted() < before && last && last->outcome == LaneCount::Outcome::not_opened;
  if (given_up) peer.lane_failures = 0;
  fit_lanes(peer);
  const bool leaving = std::any_of(peer.lanes.begin(), peer.lanes.end(), [](const auto& lane) { return lane->surplus; });
  if (leaving) retire_lanes(peer);
  const bool goes_on = window.delivered > 0 || trials.count.state() != "watching" || leaving;
  if (!goes_on || trials.look_pending) return;
  trials.look_pending = true;
  set_timer(now_ + LaneCount::window(window.rtt), Timer{TimerKind::lane_look, peer.id});
}

// As many as are wanted now. Lanes that were lost are reopened as ever.
void EngineCore::fit_lanes(PeerEntry& peer) {
  if (!peer.initiator) return ask_for_lanes(peer);
  const size_t wanted = wanted_lanes(peer);
  const size_t lanes = count_lanes(peer, peer.trials->transport_index);
  if (lanes > wanted) return take_away_lanes(peer, lanes - wanted);
  if (lanes == wanted) return;
  const size_t kept = keep_leaving_lanes(peer, wanted - lanes);
  if (lanes + kept < wanted && !peer.next_lane_open) widen(peer);
}

void EngineCore::ask_for_lanes(PeerEntry& peer) {
  const LaneCount& count = peer.trials->count;
  const uint32_t there = peer.lanes_asked != 0 ? peer.lanes_asked : count.usual();
  if (count.wanted() == there) return;
  peer.lanes_asked = count.wanted();
  send_control(peer, engine::LanesWanted{count.wanted()});
  refresh_data_lanes(peer);
}

// Heeded at the next look, so that nobody makes us open and close lanes at his own pace, and within what this side allows.
void EngineCore::on_lanes_wanted(PeerEntry& peer, const engine::LanesWanted& message) {
  if (!peer.initiator || peer.options.lanes != 0)
    return lose(peer, Status(StatusCode::protocol, "the peer asked for lanes, whose number is not its to choose"));
  peer.lanes_asked = message.count;
  if (!peer.trials || peer.trials->look_pending) return;
  peer.trials->look_pending = true;
  set_timer(now_ + LaneCount::window({}), Timer{TimerKind::lane_look, peer.id});
}

// Lanes that are being taken away and did not end yet are had at once. Returns how many.
size_t EngineCore::keep_leaving_lanes(PeerEntry& peer, size_t count) {
  size_t kept = 0;
  for (const auto& lane : peer.lanes) {
    if (kept == count) break;
    if (!lane->surplus || !lane->ready || lane->transport_index != peer.trials->transport_index) continue;
    lane->aging = lane->surplus = false;
    peer.trials->lanes[lane->number].surplus.reset();
    ++kept;
    log(LogLevel::info, fmt::format("peer {}: lane {} stays", peer.id, lane->number));
  }
  if (kept > 0) refresh_data_lanes(peer);
  return kept;
}

// The youngest first; never the one with the control messages. From now on they get nothing new.
void EngineCore::take_away_lanes(PeerEntry& peer, size_t count) {
  for (auto it = peer.lanes.rbegin(); it != peer.lanes.rend() && count > 0; ++it) {
    LaneState& lane = **it;
    const bool vital = lane.number == peer.control_lane || lane.number == peer.vital_lane() ||
                       (peer.move != engine::Move::none && lane.number == peer.move_to);
    if (vital || lane.aging || lane.transport_index != peer.trials->transport_index) continue;
    if (lane.phase != LanePhase::ready && lane.phase != LanePhase::opening) continue;
    lane.aging = lane.surplus = true;
    --count;
    log(LogLevel::info, fmt::format("peer {}: lane {} is taken away: {}", peer.id, lane.number,
                                    peer.trials->count.last_trial() ? text_of(*peer.trials->count.last_trial()) : "too many"));
    if (lane.phase == LanePhase::opening) {
      close_lane(lane, CloseMode::abort);
    } else {
      peer.trials->lanes[lane.number].surplus = now_;
      peer.trials->lanes[lane.number].quiet = false;
    }
  }
  refresh_data_lanes(peer);
}

// The peer does not know that it should use the lane no more: it ends between two operations of the peer's, too, if it can.
bool EngineCore::may_take_away(const PeerEntry& peer, const LaneState& lane) {
  if (!peer.trials) return true;
  const auto found = peer.trials->lanes.find(lane.number);
  if (found == peer.trials->lanes.end() || !found->second.surplus) return true;
  return found->second.quiet || peer.trials->looked_at - *found->second.surplus >= longest_farewell;
}

std::string EngineCore::explain_lanes(const PeerEntry& peer) const {
  if (!peer.usable() || (!peer.initiator && !has_trials(peer))) return {};
  const std::string_view over = transports_[lane_transport(peer)]->capabilities().name;
  const uint32_t wanted = wanted_lanes(peer);
  if (peer.options.lanes != 0) return fmt::format("  lanes over {}: {}, as asked for\n", over, wanted);
  if (!has_trials(peer)) return fmt::format("  lanes over {}: {}, what it does best with\n", over, wanted);
  const LaneTrials& trials = *peer.trials;
  const engine::PathState* path = find_path(peer, trials.transport_index);
  const bool paced = path != nullptr && path->sampled && path->sampled->controller() != nullptr;
  std::string_view why = paced ? "none is added: beneath the controller's pace each would be one more flow on the path"
                               : "none is added: without a controller of ours each would be one more flow on the path";
  if (trials.steered) {
    why = "they share the controller's window and rate";
  } else if (trials.may_add) {
    why = "each is held back by its buffers, not by the path";
  }
  std::string text = fmt::format("  lanes over {}: {}, by what they bring (at first {}), {}; {}", over, wanted,
                                 trials.count.usual(), trials.count.state(), why);
  if (peer.initiator && peer.lanes_asked > trials.count.wanted())
    text += fmt::format("; the peer asks for {}, for what it sends", peer.lanes_asked);
  if (trials.count.last_trial()) text += fmt::format("; last trial: {}", text_of(*trials.count.last_trial()));
  return text + "\n";
}

}  // namespace haul::detail
