// A set of integers kept as disjoint half-open ranges.
#pragma once

#include <cstddef>
#include <cstdint>
#include <iterator>
#include <map>

namespace haul::base {

/// Memory grows with the number of gaps, not with the values.
class RangeSet {
 public:
  /// Adds [begin, end) and returns how many values were new.
  uint64_t add(uint64_t begin, uint64_t end);
  bool contains(uint64_t value) const;
  /// All of [begin, end).
  bool contains(uint64_t begin, uint64_t end) const;

  uint64_t count() const noexcept { return count_; }
  size_t ranges() const noexcept { return ranges_.size(); }
  bool empty() const noexcept { return ranges_.empty(); }
  void clear();

  /// begin → end, ascending.
  const std::map<uint64_t, uint64_t>& view() const noexcept { return ranges_; }

 private:
  std::map<uint64_t, uint64_t> ranges_;
  uint64_t count_ = 0;
};

}  // namespace haul::base
