// Whose turn it is among those that share a budget.
#pragma once

#include <algorithm>
#include <cstdint>

namespace haul::congestion {

/// Fair shares by bytes: who took the fewest comes first. Only who waited for the budget is owed what others took meanwhile;
/// nobody saves up what he did not want, or could not have used.
///
/// Start-time fair queueing (Goyal, Vin and Cheng, SIGCOMM 1996), where every flow has the same weight. Pure arithmetic: a
/// place belongs to whoever shares, and to one Turns at a time.
class Turns {
 public:
  class Place {
   public:
    Place() noexcept = default;
    uint64_t bytes() const noexcept { return bytes_; }  ///< the start tag of what it takes next; for comparing only

   private:
    friend class Turns;
    explicit Place(uint64_t bytes) noexcept : bytes_(bytes) {}
    uint64_t bytes_ = 0;
  };

  /// Of one that comes: it is owed nothing, and owes nothing.
  Place join() const noexcept { return Place(served_); }
  /// Before each choice, for everyone who wants a turn. `waited`: all that kept it from taking more since the last choice was
  /// this budget, or one outside of it.
  void settle(Place& place, bool waited) const noexcept {
    if (!waited) place.bytes_ = std::max(place.bytes_, served_);
  }
  void took(Place& place, uint64_t bytes) noexcept {
    served_ = std::max(served_, place.bytes_);
    place.bytes_ += bytes;
  }

 private:
  uint64_t served_ = 0;  // virtual time: what one that was served had taken before, at most
};

}  // namespace haul::congestion
