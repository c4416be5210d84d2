// Steps engines through virtual time. Apart from the rest, because it alone needs the engine.
#include <algorithm>

#include "haul/engine.h"
#include "network.h"

namespace haul::sim {
namespace {

/// Engines that still find work after so many rounds at one instant get it a little later: time must go on.
constexpr int max_rounds_at_one_instant = 10'000;
constexpr Duration smallest_step = std::chrono::microseconds(1);

/// The next moment at which anything happens, at most `end`.
TimePoint next_moment(const World::State& world, std::span<Engine* const> engines, TimePoint end) {
  TimePoint next = std::min(end, world.next_event().value_or(end));
  for (const Engine* engine : engines) next = std::min(next, engine->next_deadline().value_or(end));
  return next;
}

}  // namespace

bool World::run(std::span<Engine* const> engines, const std::function<bool()>& until, Duration limit) {
  const TimePoint end = state_->now() + limit;
  int rounds = 0;
  while (true) {
    state_->advance_to(state_->now());
    size_t handled = 0;
    for (Engine* engine : engines) handled += engine->poll();
    if (until()) return true;
    const bool stuck = ++rounds >= max_rounds_at_one_instant;
    if (handled > 0 && !stuck) continue;

    TimePoint next = next_moment(*state_, engines, end);
    if (next <= state_->now() && state_->now() < end) {
      if (!stuck) continue;
      next = std::min(end, state_->now() + smallest_step);
    }
    if (state_->now() >= end) return false;
    state_->advance_to(next);
    rounds = 0;
  }
}

}  // namespace haul::sim
