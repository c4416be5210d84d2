// Which bytes of an operation have arrived.
#pragma once

#include <algorithm>
#include <cstdint>
#include <iterator>

#include "base/range_set.h"

namespace haul::quic {

/// Pieces come mostly in order: then nothing is allocated.
class Coverage {
 public:
  void clear() {
    begin_ = end_ = 0;
    apart_.clear();
  }
  void add(uint64_t begin, uint64_t end) {
    if (begin_ == end_) {
      begin_ = begin;
      end_ = end;
    } else if (begin <= end_ && end >= begin_) {
      begin_ = std::min(begin_, begin);
      end_ = std::max(end_, end);
    } else {
      apart_.add(begin, end);
      return;
    }
    if (!apart_.empty()) absorb();
  }
  bool covers(uint64_t begin, uint64_t end) const noexcept { return begin >= begin_ && end <= end_; }
  /// How many runs of bytes lie apart from the first one: each takes memory.
  size_t apart() const noexcept { return apart_.ranges(); }
  /// Nothing outside of [begin, end) came.
  bool within(uint64_t begin, uint64_t end) const {
    const bool run = begin_ == end_ || (begin_ >= begin && end_ <= end);
    const auto& ranges = apart_.view();
    return run && (ranges.empty() || (ranges.begin()->first >= begin && ranges.rbegin()->second <= end));
  }

 private:
  // What touches the run belongs to it. It stays where it was, too, which does no harm.
  void absorb() {
    const auto& ranges = apart_.view();
    for (auto next = ranges.upper_bound(end_); next != ranges.begin() && std::prev(next)->second > end_;
         next = ranges.upper_bound(end_)) {
      end_ = std::prev(next)->second;
    }
    for (auto before = ranges.lower_bound(begin_); before != ranges.begin() && std::prev(before)->second >= begin_;
         before = ranges.lower_bound(begin_)) {
      begin_ = std::prev(before)->first;
    }
  }

  uint64_t begin_ = 0;  // the run that the first piece began
  uint64_t end_ = 0;
  base::RangeSet apart_;
};

}  // namespace haul::quic
