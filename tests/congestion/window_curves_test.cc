// Window curves as golden files: a change of a controller's behaviour shows as a difference that somebody has to accept.
// HAUL_UPDATE_GOLDEN=1 haul_congestion_tests "window curves" writes them anew; look at the difference before committing it.
#include <fmt/format.h>

#include <catch2/catch.hpp>
#include <cstdlib>
#include <fstream>
#include <sstream>
#include <string>

#include "flowsim/scenario_toml.h"
#include "flowsim/simulation.h"

namespace {

// Loss, a drop of the rate and an outage: every controller shows its answers to each.
constexpr const char* scenario_text = R"(
duration = "12s"
[link]
rate = "50M"
rtt = "40ms"
buffer = "0.5bdp"
loss = "0.01%"
steps = [{ at = "4s", rate = "20M" }, { at = "6s", rate = "50M" }]
outages = [{ at = "9s", length = "600ms" }]
[[flow]]
fixed_rate = "30M"
)";

std::string curve(std::string_view controller) {
  auto scenario = flowsim::parse_scenario(scenario_text, "text").value();
  scenario.flows[0].controller = controller;
  const auto result = flowsim::simulate(scenario).value();
  // Kilobytes: the last digits of floating-point arithmetic differ between compilers.
  std::string text = "time_ms phase window_kb pacing_kb_s in_flight_kb delivered_kb\n";
  for (size_t i = 0; i < result.times.size(); i += 100) {
    const flowsim::FlowPoint& point = result.flows[0].points[i];
    text += fmt::format("{} {} {} {} {} {}\n", result.times[i].count() / 1'000'000, point.phase, point.window_bytes / 1000,
                        point.pacing_bytes_s / 1000, point.in_flight_bytes / 1000, point.delivered_bytes / 1000);
  }
  return text;
}

}  // namespace

TEST_CASE("window curves are as recorded") {
  for (const std::string_view controller : haul::congestion::names()) {
    const std::string path = fmt::format("{}/tests/golden/congestion/{}.curve", HAUL_SOURCE_DIR, controller);
    INFO(path);
    const std::string now = curve(controller);
    if (std::getenv("HAUL_UPDATE_GOLDEN") != nullptr) std::ofstream(path) << now;
    std::ifstream file(path);
    std::ostringstream recorded;
    recorded << file.rdbuf();
    CHECK(recorded.str() == now);
  }
}
