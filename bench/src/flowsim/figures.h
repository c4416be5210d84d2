// Figures of a simulation, and whether they are as expected.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "flowsim/simulation.h"

namespace flowsim {

struct Figures {
  double use = 0;         ///< payload of the flows that are no rivals, by what the link could carry while any of them ran
  double steady_use = 0;  ///< the same over the second half
  double loss = 0;        ///< packets lost, by queue or otherwise, of all that were sent
  Duration queue_mean = Duration::zero();
  Duration queue_p95 = Duration::zero();
  double share = 0;                 ///< of the flows that are no rivals, of what all moved while all ran
  double jain = 0;                  ///< of the rates of the flows that are no rivals, while all of them ran (its second half)
  double rates_factor = 0;          ///< largest by smallest of the same rates
  std::optional<Duration> slowest;  ///< of the flows that are no rivals and have an end; absent: one did not reach it
  std::optional<Duration> reaches_90;  ///< of the last flow that is no rival: from its start to 90 % of the line
  /// The rate on the wire that the first flow's controller remembers, by the link's last one; absent: it remembers none.
  std::optional<double> estimate;
  Duration stall = Duration::zero();  ///< the longest of the first flow
};

Figures figures(const Scenario& scenario, const SimulationResult& result);

/// One expectation and how it came out.
struct Verdict {
  std::string what;
  std::string measured;
  std::string expected;
  bool met = false;
};
std::vector<Verdict> judge(const Scenario& scenario, const Figures& figures);

}  // namespace flowsim
