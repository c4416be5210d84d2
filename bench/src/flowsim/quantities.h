// Rates, times, sizes and fractions as people write them, in scenarios and on command lines.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include "flowsim/scenario.h"

namespace flowsim {

/// "500M" (bits per second; K, M, G) in bytes per second. Empty: not a rate.
std::optional<uint64_t> parse_rate(std::string_view text);
/// "20ms", "1.5s", "50us". Empty: not a time.
std::optional<Duration> parse_duration(std::string_view text);
/// "1%", "0.01", "1e-4". Empty: not between 0 and 1.
std::optional<double> parse_fraction(std::string_view text);
/// "4MB", "64KiB", "1000". Empty: not a number of bytes.
std::optional<uint64_t> parse_size(std::string_view text);
/// "1bdp", a time at the link's rate, or a size. Empty: none of them, or beyond 1 PB.
std::optional<uint64_t> parse_buffer(std::string_view text, const Link& link);
/// A number without a unit, not below 0. Empty: something else.
std::optional<double> parse_number(std::string_view text);
/// Such a number without a fraction, "8" or "1e3". Empty: something else, or out of bounds; `high` is at most 2^53.
std::optional<uint64_t> parse_whole(std::string_view text, uint64_t low, uint64_t high);

}  // namespace flowsim
