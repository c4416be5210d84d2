// Tenants: names that group peers under a rate, between the engine's and theirs.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "congestion/budget.h"
#include "congestion/turns.h"
#include "haul/status.h"
#include "haul/time.h"

namespace haul::engine {

struct Tenant {
  /// What tenants share must outlive it.
  Tenant(std::string_view called, congestion::Budget& link, const congestion::Turns& link_turns, TimePoint now)
      : name(called), budget({.rate_bytes_s = {}, .outer = &link}, now), place(link_turns.join()) {}

  std::string name;
  congestion::Budget budget;  // inside the engine's
  congestion::Turns turns;    // among its peers
  congestion::Turns::Place place;
  size_t peers = 0;
  bool waits = false;  // what the last choice found: some peer of it waits for the engine's budget
};

/// All tenants of an engine. One exists while it has a rate or a peer; who is one of its peers is known to the peers. Tenants
/// stay where they are in memory.
class Tenants {
 public:
  static constexpr size_t max_name_bytes = 64;

  /// What they share must outlive them.
  Tenants(congestion::Budget& link, congestion::Turns& link_turns, size_t max) noexcept
      : link_(&link), link_turns_(&link_turns), max_(max) {}

  /// Errors: invalid (a name that is empty, too long, or has control characters).
  static Status check(std::string_view name);

  /// Sets its rate; without one it goes if it has no peers. The tenant it is about, null if there is none now.
  /// Errors: those of check(), exhausted (too many).
  Result<Tenant*> limit(TimePoint now, std::string_view name, std::optional<uint64_t> bytes_s);

  /// One more peer, one less of `from` (null: it has none), which may be gone afterwards. On an error nothing changes.
  /// Errors: those of check(), exhausted (too many).
  Result<Tenant*> join(TimePoint now, std::string_view name, Tenant* from);
  /// One peer less.
  void leave(Tenant& tenant);

  using Map = std::map<std::string, std::unique_ptr<Tenant>, std::less<>>;
  const Map& all() const noexcept { return tenants_; }

 private:
  static bool idle(const Tenant& tenant) noexcept { return tenant.peers == 0 && !tenant.budget.rate(); }
  Result<Tenant*> find_or_make(TimePoint now, std::string_view name, size_t leaving);

  congestion::Budget* link_;
  congestion::Turns* link_turns_;
  size_t max_;
  Map tenants_;
};

}  // namespace haul::engine
