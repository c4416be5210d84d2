// What is simulated: one bottleneck link, the flows that share it, and what is expected of them.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "haul/congestion.h"
#include "haul/time.h"

namespace flowsim {

using haul::Duration;

/// From `at` on, the link has this rate.
struct RateStep {
  Duration at = Duration::zero();
  uint64_t rate_bytes_s = 0;
};

/// Nothing passes, in either direction; what is sent is lost.
struct Outage {
  Duration at = Duration::zero();
  Duration length = Duration::zero();
};

/// Gilbert–Elliott: a good state without loss of its own, and a bad one.
struct BurstLoss {
  double enter = 0;  ///< probability per packet of turning bad
  double leave = 1;  ///< … of turning good again
  double loss = 1;   ///< … of being lost while bad
};

struct Link {
  uint64_t rate_bytes_s = 125'000'000;
  Duration rtt = std::chrono::milliseconds(100);  ///< there and back, without queue and without serialisation
  uint64_t buffer_bytes = 0;                      ///< drop-tail; the packet in service counts
  double loss = 0;                                ///< per packet, after the bottleneck
  std::optional<BurstLoss> burst_loss;
  Duration jitter = Duration::zero();  ///< up to so much more delay for each packet; order is kept
  double reorder = 0;                  ///< probability per packet of being delayed by `reorder_delay`, out of order
  Duration reorder_delay = Duration::zero();
  Duration mark_above = Duration::zero();    ///< packets that find a longer queue are marked (ECN); 0: none
  Duration codel_target = Duration::zero();  ///< CoDel (RFC 8289) with this target; 0: none
  uint64_t back_rate_bytes_s = 0;            ///< for acknowledgements of 80 bytes, merged while it is busy; 0: unlimited
  std::vector<RateStep> steps;               ///< by time
  std::vector<Outage> outages;               ///< by time
};

struct Flow {
  std::string name;
  std::string controller = "hub";
  Duration start = Duration::zero();
  std::optional<uint64_t> bytes;             ///< payload to move; absent: until the end
  Duration extra_rtt = Duration::zero();     ///< beyond the link's
  std::optional<uint64_t> app_rate_bytes_s;  ///< the application offers no more than this
  bool rival = false;                        ///< not part of the use of the link that is judged
  bool steered = false;  ///< the controller hears of it a few times a round trip only, as over tcp with `haul` in the kernel
  /// Starts when the flow of this name ends (plus `start`), with what its controller remembers of the path.
  std::string resumes;
  /// Shares a token bucket of this rate with the other flows that name the same tenant.
  std::string tenant;
  uint8_t priority = 0;
  haul::ControllerOptions options;
};

struct Tenant {
  std::string name;
  uint64_t rate_bytes_s = 0;
};

/// Bounds on the outcome. An absent one is not judged. Fractions, not per cent.
struct Expectations {
  std::optional<Duration> completes_within;  ///< every flow that has an end and is no rival, from its own start
  std::optional<double> use_at_least;        ///< of the link by payload, rivals excluded
  std::optional<double> steady_use_at_least;
  std::optional<Duration> queue_mean_at_most;
  std::optional<double> share_at_least;  ///< of what all flows moved while all of them ran, by those that are no rivals
  std::optional<double> share_at_most;
  std::optional<double> jain_at_least;
  std::optional<Duration> reaches_90_within;  ///< the first flow
  std::optional<double> rates_within_factor;  ///< largest by smallest rate of the flows that are no rivals
  std::optional<double> estimate_within;      ///< how far off the rate may be that the first flow remembers of the path
  std::optional<Duration> stall_at_most;      ///< the longest time without progress of the first flow
};

struct Scenario {
  std::string name;
  std::string description;
  uint64_t seed = 1;
  Duration duration = std::chrono::seconds(20);
  uint32_t payload_bytes = 1448;  ///< of a full packet
  uint32_t header_bytes = 52;     ///< what the wire carries besides
  uint32_t burst_packets = 1;     ///< so many packets are simulated as one; loss still strikes each alone
  Link link;
  std::vector<Tenant> tenants;
  std::vector<Flow> flows;
  Expectations expectations;
};

}  // namespace flowsim
