// The engine's inside. One class, a file a topic: core.cc (loop), connect.cc (peers come), lanes.cc, lane_trials.cc,
// control_lane.cc, grants.cc, transfers.cc, device_memory.cc, operations.cc (completions), paths.cc (congestion control),
// rates.cc (rates of one's own, turns), messages.cc, loss.cc (peers go), explain.cc.
#pragma once

#include <atomic>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <unordered_map>
#include <variant>
#include <vector>

#include "base/unique_fd.h"
#include "engine/codec.h"
#include "engine/path_memory.h"
#include "engine/peer_entry.h"
#include "engine/policy.h"
#include "engine/spin.h"
#include "engine/tenants.h"
#include "haul/engine.h"
#include "memory/registration.h"
#include "transfer/state.h"

namespace haul::detail {

using engine::LaneState;
using engine::PeerEntry;

class EngineCore {
 public:
  static Result<std::unique_ptr<EngineCore>> create(EngineOptions options, std::vector<std::unique_ptr<Transport>> transports);
  ~EngineCore();

  // The public face forwards to these; see haul/engine.h, haul/peer.h and haul/transfer.h for their meaning.
  Result<Buffer> allocate(uint64_t bytes);
  Result<Buffer> register_memory(std::span<std::byte> memory, MemoryKind kind);
  Result<Address> listen(const Address& address);
  Result<Peer> connect(const Address& address, PeerOptions options);
  size_t poll();
  size_t wait(Duration limit);
  int wakeup_fd() const noexcept { return epoll_fd_.get(); }
  void wake() noexcept;
  void limit_rate(std::optional<uint64_t> bytes_s);
  void limit_peer_rate(uint64_t peer, std::optional<uint64_t> bytes_s);
  Status limit_tenant(std::string_view name, std::optional<uint64_t> bytes_s);
  Status set_tenant(uint64_t peer, std::string_view name);
  std::optional<TimePoint> next_deadline() const;
  uint64_t incarnation() const noexcept { return incarnation_; }
  std::vector<Peer> peers();
  EngineStats stats() const;
  std::string explain() const;

  PeerState peer_state(uint64_t peer) const noexcept;
  Status peer_status(uint64_t peer) const;
  std::string peer_name(uint64_t peer) const;
  PeerIdentity peer_identity(uint64_t peer) const;
  Transfer start(uint64_t peer, Op op, std::span<const Piece> pieces, TransferOptions options);
  /// A transfer that no engine can run: over, and told so within the call.
  static Transfer start_nowhere(Op op, const TransferOptions& options);
  Status send_message(uint64_t peer, std::span<const std::byte> message);
  Result<RemoteBuffer> grant(uint64_t peer, Slice slice, Rights rights, const GrantOptions& options);
  Status revoke(uint64_t peer, const RemoteBuffer& granted, std::function<void()> on_revoked);
  void close_peer(uint64_t peer, bool graceful);
  std::string explain_peer(uint64_t peer) const;
  PeerStats peer_stats(uint64_t peer) const;
  void cancel(TransferState& transfer);
  std::string waiting_for(const TransferState& transfer) const;

 private:
  /// Where an event's connection belongs.
  struct Link {
    PeerEntry* peer = nullptr;  // null: accepted, not introduced yet
    LaneState* lane = nullptr;
    TimePoint deadline{};       // of an introduction
    std::string fingerprint{};  // of who is not introduced yet
    bool refused = false;       // not introduced, and sent away: whatever else it says comes too late
  };
  using Links = std::unordered_map<ConnectionId, Link>;

  enum class TimerKind : uint8_t {
    introduction,
    accepting,
    connecting,
    grant_expiry,
    revocation,
    lane,
    lane_look,
    leaving,
    draining,
    check,
    save_paths
  };
  struct Timer {
    TimerKind kind;
    uint64_t first = 0;   // transport or peer
    uint64_t second = 0;  // connection, grant or lane
  };
  using Transfers = std::unordered_map<uint64_t, std::shared_ptr<TransferState>>;
  /// A completion to tell the application, at a moment when it may call anything.
  using Deferred = std::variant<Transfers::node_type, std::function<void()>>;

  EngineCore(EngineOptions options, std::vector<std::unique_ptr<Transport>> transports);
  Status open_descriptors();
  Status take_credentials();
  Status take_accept_policy();

  // core.cc: the loop.
  size_t run(NextPoll next);
  bool round(NextPoll next, size_t& handled);
  size_t poll_transport(uint32_t transport, NextPoll next);
  void dispatch(uint32_t transport, const Event& event);
  size_t run_schedulers();
  size_t run_deferred();
  size_t run_timers();
  void fire(const Timer& timer);
  void set_timer(TimePoint when, Timer timer) { timers_.emplace(when, timer); }
  void arm_timer_fd();
  void block(Duration limit);
  void take_wake();
  void log(LogLevel level, std::string_view text) const;

