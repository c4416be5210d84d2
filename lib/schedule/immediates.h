// Writes with an immediate, which are notifications at the same time.
#pragma once

#include <cstdint>
#include <deque>
#include <vector>

#include "haul/transport.h"

namespace haul::schedule {

/// Those that one lane took, numbered from 1 in the order in which they were posted. That such a write completed says that its
/// bytes are placed, not that the peer's engine heard of them: that is known when the peer says how many it heard, as the lane
/// ends. Until then the last ones are kept.
class SentImmediates {
 public:
  /// Twice what a lane may have outstanding: so many may be posted, or placed and still unheard.
  static constexpr size_t max_kept = 4096;

  /// Its number.
  uint64_t add(const Immediate& value) {
    if (kept_.size() == max_kept) kept_.pop_front();
    kept_.push_back({value, false});
    return ++sent_;
  }
  void placed(uint64_t number) {
    if (number >= first() && number <= sent_) kept_[number - first()].placed = true;
  }
  uint64_t sent() const noexcept { return sent_; }

  /// What was placed, in writes that completed, but is not among the first `heard` that the peer heard of.
  std::vector<Immediate> unheard(uint64_t heard) const {
    std::vector<Immediate> all;
    for (size_t i = 0; i < kept_.size(); ++i) {
      if (kept_[i].placed && first() + i > heard) all.push_back(kept_[i].value);
    }
    return all;
  }

 private:
  struct Sent {
    Immediate value;
    bool placed;
  };
  uint64_t first() const noexcept { return sent_ - kept_.size() + 1; }

  std::deque<Sent> kept_;
  uint64_t sent_ = 0;
};

}  // namespace haul::schedule
