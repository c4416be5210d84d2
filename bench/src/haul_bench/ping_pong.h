// Puts answered by puts, one at a time.
#pragma once

#include <cstdint>

#include "haul_bench/drive.h"

namespace bench {

/// A put of one block with a notification; the receiver answers it with the same into our memory. The latency is that of the
/// whole round trip. `sequence` counts the round trips and chooses their place in the working set.
haul::Result<DriveResult> ping_pong(Session& session, uint64_t block_bytes, const DriveLimits& limits, uint64_t& sequence);

}  // namespace bench
