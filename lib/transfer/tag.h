// The tag that a write carries to the peer: which notified transfer it belongs to, and which of its operations it is.
#pragma once

#include <cstdint>

namespace haul::transfer {

/// Operations of one transfer are numbered in 24 bits, so a transfer has at most this many.
constexpr uint32_t max_operations_per_transfer = 1U << 24;

/// 0 for writes of transfers without a notification: their receiver has nothing to count.
constexpr uint64_t untracked_tag = 0;

/// `notify_serial` counts a peer's notified transfers from 1.
constexpr uint64_t make_tag(uint64_t notify_serial, uint32_t index) { return (notify_serial << 24) | index; }
constexpr uint64_t tag_serial(uint64_t tag) { return tag >> 24; }
constexpr uint32_t tag_index(uint64_t tag) { return static_cast<uint32_t>(tag & (max_operations_per_transfer - 1)); }

}  // namespace haul::transfer
