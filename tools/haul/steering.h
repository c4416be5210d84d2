// Congestion control and rates on the command line, and what the outcome says of them.
#pragma once

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>
#include <span>

#include "haul/telemetry.h"
#include "options.h"

namespace haul::tool {

/// --controller, --kernel-controller, --rate and --remember.
void add_steering(CLI::App& command, CommonOptions& common);

/// --client-rate of a server.
void add_client_rates(CLI::App& command, std::vector<ClientRate>& rates);

/// Into the JSON of an outcome: what was asked for, and the paths that are controlled.
void tell_steering(nlohmann::json& json, const CommonOptions& common, std::span<const PathStats> paths);

}  // namespace haul::tool
