// Merging of ranges.
#include "base/range_set.h"

#include <algorithm>

namespace haul::base {

uint64_t RangeSet::add(uint64_t begin, uint64_t end) {
  if (begin >= end) return 0;
  uint64_t fresh = end - begin;
  auto it = ranges_.upper_bound(begin);
  if (it != ranges_.begin() && std::prev(it)->second >= begin) --it;
  uint64_t merged_begin = begin;
  uint64_t merged_end = end;
  while (it != ranges_.end() && it->first <= end) {
    const uint64_t overlap_begin = std::max(it->first, begin);
    const uint64_t overlap_end = std::min(it->second, end);
    if (overlap_end > overlap_begin) fresh -= overlap_end - overlap_begin;
    merged_begin = std::min(merged_begin, it->first);
    merged_end = std::max(merged_end, it->second);
    it = ranges_.erase(it);
  }
  ranges_.emplace_hint(it, merged_begin, merged_end);
  count_ += fresh;
  return fresh;
}

// The largest value has no successor, and no range that ends beyond it.
bool RangeSet::contains(uint64_t value) const { return value != UINT64_MAX && contains(value, value + 1); }

bool RangeSet::contains(uint64_t begin, uint64_t end) const {
  if (begin >= end) return true;
  auto it = ranges_.upper_bound(begin);
  return it != ranges_.begin() && std::prev(it)->second >= end;
}

void RangeSet::clear() {
  ranges_.clear();
  count_ = 0;
}

}  // namespace haul::base
