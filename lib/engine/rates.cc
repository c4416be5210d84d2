// Rates of one's own, and whose turn it is where peers share one: what bounds the scheduler, and who is asked first.
#include <fmt/format.h>

#include <algorithm>
#include <string>

#include "engine/core.h"

namespace haul::detail {

using congestion::OperationPath;
using congestion::PathLimit;
using engine::PathState;

namespace {

std::string rate_text(const congestion::Budget& budget) {
  return budget.rate() ? fmt::format("{} bytes/s", *budget.rate()) : std::string("no bound");
}

}  // namespace

// What the scheduler is bounded by: the path of the lanes that it uses, and budgets.
void EngineCore::refresh_gate(PeerEntry& peer) {
  peer.gate.reset();
  const PathState* path = peer.data_lanes.empty() ? nullptr : find_path(peer, peer.data_lanes.front()->transport_index);
  const bool bounded = path != nullptr && path->operations[0];
  const bool budgeted = link_budget_.rate() || peer.budget->rate();
  if (!bounded && !budgeted) return;
  controlled_ = true;
  peer.gate.emplace();
  if (budgeted) peer.gate->budget = &*peer.budget;
  for (size_t i = 0; bounded && i < path->operations.size(); ++i) peer.gate->paths[i] = path->operations[i].get();
}

void EngineCore::limit_rate(std::optional<uint64_t> bytes_s) {
  now_ = clock_->now();
  link_budget_.set_rate(now_, bytes_s);
  for (const auto& [id, peer] : peers_) refresh_gate(*peer);
  wake();
}

void EngineCore::limit_peer_rate(uint64_t peer_id, std::optional<uint64_t> bytes_s) {
  now_ = clock_->now();
  PeerEntry* peer = find_peer(peer_id);
  if (peer == nullptr) return;
  peer->budget->set_rate(now_, bytes_s);
  refresh_gate(*peer);
  wake();
}

// What a path could have carried and did not get says nothing of the path.
void EngineCore::tell_unused(PeerEntry& peer) {
  if (!peer.gate) return;
  const bool idle = peer.scheduler.empty();
  for (size_t i = 0; i < peer.gate->paths.size(); ++i) {
    OperationPath* path = peer.gate->paths[i];
    if (path == nullptr || peer.gate->full[i]) continue;
    const bool nothing = idle || path->in_flight_bytes() == 0;
    path->on_unused(peer.gate->held_by[i] != nullptr ? PathLimit::budget
                    : nothing                        ? PathLimit::nothing_to_send
                                                     : PathLimit::backend);
  }
}

// Who has something to post, in turn.
void EngineCore::take_turns() {
  in_turn_.clear();
  controlled_ = false;
  for (const auto& [id, peer] : peers_) {
    tend_paths(*peer);
    controlled_ |= peer->controlled();
    link_turns_.settle(peer->place, peer->gate && peer->gate->held_by_outer());
    if (peer->gate) peer->gate->forget();
    if (peer->scheduler.empty()) {
      tell_unused(*peer);
    } else {
      in_turn_.push_back(peer.get());
    }
  }
  if (!link_budget_.rate()) return;
  std::sort(in_turn_.begin(), in_turn_.end(),
            [](const PeerEntry* a, const PeerEntry* b) { return a->place.bytes() < b->place.bytes(); });
}

size_t EngineCore::post_controlled(PeerEntry& peer) {
  const size_t posted = peer.scheduler.run(peer.data_lanes, operations_, now_, all_posted_, peer.gate ? &*peer.gate : nullptr);
  if (posted > 0) {
    // Without a rate nobody takes anything from anybody.
    if (peer.gate && link_budget_.rate()) link_turns_.took(peer.place, peer.gate->posted_bytes);
    const PathState* path = find_path(peer, peer.data_lanes.front()->transport_index);
    if (path != nullptr && path->sampled) path->sampled->stir(now_);
  }
  tell_unused(peer);
  for (TransferState* transfer : all_posted_) on_all_posted(peer, *transfer);
  all_posted_.clear();
  return posted;
}

size_t EngineCore::run_controlled() {
  take_turns();
  size_t posted = 0;
  for (PeerEntry* peer : in_turn_) posted += post_controlled(*peer);
  return posted;
}

std::string EngineCore::congestion_line() const {
  return fmt::format("congestion control: {}; rate limit: {}",
                     options_.congestion.make ? "the application's own" : options_.congestion.controller,
                     rate_text(link_budget_));
}

std::string EngineCore::explain_rates(const PeerEntry& peer) const {
  if (!link_budget_.rate() && !peer.budget->rate()) return {};
  return fmt::format("  rate limit: {} for this peer, {} for all of this engine's; {}\n", rate_text(*peer.budget),
                     rate_text(link_budget_), peer.gate && peer.gate->held() ? "it limits now" : "it does not limit now");
}

}  // namespace haul::detail
