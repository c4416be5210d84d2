// The loop: take the time once, post, receive, run timers, tell the application.
#include "engine/core.h"

#include <fmt/format.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <ctime>

#include "base/check.h"
#include "base/random.h"
#include "security/context.h"

namespace haul::detail {

namespace {

constexpr size_t event_batch = 128;

// One poll() must end although events never do.
constexpr int max_rounds = 4;

Status check_options(const EngineOptions& options, size_t transports) {
  const auto invalid = [](std::string what) { return Status(StatusCode::invalid, "engine options: " + std::move(what)); };
  if (transports == 0) return invalid("at least one transport is needed");
  if (options.name.size() > engine::max_name_bytes) return invalid("the name is longer than 64 bytes");
  if (options.keepalive <= Duration::zero() || options.peer_timeout <= Duration::zero())
    return invalid("times must be positive");
  if (options.keepalive * 2 > options.peer_timeout) return invalid("keepalive must be at most half of peer_timeout");
  if (options.max_lanes_per_peer == 0 || options.max_lanes_per_peer > 64) return invalid("max_lanes_per_peer is 1 to 64");
  if (options.max_message_bytes == 0 || options.max_message_bytes > 8192) return invalid("max_message_bytes is 1 to 8192");
  if (options.max_peers_per_identity == 0) return invalid("max_peers_per_identity is at least 1");
  if (options.max_attempts == 0) return invalid("max_attempts is at least 1");
  if (!options.credentials.empty() && options.security == SecurityPolicy::insecure) {
    return invalid("credentials and the insecure policy contradict each other: leave one of them out");
  }
  return {};
}

// Whether an event by itself shows that the peer's engine lives. Of completions on_completed() knows; the others are made on
// our side alone.
bool comes_from_peer(Event::Kind kind) {
  return kind == Event::Kind::connected || kind == Event::Kind::landed || kind == Event::Kind::immediate ||
         kind == Event::Kind::message;
}

TimePoint later(TimePoint now, Duration by) { return by < TimePoint::max() - now ? now + by : TimePoint::max(); }

// Shutting down must not hang on a transport that never reports `closed`.
constexpr int shutdown_polls = 2000;

}  // namespace

Result<std::unique_ptr<EngineCore>> EngineCore::create(EngineOptions options,
                                                       std::vector<std::unique_ptr<Transport>> transports) {
  if (Status status = check_options(options, transports.size()); !status.ok()) return status;
  if (Status status = check_congestion(options.congestion, "EngineOptions::congestion"); !status.ok()) return status;
  std::unique_ptr<EngineCore> core(new EngineCore(std::move(options), std::move(transports)));
  if (Status status = core->open_descriptors(); !status.ok()) return status;
  if (Status status = core->take_credentials(); !status.ok()) return status;
  if (Status status = core->take_accept_policy(); !status.ok()) return status;
  if (const std::string& file = core->options_.remembered_paths_file; !file.empty()) {
    if (Status status = core->path_memories_.load(file); !status.ok()) return status;
  }
  if (core->options_.security == SecurityPolicy::insecure) {
    core->log(LogLevel::warning, "policy `insecure`: peers are not authenticated and data is not encrypted");
  }
  return core;
}

EngineCore::EngineCore(EngineOptions options, std::vector<std::unique_ptr<Transport>> transports)
    : options_(std::move(options)),
      clock_(options_.clock != nullptr ? options_.clock : &system_clock()),
      incarnation_(options_.seed != 0 ? base::Random(options_.seed).next() : base::system_random_u64()),
      now_(clock_->now()),
      spin_(options_.spin),
      transports_(std::move(transports)),
      links_(transports_.size()),
      events_(event_batch),
      link_budget_({.rate_bytes_s = options_.rate_limit_bytes_s}, now_),
      tenants_(link_budget_, link_turns_, options_.max_tenants),
      path_memories_(options_.wall_clock_s) {
  for (const auto& transport : transports_)
    most_operation_bytes_ = std::min(most_operation_bytes_, transport->capabilities().max_operation_bytes);
}

EngineCore::~EngineCore() {
  now_ = clock_->now();
  shutting_down_ = true;
  for (auto& [id, peer] : peers_) {
    if (peer->phase != engine::PeerPhase::losing) lose(*peer, Status(StatusCode::peer_lost, "the engine was destroyed"));
  }
  for (uint32_t i = 0; i < transports_.size(); ++i) {
    for (const auto& [connection, link] : links_[i]) transports_[i]->close(connection, CloseMode::abort, now_);
  }
  const auto open = [this] {
    return std::any_of(links_.begin(), links_.end(), [](const Links& links) { return !links.empty(); });
  };
  for (int i = 0; i < shutdown_polls && open(); ++i) {
    for (uint32_t transport = 0; transport < transports_.size(); ++transport) poll_transport(transport, NextPoll::when_woken);
    if (i > 2 && open()) {
      epoll_event ignored{};
      epoll_wait(epoll_fd_.get(), &ignored, 1, 1);
    }
  }
  for (auto& [id, peer] : peers_) remember_paths(*peer);
  if (const Status saved = path_memories_.save(); !saved.ok()) log(LogLevel::warning, saved.message());
  while (!transfers_.empty()) {
    TransferState& transfer = *transfers_.begin()->second;
    drop_unposted(transfer);
    while (auto* record = transfer.outstanding.front()) drop_operation(*record);
    if (static_cast<base::ListLink<transfer::InPeer>&>(transfer).linked()) {
      PeerEntry& peer = *peers_.at(transfer.peer);
      peer.scheduler.leave(transfer);
      peer.transfers.remove(transfer);
    }
    transfer.phase = transfer::Phase::done;
    transfer.status = Status(StatusCode::peer_lost, "the engine was destroyed");
    deferred_.emplace_back(transfers_.extract(transfers_.begin()));
  }
  // Callbacks are dropped, not called, also where a handle keeps the transfer: what they hold must not outlive the engine.
  for (auto& entry : deferred_) {
    auto* transfer = std::get_if<Transfers::node_type>(&entry);
    if (transfer == nullptr) continue;
    transfer->mapped()->core = nullptr;
    const TransferCallback dropped = std::move(transfer->mapped()->on_done);
  }
}

Status EngineCore::open_descriptors() {
  epoll_fd_.reset(epoll_create1(EPOLL_CLOEXEC));
  wake_fd_.reset(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  timer_fd_.reset(timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK));
  if (!epoll_fd_ || !wake_fd_ || !timer_fd_) {
    return Status::from_errno(StatusCode::exhausted, errno, "cannot create the engine's descriptors (see ulimit -n)");
  }
  std::vector<int> watched{wake_fd_.get(), timer_fd_.get()};
  for (const auto& transport : transports_) {
    if (transport->wakeup_fd() >= 0) watched.push_back(transport->wakeup_fd());
  }
  for (const int fd : watched) {
    epoll_event interest{};
    interest.events = EPOLLIN;
    interest.data.fd = fd;
    if (epoll_ctl(epoll_fd_.get(), EPOLL_CTL_ADD, fd, &interest) != 0) {
      return Status::from_errno(StatusCode::exhausted, errno, "cannot watch the engine's descriptors");
    }
  }
  return {};
}

Status EngineCore::take_credentials() {
  if (options_.credentials.empty()) return {};
  auto loaded = SecurityContext::load(options_.credentials);
  if (!loaded) return loaded.status();
  security_ = std::move(*loaded);
  for (const auto& transport : transports_) {
    if (Status status = transport->secure(security_, options_.protection); !status.ok()) {
      return Status(status.code(), fmt::format("transport {}: {}", transport->capabilities().name, status.message()));
    }
  }
  return {};
}

Status EngineCore::take_accept_policy() {
  auto found = engine::accepted_candidates(options_.accept_policy, transports_);
  if (!found) return found.status();
  accepted_ = std::move(*found);
  for (const std::string& name : options_.accept_policy.prefer) {
    if (engine::has_transport(transports_, name)) continue;
    log(LogLevel::warning,
        fmt::format("EngineOptions::accept_policy prefers transport {}, and the engine is made without it", name));
  }
  return {};
}

Result<Buffer> EngineCore::allocate(uint64_t bytes) {
  auto registration = memory_.allocate(bytes, transports_);
  if (!registration) return registration.status();
  return Buffer(std::move(*registration));
}

Result<Buffer> EngineCore::register_memory(std::span<std::byte> memory, MemoryKind kind) {
  auto registration = memory_.adopt(memory, kind, transports_);
  if (!registration) return registration.status();
  if (kind == MemoryKind::device) tell_unchecked();
  return Buffer(std::move(*registration));
}

size_t EngineCore::poll() {
  const size_t handled = run(NextPoll::when_woken);
  if (handled == 0) arm_timer_fd();
  return handled;
}

size_t EngineCore::run(NextPoll next) {
  base::check(!in_callback_, "Engine::poll() was called from a callback");
  now_ = clock_->now();
  if (woken_.load(std::memory_order_acquire)) take_wake();
  size_t handled = 0;
  for (int i = 0; i < max_rounds && round(next, handled); ++i) continue;
  for (const uint64_t id : dead_peers_) {
    if (PeerEntry* peer = find_peer(id)) leave_tenant(*peer);
    peers_.erase(id);
  }
  dead_peers_.clear();
  return handled;
}

bool EngineCore::round(NextPoll next, size_t& handled) {
  const size_t before = handled;
  if (controlled_) tend_peers();
  run_schedulers();
  for (uint32_t i = 0; i < transports_.size(); ++i) {
    const size_t events = poll_transport(i, next);
    // What they made ready leaves before anything else is looked at.
    if (events > 0) run_schedulers();
    handled += events;
  }
  handled += run_timers();
  if (controlled_) handled += notice_silence();
  handled += run_deferred();
  return handled > before;
}

size_t EngineCore::poll_transport(uint32_t transport, NextPoll next) {
  const size_t count = transports_[transport]->poll(now_, next, events_);
  for (size_t i = 0; i < count; ++i) dispatch(transport, events_[i]);
  return count;
}

void EngineCore::dispatch(uint32_t transport, const Event& event) {
  if (event.kind == Event::Kind::accepted) return on_accepted(transport, event);
  const auto found = links_[transport].find(event.connection);
  if (found == links_[transport].end()) return;
  if (found->second.peer == nullptr) {
    if (event.kind == Event::Kind::message) on_unidentified_message(transport, event.connection, event.payload);
    if (event.kind == Event::Kind::closed) {
      links_[transport].erase(found);
      --unidentified_;
    }
    return;
  }
  PeerEntry& peer = *found->second.peer;
  LaneState& lane = *found->second.lane;
  if (comes_from_peer(event.kind)) peer.heard = true;
  switch (event.kind) {
    case Event::Kind::accepted: break;
    case Event::Kind::connected: return on_connected(peer, lane);
    case Event::Kind::landed: return on_landed(peer, lane, event);
    case Event::Kind::immediate: return on_immediate(peer, lane, event);
    case Event::Kind::completed: return on_completed(peer, lane, event);
    case Event::Kind::revoked: return on_revoked(peer, lane, event.id);
    case Event::Kind::message: return on_message(peer, lane, event.payload);
    case Event::Kind::aging: return on_aging(peer, lane);
    case Event::Kind::writable: lane.blocked = false; return flush_control(peer);
    case Event::Kind::closed: links_[transport].erase(found); return on_closed(peer, lane, event.status);
  }
}

size_t EngineCore::run_schedulers() {
  if (controlled_) return run_controlled();
  size_t posted = 0;
  for (auto& [id, peer] : peers_) {
    if (peer->scheduler.empty()) continue;
    posted += peer->scheduler.run(peer->data_lanes, operations_, now_, all_posted_);
    for (TransferState* transfer : all_posted_) on_all_posted(*peer, *transfer);
    all_posted_.clear();
  }
  return posted;
}

size_t EngineCore::run_deferred() {
  size_t count = 0;
  in_callback_ = true;
  // What callbacks defer in turn waits for the next round, so that a chain of callbacks cannot starve the network.
  for (size_t left = deferred_.size(); left > 0; --left, ++count) {
    Deferred entry = std::move(deferred_.front());
    deferred_.pop_front();
    if (auto* call = std::get_if<std::function<void()>>(&entry)) {
      (*call)();
      continue;
    }
    auto& transfer = std::get<Transfers::node_type>(entry);
    {
      const TransferCallback on_done = std::move(transfer.mapped()->on_done);
      on_done(TransferResult{transfer.mapped()->status, transfer.mapped()->bytes_done});
    }
    retire(std::move(transfer));
  }
  in_callback_ = false;
  return count;
}

size_t EngineCore::run_timers() {
  size_t count = 0;
  while (!timers_.empty() && timers_.begin()->first <= now_) {
    const Timer timer = timers_.begin()->second;
    timers_.erase(timers_.begin());
    fire(timer);
    ++count;
  }
  while (!transfer_timers_.empty() && transfer_timers_.begin()->first <= now_) {
    const std::shared_ptr<TransferState> transfer = transfers_.at(transfer_timers_.begin()->second);
    clear_transfer_timer(*transfer);
    on_transfer_timer(*transfer);
    ++count;
  }
  return count;
}

// Timers are not taken back when what they watch is over: each looks whether its matter still stands.
void EngineCore::fire(const Timer& timer) {
  PeerEntry* peer = find_peer(timer.first);
  switch (timer.kind) {
    case TimerKind::introduction: {
      const auto found = links_[timer.first].find(timer.second);
      if (found != links_[timer.first].end() && found->second.peer == nullptr) {
        transports_[timer.first]->close(timer.second, CloseMode::abort, now_);
      }
      return;
    }
    case TimerKind::accepting:
      if (peer != nullptr) check_accepted(*peer);
      return;
    case TimerKind::connecting:
      if (peer == nullptr || peer->connect_deadline > now_) return;
      if (peer->phase == engine::PeerPhase::widening) {
        if (!peer->data_lanes.empty()) return announce_ready(*peer);
        return lose_without_payload(*peer,
                                    Status(StatusCode::unavailable, "its lanes were not ready within the connect timeout"));
      }
      if (peer->phase == engine::PeerPhase::connecting || peer->phase == engine::PeerPhase::greeting) {
        lose(*peer, Status(StatusCode::unavailable,
                           fmt::format("{} did not answer within the connect timeout", peer->address.to_string())));
      }
      return;
    case TimerKind::grant_expiry:
      if (peer == nullptr) return;
      if (const auto grant = peer->grants.made.find(timer.second); grant != peer->grants.made.end())
        start_revoking(*peer, grant->second);
      return;
    case TimerKind::revocation:
      if (peer == nullptr) return;
      if (const auto grant = peer->grants.made.find(timer.second); grant != peer->grants.made.end()) {
        for (const auto& entry : grant->second.lanes) {
          if (LaneState* lane = peer->lane(entry.lane); lane != nullptr && !entry.revoked) close_lane(*lane, CloseMode::abort);
        }
      }
      return;
    case TimerKind::lane:
      if (peer != nullptr) check_lanes(*peer);
      return;
    case TimerKind::lane_look:
      if (peer != nullptr && peer->trials) {
        peer->trials->look_pending = false;
        look_at_lanes(*peer);
      }
      return;
    case TimerKind::leaving:
      if (peer != nullptr && peer->phase == engine::PeerPhase::leaving) {
        lose(*peer, Status(StatusCode::peer_lost, "closed before its transfers were over"));
      }
      return;
    case TimerKind::draining:
      if (peer == nullptr) return;
      for (const auto& lane : peer->lanes) lane->transport->close(lane->connection, CloseMode::abort, now_);
      return;
    case TimerKind::save_paths: save_pending_ = false; return save_memories();
    case TimerKind::check: check_pending_ = false; return check_peers();
  }
}

std::optional<TimePoint> EngineCore::next_deadline() const {
  std::optional<TimePoint> next;
  if (!timers_.empty()) next = timers_.begin()->first;
  if (!transfer_timers_.empty() && (!next || transfer_timers_.begin()->first < *next)) next = transfer_timers_.begin()->first;
  if (!deferred_.empty()) next = now_;
  if (controlled_) {
    if (const auto deadline = paths_deadline(); deadline && (!next || *deadline < *next)) next = deadline;
  }
  for (const auto& transport : transports_) {
    if (const auto deadline = transport->next_deadline(); deadline && (!next || *deadline < *next)) next = deadline;
  }
  return next;
}

// A timer that fires too early costs one idle poll; setting it anew each time costs a system call each time. So it is only ever
// set forward to an earlier moment, or after it fired.
void EngineCore::arm_timer_fd() {
  if (clock_ != &system_clock()) return;
  if (timer_armed_ && *timer_armed_ <= now_) {
    uint64_t expirations = 0;
    [[maybe_unused]] const ssize_t got = read(timer_fd_.get(), &expirations, sizeof(expirations));
    timer_armed_.reset();
  }
  const auto next = next_deadline();
  if (!next || (timer_armed_ && *timer_armed_ <= *next)) return;
  const auto since_start = std::max(next->time_since_epoch(), Duration(1));
  itimerspec when{};
  when.it_value.tv_sec = static_cast<time_t>(since_start / std::chrono::seconds(1));
  when.it_value.tv_nsec = static_cast<long>((since_start % std::chrono::seconds(1)).count());
  timerfd_settime(timer_fd_.get(), TFD_TIMER_ABSTIME, &when, nullptr);
  timer_armed_ = next;
}

size_t EngineCore::wait(Duration limit) {
  was_woken_ = false;
  size_t handled = run(NextPoll::at_once);
  if (handled > 0 || was_woken_ || limit <= Duration::zero()) return handled;
  const TimePoint start = now_;
  const TimePoint end = later(start, limit);
  const TimePoint spin_end = std::min(later(start, spin_.begin()), end);
  if (start < spin_end) {
    while (handled == 0 && now_ < spin_end && !was_woken_) handled = run(NextPoll::at_once);
    handled > 0 ? spin_.caught() : spin_.missed();
  }
  while (handled == 0) {
    handled = poll();
    if (handled > 0 || was_woken_ || now_ >= end) break;
    block(end == TimePoint::max() ? Duration::max() : end - now_);
  }
  return handled;
}

void EngineCore::block(Duration limit) {
  timespec timeout{};
  timeout.tv_sec = static_cast<time_t>(limit / std::chrono::seconds(1));
  timeout.tv_nsec = static_cast<long>((limit % std::chrono::seconds(1)).count());
  epoll_event ready{};
  epoll_pwait2(epoll_fd_.get(), &ready, 1, limit == Duration::max() ? nullptr : &timeout, nullptr);
}

// The descriptor is written before the flag is set, so that a poll() which sees the flag can empty the descriptor.
void EngineCore::wake() noexcept {
  const uint64_t one = 1;
  [[maybe_unused]] const ssize_t put = write(wake_fd_.get(), &one, sizeof(one));
  woken_.store(true, std::memory_order_release);
}

void EngineCore::take_wake() {
  woken_.store(false, std::memory_order_relaxed);
  uint64_t wakes = 0;
  [[maybe_unused]] const ssize_t got = read(wake_fd_.get(), &wakes, sizeof(wakes));
  was_woken_ = true;
}

void EngineCore::log(LogLevel level, std::string_view text) const {
  if (options_.log && level >= options_.log_level) options_.log(LogRecord{level, "engine", text});
}

PeerEntry* EngineCore::find_peer(uint64_t peer) const {
  const auto found = peers_.find(peer);
  return found == peers_.end() ? nullptr : found->second.get();
}

}  // namespace haul::detail
