// Rates, times, sizes and fractions as people write them: on command lines, in scenarios and matrices.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string_view>

namespace haul::base {

/// "500M" (bits per second; K, M, G are thousands, millions, thousands of millions) in bytes per second. Empty: not a rate.
std::optional<uint64_t> parse_rate(std::string_view text);
/// "20ms", "1.5s", "50us". Empty: not a time.
std::optional<std::chrono::nanoseconds> parse_duration(std::string_view text);
/// "1%", "0.01", "1e-4". Empty: not between 0 and 1.
std::optional<double> parse_fraction(std::string_view text);
/// "4MB", "64KiB", "1000". Empty: not a number of bytes.
std::optional<uint64_t> parse_size(std::string_view text);
/// A number without a unit, not below 0. Empty: something else.
std::optional<double> parse_number(std::string_view text);

/// What to say of a text that parse_rate() does not take, behind "… is not ".
inline constexpr std::string_view rate_remedy = "a rate in bits per second: write 500M, 1G";

}  // namespace haul::base
