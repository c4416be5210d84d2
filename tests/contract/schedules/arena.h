// One side's memory in a random schedule, with what every byte of it must be.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "base/random.h"

namespace haul::contract {

/// Divided into slots, so that no two transfers share a destination.
class Arena {
 public:
  static constexpr size_t slot_bytes = 8192;
  static constexpr size_t slot_count = 64;
  enum class Use : uint8_t {
    free,         ///< nobody writes here
    source,       ///< a running transfer reads here: nobody writes
    destination,  ///< a running transfer may write here
  };

  explicit Arena(base::Random& random) : memory_(slot_bytes * slot_count) {
    random.fill(memory_);
    model_ = memory_;
  }

  /// So many slots side by side, from now on in use.
  std::optional<size_t> take(base::Random& random, size_t count, Use use) {
    const size_t start = random.below(slot_count);
    for (size_t i = 0; i < slot_count; ++i) {
      const size_t first = (start + i) % slot_count;
      if (first + count > slot_count) continue;
      const auto slots = std::span(uses_).subspan(first, count);
      if (std::any_of(slots.begin(), slots.end(), [](Use each) { return each != Use::free; })) continue;
      std::fill(slots.begin(), slots.end(), use);
      return first;
    }
    return std::nullopt;
  }
  void release(size_t first, size_t count) { std::fill_n(uses_.begin() + static_cast<ptrdiff_t>(first), count, Use::free); }

  /// What is in memory now is what must be there from now on.
  void accept(uint64_t offset, uint64_t length) {
    std::copy_n(memory_.begin() + static_cast<ptrdiff_t>(offset), length, model_.begin() + static_cast<ptrdiff_t>(offset));
  }

  /// Everything that nobody may write is as it must be.
  bool intact() const {
    for (size_t slot = 0; slot < slot_count; ++slot) {
      if (uses_[slot] == Use::destination) continue;
      const auto from = static_cast<ptrdiff_t>(slot * slot_bytes);
      if (!std::equal(memory_.begin() + from, memory_.begin() + from + slot_bytes, model_.begin() + from)) return false;
    }
    return true;
  }

  std::span<std::byte> all() { return memory_; }
  std::span<const std::byte> bytes(uint64_t offset, uint64_t length) const {
    return std::span(memory_).subspan(offset, length);
  }

 private:
  std::vector<std::byte> memory_;
  std::vector<std::byte> model_;
  std::array<Use, slot_count> uses_{};
};

}  // namespace haul::contract
