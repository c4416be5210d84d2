// Runs a scenario in virtual time and keeps what happened.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "flowsim/scenario.h"
#include "haul/status.h"

namespace flowsim {

/// One flow at one moment, for plots and golden files.
struct FlowPoint {
  uint64_t delivered_bytes = 0;
  uint64_t window_bytes = 0;
  uint64_t in_flight_bytes = 0;
  uint64_t pacing_bytes_s = 0;  ///< 0: unpaced
  Duration rtt = Duration::zero();
  std::string_view phase;
  bool running = false;
};

struct FlowResult {
  std::string name;
  std::string controller;
  bool rival = false;
  Duration started_at = Duration::zero();  ///< from the scenario's start
  std::optional<Duration> took;            ///< absent: had no end, or did not reach it
  uint64_t delivered_bytes = 0;
  uint64_t sent_bytes = 0;
  uint64_t lost_bytes = 0;
  uint64_t spurious_bytes = 0;
  Duration longest_stall = Duration::zero();
  std::optional<haul::PathMemory> memory;  ///< what the controller would tell the next connection
  bool memory_failed = false;              ///< … and what it was told was wrong
  std::vector<FlowPoint> points;           ///< one for each of SimulationResult::times
};

struct SimulationResult {
  std::vector<Duration> times;         ///< of the points, from the scenario's start
  std::vector<Duration> queue_delays;  ///< at the same times
  std::vector<double> capacity_bytes;  ///< what the link could have carried up to these times, on the wire
  std::vector<FlowResult> flows;
  Duration elapsed = Duration::zero();  ///< until the end, or until the last flow was over
  uint64_t passed_packets = 0;
  uint64_t dropped_packets = 0;
  uint64_t lost_packets = 0;
};

/// Errors: invalid (a controller that is not there, a flow that resumes one that is not there).
/// Deterministic: the same scenario gives the same result.
haul::Result<SimulationResult> simulate(const Scenario& scenario);

}  // namespace flowsim
