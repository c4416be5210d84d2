// Runs and heat maps as JSON, for the outcomes that hold them.
#pragma once

#include <nlohmann/json.hpp>
#include <vector>

#include "haul_bench/sim.h"

namespace bench {

using Json = nlohmann::ordered_json;

/// What the columns of a flow's points are.
Json point_columns();
Json run_json(const SimRun& run);
Json heat_maps_json(const std::vector<HeatMap>& maps);

}  // namespace bench