  // connect.cc: peers come.
  void try_next_transport(PeerEntry& peer);
  void on_accepted(uint32_t transport, const Event& event);
  void on_unidentified_message(uint32_t transport, ConnectionId connection, std::span<const std::byte> payload);
  void refuse(uint32_t transport, ConnectionId connection, StatusCode code, const std::string& reason);
  void greet(PeerEntry& peer);
  void on_hello(PeerEntry& peer, engine::Hello hello);
  void become_ready(PeerEntry& peer);
  void announce_ready(PeerEntry& peer);
  bool accepts_payload_over(uint32_t transport) const;
  std::string accepted_names() const;
  void admit_payload(PeerEntry& peer);
  void check_accepted(PeerEntry& peer);
  void send_away(PeerEntry& peer);
  engine::Hello our_hello(const PeerEntry& peer) const;
  PeerEntry& add_peer();
  size_t connections_of(std::string_view fingerprint) const;
  std::string security_line() const;
  static std::string lanes_line(const PeerEntry& peer);
  Status check_security(const Address& address, std::string_view what) const;

  // lanes.cc: more connections to a peer.
  uint32_t lane_transport(const PeerEntry& peer) const;
  bool decide_for_data(PeerEntry& peer);
  bool try_next_for_data(PeerEntry& peer, const Status& why);
  void lose_without_payload(PeerEntry& peer, const Status& why);
  void open_lane(PeerEntry& peer, uint32_t index);
  void on_lane_open(PeerEntry& peer, const engine::LaneOpen& message);
  void on_lane_accept(PeerEntry& peer, const engine::LaneAccept& message);
  void on_lane_refuse(PeerEntry& peer, const engine::LaneRefuse& message);
  void on_lane_closed_by_peer(PeerEntry& peer, const engine::LaneClosed& message);
  void on_connected(PeerEntry& peer, LaneState& lane);
  void on_closed(PeerEntry& peer, LaneState& lane, const Status& status);
  LaneState& add_lane(PeerEntry& peer, uint32_t number, uint32_t transport, ConnectionId connection);
  void close_lane(LaneState& lane, CloseMode mode);
  void settle_lanes(PeerEntry& peer, const Status& last_failure);
  static bool may_carry_payload(const PeerEntry& peer, const LaneState& lane);
  static bool is_ready_over(const PeerEntry& peer, uint32_t transport);
  void tell_stand_in(PeerEntry& peer);
  void reopen_later(PeerEntry& peer);
  void refresh_data_lanes(PeerEntry& peer);
  void count_failure(PeerEntry& peer, const LaneState& lane) const;
  void widen(PeerEntry& peer);
  static size_t count_lanes(const PeerEntry& peer, uint32_t transport);
  uint32_t wanted_lanes(const PeerEntry& peer) const;
  void on_aging(PeerEntry& peer, LaneState& lane);
  void retire_lanes(PeerEntry& peer);
  uint32_t most_lanes(const PeerEntry& peer) const;
  uint32_t most_data_lanes(const PeerEntry& peer) const;
  bool has_lane_room(const PeerEntry& peer) const;
  bool may_open_lane(const PeerEntry& peer) const;
  LaneState* heir(const PeerEntry& peer) const;

  // lane_trials.cc: as many lanes as bring something, where their number is left to us.
  bool tries_lanes(const PeerEntry& peer) const;
  bool has_trials(const PeerEntry& peer) const;
  void look_at_lanes(PeerEntry& peer);
  void fit_lanes(PeerEntry& peer);
  void ask_for_lanes(PeerEntry& peer);
  void on_lanes_wanted(PeerEntry& peer, const engine::LanesWanted& message);
  void take_away_lanes(PeerEntry& peer, size_t count);
  size_t keep_leaving_lanes(PeerEntry& peer, size_t count);
  static bool may_take_away(const PeerEntry& peer, const LaneState& lane);
  std::string explain_lanes(const PeerEntry& peer) const;

  // control_lane.cc
  void move_control_if_worn(PeerEntry& peer);
  void on_control_move(PeerEntry& peer, const engine::ControlMove& message);
  void on_control_moved(PeerEntry& peer, const engine::ControlMoved& message);

