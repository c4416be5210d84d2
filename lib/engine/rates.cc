// Rates of one's own, and whose turn it is where peers share one: what bounds the scheduler, and who is asked first.
#include <fmt/format.h>

#include <algorithm>
#include <string>
#include <string_view>
#include <utility>

#include "engine/core.h"

namespace haul::detail {

using congestion::OperationPath;
using congestion::PathLimit;
using engine::PathState;
using engine::Tenant;

namespace {

std::string_view name_of(const Tenant* tenant) {
  return tenant != nullptr ? std::string_view(tenant->name) : std::string_view();
}

std::string rate_text(const congestion::Budget& budget) {
  return budget.rate() ? fmt::format("{} bytes/s", *budget.rate()) : std::string("no bound");
}

/// Whose rate holds back what this peer would post; empty: nobody's. Puts and gets may wait for different ones.
std::string_view limiting(const PeerEntry& peer) {
  if (!peer.gate || !peer.gate->held()) return {};
  if (!peer.gate->held_by_outer()) return "peer";
  return peer.tenant != nullptr && peer.gate->held_by_this(peer.tenant->budget) ? "tenant" : "engine";
}

}  // namespace

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

Status EngineCore::limit_tenant(std::string_view name, std::optional<uint64_t> bytes_s) {
  now_ = clock_->now();
  const auto limited = tenants_.limit(now_, name, bytes_s);
  if (!limited) return limited.status();
  if (*limited == nullptr) return {};
  for (const auto& [id, peer] : peers_) {
    if (peer->tenant == *limited) refresh_gate(*peer);
  }
  wake();
  return {};
}

Status EngineCore::set_tenant(uint64_t peer_id, std::string_view name) {
  now_ = clock_->now();
  PeerEntry* peer = find_peer(peer_id);
  if (peer == nullptr) return peer_status(peer_id);
  if (name == name_of(peer->tenant)) return {};
  if (name.empty()) {
    leave_tenant(*peer);
  } else {
    const auto joined = tenants_.join(now_, name, peer->tenant);
    if (!joined) return joined.status();
    enter_tenant(*peer, **joined);
  }
  refresh_gate(*peer);
  wake();
  return {};
}

// It was counted there already.
void EngineCore::enter_tenant(PeerEntry& peer, Tenant& tenant) {
  peer.tenant = &tenant;
  peer.budget->set_outer(&tenant.budget);
  peer.place = tenant.turns.join();
}

void EngineCore::leave_tenant(PeerEntry& peer) {
  if (peer.tenant == nullptr) return;
  tenants_.leave(*std::exchange(peer.tenant, nullptr));
  peer.budget->set_outer(&link_budget_);
  peer.place = link_turns_.join();
}

// What the scheduler is bounded by: the path of the lanes that it uses, and budgets.
void EngineCore::refresh_gate(PeerEntry& peer) {
  peer.gate.reset();
  const PathState* path = peer.data_lanes.empty() ? nullptr : find_path(peer, peer.data_lanes.front()->transport_index);
  const bool bounded = path != nullptr && path->operations[0];
  const bool budgeted = link_budget_.rate() || (peer.tenant != nullptr && peer.tenant->budget.rate()) || peer.budget->rate();
  if (!bounded && !budgeted) return;
  controlled_ = true;
  peer.gate.emplace();
  if (budgeted) peer.gate->budget = &*peer.budget;
  for (size_t i = 0; bounded && i < path->operations.size(); ++i) peer.gate->paths[i] = path->operations[i].get();
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

// Who waited for a budget that others share keeps its place among them.
void EngineCore::settle_place(PeerEntry& peer) {
  const bool waited = peer.gate && peer.gate->held_by_outer();
  if (peer.tenant == nullptr) return link_turns_.settle(peer.place, waited);
  peer.tenant->turns.settle(peer.place, waited);
  peer.tenant->waits |= waited && peer.gate->held_by_this(link_budget_);
}

// Who has something to post, in turn: of tenants, and peers without one, who took least of the engine's rate, and then of a
// tenant's peers who took least of the tenant's. Several times a round, so that nobody else is looked at.
void EngineCore::take_turns() {
  in_turn_.clear();
  bool bounded = false;  // by a rate
  for (const auto& [id, peer] : peers_) {
    if (peer->scheduler.empty()) continue;
    settle_operations(*peer);
    settle_place(*peer);
    in_turn_.push_back(peer.get());
    bounded |= peer->gate && peer->gate->budget != nullptr;
  }
  for (const auto& [name, tenant] : tenants_.all()) link_turns_.settle(tenant->place, std::exchange(tenant->waits, false));
  if (!bounded) return;
  const auto place = [](const PeerEntry& peer) {
    return peer.tenant != nullptr ? std::pair(peer.tenant->place.bytes(), peer.place.bytes())
                                  : std::pair(peer.place.bytes(), uint64_t{0});
  };
  std::sort(in_turn_.begin(), in_turn_.end(),
            [&place](const PeerEntry* a, const PeerEntry* b) { return place(*a) < place(*b); });
}

// Where there is no rate nobody takes anything from anybody.
void EngineCore::charge(PeerEntry& peer, uint64_t bytes) {
  const bool link = link_budget_.rate().has_value();
  if (peer.tenant == nullptr) {
    if (link) link_turns_.took(peer.place, bytes);
    return;
  }
  if (link || peer.tenant->budget.rate()) peer.tenant->turns.took(peer.place, bytes);
  if (link) link_turns_.took(peer.tenant->place, bytes);
}

size_t EngineCore::post_controlled(PeerEntry& peer) {
  const size_t posted = peer.scheduler.run(peer.data_lanes, operations_, now_, all_posted_, peer.gate ? &*peer.gate : nullptr);
  if (posted > 0) {
    if (peer.gate) charge(peer, peer.gate->posted_bytes);
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

std::string EngineCore::explain_tenants() const {
  std::string text;
  for (const auto& [name, tenant] : tenants_.all())
    text += fmt::format("  tenant \"{}\": rate limit: {}, {} peer(s)\n", name, rate_text(tenant->budget), tenant->peers);
  return text;
}

std::string EngineCore::explain_rates(const PeerEntry& peer) const {
  if (!link_budget_.rate() && !peer.budget->rate() && peer.tenant == nullptr) return {};
  std::string text = fmt::format("  rate limit: {} for this peer, ", rate_text(*peer.budget));
  if (peer.tenant != nullptr)
    text += fmt::format("{} for its tenant \"{}\", ", rate_text(peer.tenant->budget), peer.tenant->name);
  const std::string_view limits = limiting(peer);
  return text + fmt::format("{} for all of this engine's; {}\n", rate_text(link_budget_),
                            limits.empty() ? std::string("none limits now") : fmt::format("the {}'s limits now", limits));
}

void EngineCore::tell_rates(const PeerEntry& peer, PeerStats& stats) const {
  stats.tenant = name_of(peer.tenant);
  stats.rate_limit_bytes_s = peer.budget->rate();
  if (peer.tenant != nullptr) stats.tenant_rate_limit_bytes_s = peer.tenant->budget.rate();
  stats.rate_limited_by = limiting(peer);
}

}  // namespace haul::detail
