// A queue whose elements are numbered consecutively and found by their number.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

#include "base/check.h"

namespace haul::base {

/// Grows by doubling to what was needed so far (its user bounds that) and never shrinks, so that steady work allocates nothing.
/// Elements are reused: push() answers a slot that still holds an older element's content.
template <typename T>
class Window {
 public:
  uint64_t first_number() const noexcept { return begin_; }
  uint64_t end_number() const noexcept { return end_; }
  size_t size() const noexcept { return static_cast<size_t>(end_ - begin_); }
  bool empty() const noexcept { return begin_ == end_; }
  bool holds(uint64_t number) const noexcept { return number >= begin_ && number < end_; }

  T& push() {
    if (size() == slots_.size()) grow();
    return slots_[index(end_++)];
  }
  T& operator[](uint64_t number) {
    check(holds(number), "window element that is not there");
    return slots_[index(number)];
  }
  T& front() { return (*this)[begin_]; }
  T& back() { return (*this)[end_ - 1]; }
  void pop_front() {
    check(!empty(), "pop from an empty window");
    ++begin_;
  }
  /// Forgets the elements; numbering goes on.
  void clear() noexcept { begin_ = end_; }

 private:
  size_t index(uint64_t number) const noexcept { return static_cast<size_t>(number) & (slots_.size() - 1); }
  void grow() {
    constexpr size_t first_slots = 16;
    std::vector<T> larger(slots_.empty() ? first_slots : slots_.size() * 2);
    for (uint64_t number = begin_; number != end_; ++number) {
      larger[static_cast<size_t>(number) & (larger.size() - 1)] = std::move(slots_[index(number)]);
    }
    slots_ = std::move(larger);
  }

  std::vector<T> slots_;  // a power of two
  uint64_t begin_ = 0;
  uint64_t end_ = 0;
};

}  // namespace haul::base
