// Whether io_uring works here with everything that this backend needs, and if not, why and what to do.
#pragma once

#include <liburing.h>

#include "haul/status.h"

namespace haul::tcp {

/// One thread uses the ring (the first that polls it), completions wait until it asks for them, and it can see in memory
/// whether asking is worth a system call.
inline constexpr unsigned uring_setup_flags =
    IORING_SETUP_R_DISABLED | IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_TASKRUN_FLAG;

/// Makes a small ring, asks it for the operations, and closes it.
Status uring_probe();
/// The status for a failed set-up of a ring.
Status uring_setup_failed(int error);
bool uring_has_zero_copy(io_uring& ring);

}  // namespace haul::tcp
