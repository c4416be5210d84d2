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

/// One peer's notified transfers. Its owner gives the peer up once overflowed(), which bounds the memory.
class LandingTracker {
 public:
  static constexpr size_t max_open = 4096;
  /// Between landed writes, over all open transfers: as many as operations can be under way (64 lanes of 4096).
  static constexpr size_t max_gaps = 1U << 18;

  /// What an event made complete.
  using Ready = std::optional<std::vector<std::byte>>;

  /// A verified write landed. Repeated ones (sent again on another lane) count once.
  Ready landed(uint64_t serial, uint32_t index);
  /// The notification itself arrived: deliver after `count` writes.
  Ready announced(uint64_t serial, uint32_t count, std::span<const std::byte> payload);
  /// The sender gave the transfer up: nothing will be delivered for it.
  void abandoned(uint64_t serial);

  /// More transfers are open, or with more gaps, than a well-behaved peer ever has.
  bool overflowed() const noexcept { return open_.size() > max_open || over_.ranges() > max_open + 1 || gaps_ > max_gaps; }
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
  size_t gaps_ = 0;      // ranges of all open_
  base::RangeSet over_;  // delivered or abandoned; contiguous in the long run, as serials are
};

}  // namespace haul::transfer
