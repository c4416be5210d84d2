// Compares what was moved with where it came from.
#pragma once

#include "haul_bench/workload.h"

namespace bench {

/// Fetches the receiver's working set and compares every piece that the first `transfers` transfers moved.
/// Errors: corrupt (a piece differs), or why the receiver's memory could not be fetched.
haul::Status verify(Session& session, const Workload& workload, uint64_t transfers);

}  // namespace bench
