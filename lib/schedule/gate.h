// What bounds the posting of one peer's operations, where something does: congestion control of the path, budgets.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>

#include "congestion/budget.h"
#include "congestion/operation_path.h"
#include "haul/time.h"
#include "haul/transport.h"

namespace haul::schedule {

/// Nothing in it is owned. One for the lanes that share a path.
struct Gate {
  std::array<congestion::OperationPath*, 2> paths{};  ///< by Op; null: that direction is not controlled here
  congestion::Budget* budget = nullptr;               ///< the innermost one; null: none
  // What the last run found, by Op.
  std::array<bool, 2> full{};                          ///< something had to wait for the path
  std::array<const congestion::Budget*, 2> held_by{};  ///< … for this budget, though the path would have taken it
  uint8_t held_priority = 0;                           ///< the highest one that had to wait for a budget
  uint64_t posted_bytes = 0;                           ///< in both directions

  bool held() const noexcept { return held_by[0] != nullptr || held_by[1] != nullptr; }
  bool held_by_this(const congestion::Budget& one) const noexcept { return held_by[0] == &one || held_by[1] == &one; }
  /// By a budget that others share, too: if it had had more, more would have been posted.
  bool held_by_outer() const noexcept {
    const auto outer = [this](const congestion::Budget* by) { return by != nullptr && by != budget; };
    return outer(held_by[0]) || outer(held_by[1]);
  }
  void forget() noexcept {
    full = {};
    held_by = {};
    held_priority = 0;
    posted_bytes = 0;
  }
};

/// One run of the scheduler past a gate. What was admitted counts before it is posted.
class Admission {
 public:
  Admission(Gate* gate, TimePoint now) noexcept : gate_(gate), now_(now) {
    if (gate != nullptr) gate->forget();
  }

  bool controlled() const noexcept { return gate_ != nullptr; }
  /// Nothing more of this kind may be posted in this run.
  bool closed(Op op) const noexcept {
    const auto index = static_cast<size_t>(op);
    return gate_ != nullptr && (gate_->full[index] || gate_->held_by[index] != nullptr);
  }

  /// Takes from the budget. Precondition: controlled().
  bool admits(Op op, uint32_t bytes, uint8_t priority) noexcept {
    const auto index = static_cast<size_t>(op);
    congestion::OperationPath* path = gate_->paths[index];
    if (path != nullptr && !path->admits(now_, pending_[index], bytes)) {
      gate_->full[index] = true;
      return false;
    }
    if (gate_->budget != nullptr && !gate_->budget->spend(now_, bytes, priority)) {
      gate_->held_by[index] = gate_->budget->held(now_, priority).by;
      gate_->held_priority = std::max(gate_->held_priority, priority);
      return false;
    }
    pending_[index] += bytes;
    return true;
  }
  /// What was admitted was posted. Its ticket; 0: nobody wants to hear of its end.
  congestion::OperationPath::Ticket posted(Op op, uint32_t bytes) {
    const auto index = static_cast<size_t>(op);
    pending_[index] -= bytes;
    gate_->posted_bytes += bytes;
    congestion::OperationPath* path = gate_->paths[index];
    return path != nullptr ? path->posted(now_, bytes) : 0;
  }
  /// What was admitted was not posted.
  void refused(Op op, uint32_t bytes) noexcept {
    pending_[static_cast<size_t>(op)] -= bytes;
    if (gate_->budget != nullptr) gate_->budget->give_back(bytes);
  }

 private:
  Gate* gate_;
  TimePoint now_;
  std::array<uint64_t, 2> pending_{};
};

}  // namespace haul::schedule
