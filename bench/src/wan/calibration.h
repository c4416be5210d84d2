// Whether the emulated path is what it claims to be: measured with packets of our own before anything else is measured on it.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

#include "flowsim/scenario.h"
#include "haul/status.h"

namespace wan {

/// Measured by UDP probes from end to end, with the clock that both ends share.
struct Calibration {
  haul::Duration delay_wanted = haul::Duration::zero();   ///< half the round trip
  haul::Duration delay_forward = haul::Duration::zero();  ///< median, the probe's own serialisation taken off
  haul::Duration delay_back = haul::Duration::zero();
  double rate_wanted_bytes_s = 0;
  double rate_bytes_s = 0;    ///< of packets of 1500 bytes that were offered faster than that
  double loss_wanted = 0;     ///< random and burst loss together
  double loss = 0;            ///< of what was offered slower than the rate
  double loss_tolerance = 0;  ///< four standard deviations of what chance does with so many packets
  uint64_t loss_packets = 0;
  std::string late;  ///< why the emulator was too late for this to count; empty: it was not
  bool real_time = false;
};

constexpr double rate_tolerance = 0.015;
/// How far the delay each way may be off: a tenth of the shortest that is emulated. What a sleeping machine needs to wake the
/// emulator for a packet, 0.1 ms on two virtual processors, is in it.
constexpr haul::Duration delay_tolerance = std::chrono::microseconds(200);

/// Takes a second or two and some round trips, between two ends of its own. Outages, steps, jitter, reordering and CoDel
/// are left out: they are decided in code that is tested in virtual time.
/// Errors: refused, unsupported (see End), cancelled, unavailable (no probe arrived).
haul::Result<Calibration> calibrate(const flowsim::Link& link, uint64_t seed);

/// What is off, in words. Empty: the path is as it should be.
std::vector<std::string> faults(const Calibration& calibration);

/// Mean loss of a link, and four standard deviations of it over so many packets: losses in bursts scatter more.
double mean_loss(const flowsim::Link& link);
double loss_tolerance(const flowsim::Link& link, uint64_t packets);

}  // namespace wan
