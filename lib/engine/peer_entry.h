// One peer, as its engine sees it.
#pragma once

#include <algorithm>
#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "congestion/turns.h"
#include "engine/codec.h"
#include "engine/lane_trials.h"
#include "engine/path_state.h"
#include "engine/tenants.h"
#include "haul/peer.h"
#include "memory/grants.h"
#include "schedule/scheduler.h"
#include "transfer/landing.h"
#include "transfer/state.h"

namespace haul::engine {

enum class LanePhase : uint8_t {
  opening,  ///< until the transport says `connected`
  ready,
  closing,  ///< we closed it and wait for `closed`
  closed,   ///< our end is gone
};

struct LaneState : schedule::Lane {
  LanePhase phase = LanePhase::opening;
  TimePoint open_deadline;  // phase opening
  bool aging = false;       // it is being replaced, or
  bool surplus = false;     // taken away: aging, and nothing replaces it
  bool carried = false;     // something went over it
  std::optional<TimePoint> ready_since;
  bool closed_by_peer = false;                    // LaneClosed came: nothing of ours can land there any more
  uint64_t immediates_heard = 0;                  // of the peer's
  uint64_t immediates_heard_by_peer = 0;          // of ours; known once closed_by_peer
  std::optional<TimePoint> confirm_deadline;      // phase closed: by then the peer must have said so
  std::unordered_map<uint64_t, uint64_t> grants;  // the transport's grant id -> ours
  std::string memory_name;                        // of a backend with controllers of its own: what is remembered of the path
  bool given_memory = false;

  bool over() const noexcept { return phase == LanePhase::closed && closed_by_peer; }
};

enum class PeerPhase : uint8_t {
  connecting,  ///< the first lane
  greeting,    ///< hello sent
  widening,    ///< ready, but the lanes asked for are not all decided: on_ready waits
  ready,
  leaving,  ///< close(): running transfers end first
  losing,   ///< all lanes are being closed; nothing new
};

/// How far control messages are on their way from one lane to another.
enum class Move : uint8_t {
  none,
  asked,   ///< the side that connected moves, and waits for the other side's word
  agreed,  ///< the other side moves too, and waits for the first message on the new lane
};

struct PeerEntry {
  uint64_t id = 0;
  bool initiator = false;
  PeerPhase phase = PeerPhase::connecting;
  Address address;
  PeerOptions options;
  std::vector<uint32_t> candidates;  // transports left to try for the first lane, while connecting
  std::vector<uint32_t> for_data;    // those that policy permits for payload, the best first; only the connecting side's
  size_t data_choice = 0;            // of them: which further lanes are opened over
  bool control_only = false;         // no payload goes over the first lane
  std::vector<std::string> choices;  // for explain(): why each transport was or was not chosen
  TimePoint connect_deadline;

  Hello theirs;
  PeerIdentity identity;                          // proved on the first lane
  std::vector<std::unique_ptr<LaneState>> lanes;  // never empty once connecting; one carries control messages
  std::vector<schedule::Lane*> data_lanes;        // those that the scheduler may use
  uint32_t next_lane = 1;                         // of those that we open
  uint32_t highest_lane = 0;                      // of those that the peer opened
  uint32_t lane_failures = 0;  // lanes in a row that ended, or could not be opened, before they carried anything
  Status last_lane_failure;    // while widening
  std::optional<TimePoint> next_lane_open;
  std::unique_ptr<LaneTrials> trials;       // where the number of lanes is left to us
  uint32_t lanes_asked = 0;                 // by the side that came, of the one that opens them; 0: none yet
  std::optional<TimePoint> stranded_since;  // no lane that payload may use is ready

  struct EarlyMessage {
    std::vector<std::byte> payload;
    bool notification = false;
  };
  std::deque<EarlyMessage> early;  // came before the peer was ready; delivered behind that word

  uint32_t control_lane = 0;                         // the number of the lane that control messages are sent on
  std::deque<std::vector<std::byte>> control_queue;  // waiting for the transport to take them
  Move move = Move::none;
  uint32_t move_to = 0;
  size_t before_move = 0;  // so many of the queue still go over the old lane; the others wait for the new one

  memory::GrantBook grants;
  schedule::Scheduler scheduler;
  std::vector<std::unique_ptr<PathState>> paths;  // those that may be controlled
  Tenant* tenant = nullptr;                       // null: none
  std::optional<congestion::Budget> budget;       // inside its tenant's, or the engine's
  congestion::Turns::Place place;                 // among those that share that one
  std::optional<schedule::Gate> gate;             // of the data lanes; absent: nothing bounds them but their backend
  transfer::LandingTracker landings;
  base::IntrusiveList<detail::TransferState, transfer::InPeer> transfers;
  uint64_t next_notify_serial = 1;
  uint64_t open_notifications = 0;
  struct SentNotification {
    memory::LaneNumber lane = 0;
    std::vector<std::byte> message;
  };
  std::unordered_map<uint64_t, SentNotification> unconfirmed;  // by serial: went over a lane that may die without its peer

  uint64_t progress = 0;  // last seen sign of life
  TimePoint progress_at;
  bool heard = false;  // an event of the peer's making came since the last check
  std::optional<uint64_t> ping_outstanding;
  uint64_t next_ping = 1;

  std::optional<TimePoint> leave_deadline;
  Status why_lost;         // phase losing
  bool stand_in = false;   // it became ready before the transport chosen for payload was: explain() says so
  bool announced = false;  // on_ready or on_peer was called with success: on_peer_closed is owed

  /// Whether anything bounds it, or measures whether something should.
  bool controlled() const noexcept {
    return gate || std::any_of(paths.begin(), paths.end(), [](const auto& path) { return path->controlled(); });
  }
  bool usable() const noexcept { return phase == PeerPhase::ready || phase == PeerPhase::widening; }
  LaneState& control() const { return *lane(control_lane); }
  /// The lane that control messages come by, and whose end is the end of the peer.
  uint32_t vital_lane() const noexcept { return move == Move::agreed ? move_to : control_lane; }
  LaneState* lane(memory::LaneNumber number) const {
    for (const auto& lane : lanes) {
      if (lane->number == number) return lane.get();
    }
    return nullptr;
  }
};

}  // namespace haul::engine
