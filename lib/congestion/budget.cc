// Nested token buckets.
#include "congestion/budget.h"

#include <algorithm>

#include "congestion/numbers.h"

namespace haul::congestion {

Budget::Budget(const Options& options, TimePoint now) noexcept
    : rate_(options.rate_bytes_s),
      depth_(std::max(options.depth, Duration(1))),
      outer_(options.outer),
      at_(now),
      bytes_(depth_bytes()) {}

double Budget::depth_bytes() const noexcept { return rate_ ? static_cast<double>(*rate_) * to_seconds(depth_) : 0; }

double Budget::full_bytes() const noexcept { return std::max(depth_bytes(), largest_request_); }

double Budget::threshold_bytes(uint8_t priority) const noexcept { return priority > 0 ? 0 : depth_bytes() / 4; }

void Budget::earn(TimePoint now) noexcept {
  if (now <= at_) return;
  if (rate_) bytes_ = std::min(bytes_ + static_cast<double>(*rate_) * to_seconds(now - at_), full_bytes());
  at_ = now;
}

void Budget::set_rate(TimePoint now, std::optional<uint64_t> bytes_s) noexcept {
  earn(now);
  rate_ = bytes_s;
  bytes_ = rate_ ? std::min(bytes_, full_bytes()) : 0;
}

bool Budget::spend(TimePoint now, uint64_t bytes, uint8_t priority) noexcept {
  if (held(now, priority).by != nullptr) return false;
  for (Budget* budget = this; budget != nullptr; budget = budget->outer_) {
    budget->largest_request_ = std::max(budget->largest_request_, static_cast<double>(bytes));
    if (budget->rate_) budget->bytes_ -= static_cast<double>(bytes);
  }
  return true;
}

void Budget::give_back(uint64_t bytes) noexcept {
  for (Budget* budget = this; budget != nullptr; budget = budget->outer_) {
    if (budget->rate_) budget->bytes_ = std::min(budget->bytes_ + static_cast<double>(bytes), budget->full_bytes());
  }
}

Budget::Hold Budget::held(TimePoint now, uint8_t priority) noexcept {
  Hold hold{.by = nullptr, .until = now};
  for (Budget* budget = this; budget != nullptr; budget = budget->outer_) {
    budget->earn(now);
    if (!budget->rate_) continue;
    if (*budget->rate_ == 0) return {.by = budget, .until = std::nullopt};
    const double missing = budget->threshold_bytes(priority) - budget->bytes_;
    if (missing <= 0) continue;
    const auto rate = static_cast<double>(*budget->rate_);
    const TimePoint ready = now + std::max(from_seconds(missing / rate), Duration(1));
    if (ready > *hold.until) hold = {.by = budget, .until = ready};
  }
  return hold;
}

}  // namespace haul::congestion