  // grants.cc
  void on_grant_made(PeerEntry& peer, const engine::GrantMade& message);
  void on_grant_extended(PeerEntry& peer, const engine::GrantExtended& message);
  void on_grant_revoked(PeerEntry& peer, uint64_t id);
  void on_revoked(PeerEntry& peer, LaneState& lane, uint64_t transport_grant);
  void start_revoking(PeerEntry& peer, memory::MadeGrant& grant);
  void finish_revoking_if_quiet(PeerEntry& peer, uint64_t id);
  void extend_grants(PeerEntry& peer, LaneState& lane);
  void lane_ends_grants(PeerEntry& peer, LaneState& lane);
  Status grant_on_lanes(PeerEntry& peer, memory::MadeGrant& grant, std::vector<engine::GrantRegion>& regions);
  void close_without_grant(PeerEntry& peer, LaneState& lane, uint64_t grant, const Status& why);
  Status grant_on_lane(PeerEntry& peer, LaneState& lane, memory::MadeGrant& grant, RemoteRegion& region);

  // device_memory.cc
  void tell_unchecked();
  static Status no_lane_for_device_memory();
  static bool has_lane_for(const PeerEntry& peer, const transfer::PlannedPiece& piece);
  void check_device_transfers(PeerEntry& peer);

  // transfers.cc
  Status plan(PeerEntry& peer, TransferState& transfer, std::span<const Piece> pieces) const;
  Status plan_piece(PeerEntry& peer, TransferState& transfer, const Piece& piece) const;
  Status resolve(PeerEntry& peer, TransferState& transfer);
  Status admit(const PeerEntry& peer, const TransferOptions& options) const;
  std::shared_ptr<TransferState> new_transfer();
  void retire(Transfers::node_type transfer);
  void activate(PeerEntry& peer, TransferState& transfer);
  void end_early(PeerEntry& peer, TransferState& transfer, Status status);
  void finish_if_over(PeerEntry& peer, TransferState& transfer);
  void finish(PeerEntry* peer, TransferState& transfer, Status status);
  void on_all_posted(PeerEntry& peer, TransferState& transfer);
  void send_notification(PeerEntry& peer, TransferState& transfer, uint32_t count);
  bool notify_beside_payload(PeerEntry& peer, const TransferState& transfer, const engine::Notify& message);
  void notify_again(PeerEntry& peer, const LaneState& lane);
  static bool may_be_immediate(const PeerEntry& peer, const TransferState& transfer);
  void set_transfer_timer(TransferState& transfer, TimePoint when);
  void clear_transfer_timer(TransferState& transfer);
  void on_transfer_timer(TransferState& transfer);
  std::vector<std::shared_ptr<TransferState>> transfers_of(const PeerEntry& peer) const;

  // operations.cc
  void on_landed(PeerEntry& peer, LaneState& lane, const Event& event);
  void on_immediate(PeerEntry& peer, LaneState& lane, const Event& event);
  void settle_immediates(PeerEntry& peer, const LaneState& lane);
  void on_completed(PeerEntry& peer, LaneState& lane, const Event& event);
  void conclude(PeerEntry& peer, transfer::OperationRecord& record, const Status& status);
  void repeat_or_fail(PeerEntry& peer, transfer::OperationRecord& record, const Status& status);
  void drop_operation(transfer::OperationRecord& record);
  void drop_unposted(TransferState& transfer);
  void park_posted(PeerEntry& peer, LaneState& lane);
  void release_parked(PeerEntry& peer, LaneState& lane);
  void on_verify(PeerEntry& peer, const engine::Verify& message);
  void on_verified(PeerEntry& peer, const engine::Verified& message);

  // paths.cc
  static Status check_congestion(const CongestionPolicy& policy, std::string_view whose);
  const CongestionPolicy& congestion_policy(const PeerEntry& peer) const;
  static engine::PathState* find_path(const PeerEntry& peer, uint32_t transport);
  void enter_path(PeerEntry& peer, LaneState& lane);
  void leave_path(const PeerEntry& peer, LaneState& lane);
  void recall_path(const PeerEntry& peer, LaneState& lane);
  std::string path_name(const PeerEntry& peer, uint32_t transport, std::string_view direction) const;
  std::unique_ptr<CongestionController> make_controller(const PeerEntry& peer, engine::PathState& path, size_t direction,
                                                        std::string_view name);
  void remember_path(engine::PathState& path);
  void remember_paths(PeerEntry& peer);
  void save_memories();
  static std::optional<Duration> measured_rtt(const PeerEntry& peer, const engine::PathState& path);
  void take_samples(const PeerEntry& peer, const engine::PathState& path);
  void command_lane(const PeerEntry& peer, const LaneState& lane, congestion::SampledPath& path, const Limits& limits);
  void steer(PeerEntry& peer, engine::PathState& path, std::string_view name, std::string_view why);
  void leave_uncontrolled(PeerEntry& peer, engine::PathState& path, std::string_view why);
  void decide_path(PeerEntry& peer, engine::PathState& path);
  void tend_paths(PeerEntry& peer);
  static void settle_operations(const PeerEntry& peer);
  void tend_peers();
  size_t notice_silence();
  void end_ticket(const PeerEntry& peer, const LaneState& lane, transfer::OperationRecord& record,
                  congestion::OperationPath::End end);
  static congestion::OperationPath::End end_of(const Status& status);
  std::optional<TimePoint> paths_deadline() const;
  std::vector<PathStats> path_stats(const PeerEntry& peer) const;
  std::string explain_paths(const PeerEntry& peer) const;

