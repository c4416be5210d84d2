// A run on real sockets in the simulator's terms, so that figures and report are the same.
#pragma once

#include <array>
#include <string>
#include <vector>

#include "haul_bench/sim.h"
#include "wan/emulator.h"
#include "wan/matrix.h"
#include "wan/tcp_watch.h"

namespace bench {

/// What the kernel told at one time after the beginning: of the program, and of the rival.
struct Watched {
  haul::Duration at = haul::Duration::zero();
  std::array<wan::TcpState, 2> states{};
};

struct SeriesRequest {
  const wan::Row* row = nullptr;
  const wan::Program* program = nullptr;
  const wan::Record* record = nullptr;
  const std::vector<Watched>* watched = nullptr;
  haul::Duration duration = haul::Duration::zero();
  uint64_t seed = 1;
};

/// `delivered_bytes` of the points is payload that arrived at the far end, what was sent twice included; `figures.use` is
/// by `goodput_bits_s`, the program's own count. `path`: haul's description of its lane; `controller`: of haul's, that steered
/// it, or empty. The flow is named after that, else after the kernel's congestion control.
SimRun series_of(const SeriesRequest& request, const std::string& path, const std::string& controller, double goodput_bits_s);

/// The kernel's congestion control that haul's description of a lane names. Empty: none.
std::string kernel_congestion_in(const std::string& path);

}  // namespace bench
