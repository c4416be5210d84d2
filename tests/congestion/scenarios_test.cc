// The published scenarios and our aims, as bench/scenarios states them, with their bounds.
#include <algorithm>
#include <catch2/catch.hpp>
#include <filesystem>
#include <string>
#include <vector>

#include "flowsim/figures.h"
#include "flowsim/scenario_toml.h"
#include "flowsim/simulation.h"

namespace {

std::vector<std::string> scenario_files(const char* folder) {
  std::vector<std::string> paths;
  const std::filesystem::path root = std::filesystem::path(HAUL_SOURCE_DIR) / "bench/scenarios" / folder;
  for (const auto& entry : std::filesystem::directory_iterator(root)) paths.push_back(entry.path().string());
  std::sort(paths.begin(), paths.end());
  return paths;
}

void meets_its_bounds(const std::string& path) {
  INFO(path);
  const auto scenario = flowsim::load_scenario(path);
  INFO(scenario.status().to_string());
  REQUIRE(scenario.ok());
  const auto result = flowsim::simulate(*scenario);
  INFO(result.status().to_string());
  REQUIRE(result.ok());
  for (const flowsim::Verdict& verdict : flowsim::judge(*scenario, flowsim::figures(*scenario, *result))) {
    INFO(verdict.what << ": " << verdict.measured << ", expected " << verdict.expected);
    CHECK(verdict.met);
  }
}

}  // namespace

TEST_CASE("published scenarios keep their bounds") {
  const auto paths = scenario_files("published");
  REQUIRE(paths.size() >= 12);
  for (const std::string& path : paths) meets_its_bounds(path);
}

TEST_CASE("the aims of haul's own controller are met") {
  const auto paths = scenario_files("aims");
  REQUIRE(paths.size() >= 15);
  for (const std::string& path : paths) meets_its_bounds(path);
}

TEST_CASE("one scenario gives one result, and another seed another one") {
  auto scenario =
      flowsim::load_scenario(std::string(HAUL_SOURCE_DIR) + "/bench/scenarios/published/05-picoquic-satellite-loss.toml");
  REQUIRE(scenario.ok());
  const auto first = flowsim::simulate(*scenario);
  const auto again = flowsim::simulate(*scenario);
  scenario->seed = 2;
  const auto other = flowsim::simulate(*scenario);
  REQUIRE((first.ok() && again.ok() && other.ok()));
  CHECK(first->flows[0].took == again->flows[0].took);
  CHECK(first->lost_packets == again->lost_packets);
  CHECK(first->passed_packets == again->passed_packets);
  CHECK(first->lost_packets != other->lost_packets);
}
