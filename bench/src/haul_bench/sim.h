// haul-bench sim: controllers over scenarios in virtual time.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "flowsim/figures.h"
#include "flowsim/scenario.h"
#include "flowsim/simulation.h"

namespace bench {

struct SimSettings {
  std::vector<std::string> paths;        ///< scenario files, or folders of them
  std::vector<std::string> controllers;  ///< in place of the scenarios' own; each gives a run
  std::optional<uint64_t> seed;
  bool heat_map = false;    ///< use of the link over loss and round trip, from the first scenario
  std::string json_path;    ///< "-": standard output
  std::string report_path;  ///< HTML
  std::string memory_path;  ///< remembered paths: read before, written after
};

/// One scenario that was run.
struct SimRun {
  flowsim::Scenario scenario;
  flowsim::SimulationResult result;
  flowsim::Figures figures;
  std::vector<flowsim::Verdict> verdicts;
  double wall_s = 0;
};

/// Use of the link for every loss (rows) and round trip (columns).
struct HeatMap {
  std::string title;
  std::vector<double> losses;
  std::vector<double> rtts_ms;
  std::vector<std::vector<double>> use;  ///< not a number: not measured
};

/// "-": standard output. Errors: unavailable.
haul::Status write_file(const std::string& path, const std::string& text);

/// 0, or 1 when a bound was missed or something failed.
int run_sim(const SimSettings& settings);

std::string sim_json(const std::vector<SimRun>& runs, const std::vector<HeatMap>& maps);

/// What a page says before its plots.
struct ReportHead {
  std::string title;
  std::string html;  ///< after the title
};
/// One page with everything in it: no scripts, no other files.
std::string sim_report(const ReportHead& head, const std::vector<SimRun>& runs, const std::vector<HeatMap>& maps);
/// Bounds that were met and missed, as ReportHead::html.
std::string verdicts_table(const std::vector<SimRun>& runs);

}  // namespace bench
