// Scenarios from TOML files.
#pragma once

#include <string>
#include <string_view>

#include "flowsim/scenario.h"
#include "haul/status.h"

namespace flowsim {

/// Errors: invalid; the message begins with "<source>:<line>:" and says how to mend it. bench/scenarios/ has examples of
/// every key.
haul::Result<Scenario> parse_scenario(std::string_view text, const std::string& source);
/// Also unavailable: the file can't be read.
haul::Result<Scenario> load_scenario(const std::string& path);

/// "500M" (bits per second; K, M, G) in bytes per second. Empty: not a rate.
std::optional<uint64_t> parse_rate(std::string_view text);
/// "20ms", "1.5s", "50us". Empty: not a time.
std::optional<Duration> parse_duration(std::string_view text);
/// "1%", "0.01", "1e-4". Empty: not between 0 and 1.
std::optional<double> parse_fraction(std::string_view text);

}  // namespace flowsim
