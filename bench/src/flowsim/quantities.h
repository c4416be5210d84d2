// Quantities as scenarios have them: those of lib/base, and queues, whose size may depend on the link.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include "base/quantities.h"
#include "flowsim/scenario.h"

namespace flowsim {

using haul::base::parse_duration;
using haul::base::parse_fraction;
using haul::base::parse_number;
using haul::base::parse_rate;
using haul::base::parse_size;

/// "1bdp", a time at the link's rate, or a size. Empty: none of them, or beyond 1 PB.
std::optional<uint64_t> parse_buffer(std::string_view text, const Link& link);
/// Such a number as parse_number() takes without a fraction, "8" or "1e3". Empty: something else, or out of bounds; `high` is
/// at most 2^53.
std::optional<uint64_t> parse_whole(std::string_view text, uint64_t low, uint64_t high);

}  // namespace flowsim
