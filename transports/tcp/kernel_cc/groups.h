// Groups of users by name and by number, for any thread.
#pragma once

#include <sys/types.h>

#include <string>

#include "haul/status.h"

namespace haul::tcp {

/// Errors: invalid (there is none of this name), internal (it could not be looked up).
Result<gid_t> group_id(const std::string& name);

/// Its name; the number where it has none, or where it can't be looked up.
std::string group_name(gid_t id);

}  // namespace haul::tcp
