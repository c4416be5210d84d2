// The receiver's side of notifications: holds each back until all writes of its transfer have landed and were verified.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <unordered_map>
#include <vector>

#include "base/range_set.h"

namespace haul::transfer {

/// One peer's notified transfers. Memory is bounded by max_open entries; each is small unless its writes land with gaps.
class LandingTracker {
 public:
  static constexpr size_t max_open = 4096;

  /// What an event made complete.
  using Ready = std::optional<std::vector<std::byte>>;

  /// A verified write landed. Repeated ones (sent again on another lane) count once.
  Ready landed(uint64_t serial, uint32_t index);
  /// The notification itself arrived: deliver after `count` writes.
  Ready announced(uint64_t serial, uint32_t count, std::span<const std::byte> payload);
  /// The sender gave the transfer up: nothing will be delivered for it.
  void abandoned(uint64_t serial);

  /// More transfers are open than a well-behaved peer ever has.
  bool overflowed() const noexcept { return open_.size() > max_open; }
  size_t open() const noexcept { return open_.size(); }

 private:
  struct Open {
    base::RangeSet indices;
    std::optional<uint32_t> expected;
    std::vector<std::byte> payload;
  };
  bool is_over(uint64_t serial) const { return over_.contains(serial); }
  Ready deliver_if_complete(uint64_t serial, Open& open);
  void finish(uint64_t serial);

  std::unordered_map<uint64_t, Open> open_;
  base::RangeSet over_;  // delivered or abandoned; contiguous in the long run, as serials are
};

}  // namespace haul::transfer
