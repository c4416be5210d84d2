// Keeps a number of transfers outstanding for a time or a number of them, and measures.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>

#include "haul_bench/path_watch.h"
#include "haul_bench/session.h"
#include "measure/histogram.h"

namespace bench {

struct DriveLimits {
  haul::Duration duration{};
  uint64_t transfers = UINT64_MAX;  ///< at most
  uint32_t inflight = 1;
  haul::Duration drain = std::chrono::seconds(30);  ///< for the last transfers to end
  PathWatch* watch = nullptr;                       ///< looks at the path meanwhile
};

struct DriveResult {
  uint64_t transfers = 0;
  uint64_t bytes = 0;
  haul::Duration elapsed{};  ///< from the first start to the last completion
  /// Of the transfers that ended in the second half of `duration`; absent: fewer than two did.
  std::optional<double> steady_bytes_s;
  Histogram latency;  ///< from each transfer's start to its completion
};

/// Starts transfer number `index` with this callback.
using StartTransfer = std::function<haul::Transfer(uint64_t index, haul::TransferCallback on_done)>;

/// Numbers the transfers from 0. Returns when all that were started are over; a failed one ends the run with its status.
haul::Result<DriveResult> drive(Session& session, const DriveLimits& limits, const StartTransfer& start);

}  // namespace bench