  // rates.cc
  static void enter_tenant(PeerEntry& peer, engine::Tenant& tenant);
  void leave_tenant(PeerEntry& peer);
  void refresh_gate(PeerEntry& peer);
  void settle_place(PeerEntry& peer);
  void take_turns();
  void charge(PeerEntry& peer, uint64_t bytes);
  size_t run_controlled();
  size_t post_controlled(PeerEntry& peer);
  static void tell_unused(PeerEntry& peer);
  std::string congestion_line() const;
  std::string explain_rates(const PeerEntry& peer) const;
  std::string explain_tenants() const;
  void tell_rates(const PeerEntry& peer, PeerStats& stats) const;

  // messages.cc
  void send_control(PeerEntry& peer, const engine::Control& message);
  void flush_control(PeerEntry& peer);
  void on_message(PeerEntry& peer, const LaneState& lane, std::span<const std::byte> payload);
  void confirm(PeerEntry& peer, const LaneState& lane, uint64_t serial);
  void handle(PeerEntry& peer, const engine::Control& message);
  void deliver(PeerEntry& peer, std::span<const std::byte> payload, bool notification);
  void deliver_early(uint64_t peer);
  void check_landings(PeerEntry& peer);

  // loss.cc: peers go.
  void lose(PeerEntry& peer, Status why, CloseMode mode = CloseMode::abort);
  void finish_loss_if_quiet(PeerEntry& peer);
  void leave_if_idle(PeerEntry& peer);
  bool immediates_are_settled(PeerEntry& peer);
  void check_peers();
  void check_life(PeerEntry& peer);
  void check_lanes(PeerEntry& peer);

  PeerEntry* find_peer(uint64_t peer) const;
  Transport& transport_of(const LaneState& lane) const { return *transports_[lane.transport_index]; }

  EngineOptions options_;
  const Clock* clock_;
  std::shared_ptr<const SecurityContext> security_;  // null: no credentials
  uint64_t incarnation_ = 0;
  TimePoint now_;  // of the current poll(), or of the current call

  base::UniqueFd epoll_fd_;
  base::UniqueFd wake_fd_;
  base::UniqueFd timer_fd_;
  std::optional<TimePoint> timer_armed_;
  std::atomic<bool> woken_ = false;
  bool was_woken_ = false;
  engine::AdaptiveSpin spin_;

  // Destroyed in reverse: memory registrations end before their transports.
  std::vector<std::unique_ptr<Transport>> transports_;
  memory::MemoryTable memory_;
  engine::Candidates accepted_;  // for peers that come

  std::vector<Links> links_;   // by transport
  std::vector<Event> events_;  // of one poll of one transport; kept, since making so many anew takes a microsecond
  size_t unidentified_ = 0;
  std::unordered_map<uint64_t, std::unique_ptr<PeerEntry>> peers_;
  std::vector<uint64_t> dead_peers_;  // to be erased at the end of the poll
  std::deque<std::pair<uint64_t, Status>> obituaries_;
  uint64_t next_peer_ = 1;

  transfer::OperationPool operations_;
  Transfers transfers_;
  std::vector<Transfers::node_type> spare_transfers_;  // of what is over: the next ones take no memory
  uint64_t next_transfer_ = 1;
  uint64_t next_grant_ = 1;

  std::multimap<TimePoint, Timer> timers_;
  std::set<std::pair<TimePoint, uint64_t>> transfer_timers_;
  std::deque<Deferred> deferred_;
  std::vector<TransferState*> all_posted_;
  congestion::Budget link_budget_;  // what all peers share
  congestion::Turns link_turns_;    // … in these turns, and tenants, too
  engine::Tenants tenants_;
  engine::PathMemories path_memories_;
  std::vector<PeerEntry*> in_turn_;  // of one run; kept, as events_ is
  bool controlled_ = false;          // some peer is
  bool told_unchecked_ = false;      // that device memory goes without checksums
  bool check_pending_ = false;
  bool save_pending_ = false;
  bool in_callback_ = false;
  bool shutting_down_ = false;
  std::vector<std::string> listening_;
  EngineStats stats_;
  uint32_t most_operation_bytes_ = UINT32_MAX;  // that every transport takes, so that lanes over any can stand in for others
};

}  // namespace haul::detail
