// A queue whose capacity is fixed when it is made.
#pragma once

#include <cstddef>
#include <utility>
#include <vector>

#include "base/check.h"

namespace haul::base {

/// First in, first out. Elements are default-constructed once and assigned to; popping leaves a moved-from element behind.
template <typename T>
class Ring {
 public:
  explicit Ring(size_t capacity) : slots_(capacity) {}

  bool empty() const noexcept { return size_ == 0; }
  bool full() const noexcept { return size_ == slots_.size(); }
  size_t size() const noexcept { return size_; }
  size_t capacity() const noexcept { return slots_.size(); }

  /// False (and unchanged) when full.
  bool push(T value) {
    if (full()) return false;
    slots_[wrap(first_ + size_)] = std::move(value);
    ++size_;
    return true;
  }
  T pop() {
    check(!empty(), "pop from an empty ring");
    T value = std::exchange(slots_[first_], T{});
    first_ = wrap(first_ + 1);
    --size_;
    return value;
  }
  T& front() { return (*this)[0]; }
  /// The element `index` places behind the front.
  T& operator[](size_t index) {
    check(index < size_, "ring index past the end");
    return slots_[wrap(first_ + index)];
  }
  const T& operator[](size_t index) const {
    check(index < size_, "ring index past the end");
    return slots_[wrap(first_ + index)];
  }

 private:
  size_t wrap(size_t index) const noexcept { return index >= slots_.size() ? index - slots_.size() : index; }
  std::vector<T> slots_;
  size_t first_ = 0;
  size_t size_ = 0;
};

}  // namespace haul::base
