// What `hub` takes for a rival, and what it gets beside one: in the simulator.
#include <fmt/format.h>

#include <algorithm>
#include <catch2/catch.hpp>
#include <string>
#include <vector>

#include "flowsim/figures.h"
#include "flowsim/scenario_toml.h"
#include "flowsim/simulation.h"

namespace {

using namespace std::chrono_literals;
using flowsim::Duration;
using flowsim::SimulationResult;

struct Run {
  SimulationResult result;
  flowsim::Figures figures;
};

Run run(const std::string& text) {
  const auto scenario = flowsim::parse_scenario(text, "text");
  INFO(scenario.status().to_string());
  REQUIRE(scenario.ok());
  auto result = flowsim::simulate(*scenario);
  REQUIRE(result.ok());
  const flowsim::Figures figures = flowsim::figures(*scenario, *result);
  return {std::move(*result), figures};
}

bool ever_in(const Run& run, size_t flow, std::string_view phase) {
  const auto& points = run.result.flows[flow].points;
  return std::any_of(points.begin(), points.end(), [phase](const flowsim::FlowPoint& point) { return point.phase == phase; });
}

Duration longest_queue(const Run& run, Duration from, Duration to) {
  Duration longest = Duration::zero();
  for (size_t i = 0; i < run.result.times.size(); ++i) {
    if (run.result.times[i] >= from && run.result.times[i] < to) longest = std::max(longest, run.result.queue_delays[i]);
  }
  return longest;
}

double median_share(std::string_view rate, std::string_view rtt, Duration lasts) {
  std::vector<double> shares;
  // Jitter, and starts apart by a part of a round trip and more: without them one run is all that there is.
  for (const int rival_starts_ms : {0, 230, 1100}) {
    const Run each =
        run(fmt::format("duration = \"{}s\"\nseed = {}\n[link]\nrate = \"{}\"\nrtt = \"{}\"\nbuffer = \"1bdp\"\n"
                        "jitter = \"0.2ms\"\n[[flow]]\n[[flow]]\nname = \"cubic\"\ncontroller = \"cubic\"\n"
                        "start = \"{}ms\"\nrival = true\n",
                        lasts / 1s, rival_starts_ms + 1, rate, rtt, rival_starts_ms));
    shares.push_back(each.figures.share);
    CHECK(each.figures.share > 0.25);
    CHECK(each.figures.share < 0.75);
  }
  std::sort(shares.begin(), shares.end());
  return shares[shares.size() / 2];
}

}  // namespace

TEST_CASE("hub takes its own queue after a step of the rate for nobody else's") {
  const Run fast =
      run("duration = \"12s\"\n[link]\nrate = \"500M\"\nrtt = \"100ms\"\nbuffer = \"1bdp\"\n"
          "steps = [{ at = \"4s\", rate = \"250M\" }]\n[[flow]]\n");
  CHECK_FALSE(ever_in(fast, 0, "compete"));
  CHECK(longest_queue(fast, 6s, 12s) < 5ms);
  const Run slow =
      run("duration = \"12s\"\n[link]\nrate = \"50M\"\nrtt = \"40ms\"\nbuffer = \"0.5bdp\"\n"
          "steps = [{ at = \"4s\", rate = \"20M\" }]\n[[flow]]\n");
  CHECK_FALSE(ever_in(slow, 0, "compete"));
  CHECK(longest_queue(slow, 6s, 12s) < 13ms);  // it aims at 10 ms there
}

TEST_CASE("hub and one CUBIC share a link about evenly") {
  const auto& [rate, rtt] = GENERATE(table<const char*, const char*>({{"50M", "30ms"}, {"100M", "40ms"}, {"500M", "100ms"}}));
  CAPTURE(rate, rtt);
  const double share = median_share(rate, rtt, 60s);
  CHECK(share > 0.4);
  CHECK(share < 0.6);
}

TEST_CASE("hub does not take the queue of a rival that was there for minutes for a part of the path") {
  const Run long_beside = run(
      "duration = \"180s\"\n[link]\nrate = \"50M\"\nrtt = \"30ms\"\nbuffer = \"1bdp\"\n[[flow]]\n[[flow]]\nname = \"cubic\"\n"
      "controller = \"cubic\"\nrival = true\n");
  CHECK(long_beside.figures.share > 0.4);
  CHECK(long_beside.figures.share < 0.6);
}

TEST_CASE("a few flows of hub alone are not kept apart as rivals") {
  const Run own = run(
      "duration = \"40s\"\n[link]\nrate = \"500M\"\nrtt = \"50ms\"\nbuffer = \"1bdp\"\n[[flow]]\ncount = 4\nevery = \"1s\"\n");
  CHECK(own.figures.jain > 0.95);
  CHECK(own.figures.queue_mean < 12ms);  // 50 ms is the buffer, and was filled
}

TEST_CASE("a start that is steered a few times a round trip overshoots into nobody's loss, and is no slower") {
  const Run start =
      run("duration = \"20s\"\n[link]\nrate = \"500M\"\nrtt = \"100ms\"\nbuffer = \"1bdp\"\n[[flow]]\nsteered = true\n");
  CHECK(start.result.dropped_packets < 50);
  CHECK(start.figures.use > 0.92);
  const Run faster =
      run("duration = \"3s\"\n[link]\nrate = \"1G\"\nrtt = \"100ms\"\nbuffer = \"1bdp\"\n[[flow]]\nsteered = true\n");
  CHECK(faster.result.dropped_packets < 50);
  REQUIRE(faster.figures.reaches_90);
  CHECK(*faster.figures.reaches_90 < 1200ms);
}
