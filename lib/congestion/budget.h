// Budgets: token buckets for a tenant, a peer, a link, nested in each other, with rates that may change at any time.
#pragma once

#include <cstdint>
#include <optional>

#include "haul/time.h"

namespace haul::congestion {

/// A rate shared by all who spend from it. A budget inside another one spends from both. Budgets are linked by pointers: an
/// outer one must outlive its inner ones.
///
/// Spending may overdraw a bucket by one request, so that a request larger than the bucket is not stuck; the debt is paid
/// before anything else is spent. A bucket holds at least the largest request that was ever spent from it: it goes on earning
/// while others spend one from the outer bucket, and so its rate is reached however large requests are. Of a bucket that runs
/// low, the last quarter of its depth is kept for priorities above 0.
class Budget {
 public:
  struct Options {
    std::optional<uint64_t> rate_bytes_s;           ///< absent: unlimited
    Duration depth = std::chrono::milliseconds(5);  ///< what a full bucket holds, in time at its rate; see above
    Budget* outer = nullptr;
  };

  Budget(const Options& options, TimePoint now) noexcept;

  /// Takes effect at once; what has been earned or overdrawn so far stays, but no debt outlives a time without a rate. A rate
  /// of 0 lets nothing through.
  void set_rate(TimePoint now, std::optional<uint64_t> bytes_s) noexcept;
  std::optional<uint64_t> rate() const noexcept { return rate_; }

  /// From now on inside this one; null: inside none. What it has earned or overdrawn itself stays.
  void set_outer(Budget* outer) noexcept { outer_ = outer; }

  /// Takes `bytes` from this budget and all outer ones, or from none.
  bool spend(TimePoint now, uint64_t bytes, uint8_t priority) noexcept;
  /// What was taken and not used goes back to where it came from.
  void give_back(uint64_t bytes) noexcept;
  /// What keeps spend() from succeeding.
  struct Hold {
    const Budget* by = nullptr;      ///< of this one and its outer ones that which takes longest; null: nothing does
    std::optional<TimePoint> until;  ///< if nobody else spends before; absent: until a rate changes
  };
  Hold held(TimePoint now, uint8_t priority) noexcept;
  /// When spend() will succeed, if nobody else spends before: at once or later; absent: not before a rate changes.
  std::optional<TimePoint> ready_at(TimePoint now, uint8_t priority) noexcept { return held(now, priority).until; }

 private:
  void earn(TimePoint now) noexcept;
  double depth_bytes() const noexcept;
  double full_bytes() const noexcept;
  double threshold_bytes(uint8_t priority) const noexcept;

  std::optional<uint64_t> rate_;
  Duration depth_;
  Budget* outer_;
  TimePoint at_;
  double largest_request_ = 0;
  double bytes_ = 0;
};

}  // namespace haul::congestion
