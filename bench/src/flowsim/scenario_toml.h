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

}  // namespace flowsim
