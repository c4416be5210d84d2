// Whether io_uring works here with everything that this backend needs, and if not, why and what to do.
#pragma once

#include <liburing.h>

#include "haul/status.h"

namespace haul::tcp {

/// Makes a ring as this backend uses it, and asks it for the operations. After an error there is no ring.
Status uring_make(io_uring& ring);
/// Makes such a ring and closes it.
Status uring_probe();
bool uring_has_zero_copy(io_uring& ring);

}  // namespace haul::tcp
