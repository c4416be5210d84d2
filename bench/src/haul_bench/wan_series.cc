// Points of the emulator and of the kernel, side by side.
#include "haul_bench/wan_series.h"

#include <algorithm>
#include <string_view>

#include "flowsim/link.h"

namespace bench {

namespace {

using haul::Duration;

flowsim::Scenario scenario_of(const SeriesRequest& request, const std::string& path, const std::string& controller) {
  flowsim::Scenario scenario;
  scenario.name = request.row->name + ": " + request.program->name();
  scenario.description = path;
  scenario.seed = request.seed;
  scenario.duration = request.duration;
  scenario.link = request.row->link;
  flowsim::Flow flow;
  flow.name = request.program->haul ? "haul" : "iperf3";
  flow.controller = request.program->controller;
  if (request.program->haul) flow.controller = controller.empty() ? kernel_congestion_in(path) : controller;
  scenario.flows.push_back(flow);
  if (request.row->rival) {
    flow.name = "rival";
    flow.controller = request.row->rival->controller;
    flow.rival = true;
    scenario.flows.push_back(flow);
  }
  return scenario;
}

/// The last that was told up to a time; times only grow.
class Told {
 public:
  explicit Told(const std::vector<Watched>& watched) : watched_(watched) {}
  wan::TcpState at(Duration time, size_t flow) {
    while (next_ < watched_.size() && watched_[next_].at <= time) ++next_;
    return next_ == 0 ? wan::TcpState{} : watched_[next_ - 1].states.at(flow);
  }

 private:
  const std::vector<Watched>& watched_;
  size_t next_ = 0;
};

Duration longest_stall(const std::vector<flowsim::FlowPoint>& points, const std::vector<Duration>& times) {
  Duration longest = Duration::zero();
  size_t moved = 0;
  for (size_t i = 1; i < points.size(); ++i) {
    if (points[i].delivered_bytes != points[i - 1].delivered_bytes) moved = i;
    longest = std::max(longest, times[i] - times[moved]);
  }
  return longest;
}

}  // namespace

// "… congestion control bbr, …": bbr.
std::string kernel_congestion_in(const std::string& path) {
  constexpr std::string_view before = "congestion control ";
  const size_t at = path.find(before);
  if (at == std::string::npos) return {};
  const size_t from = at + before.size();
  return path.substr(from, path.find_first_of(" ,;)", from) - from);
}

SimRun series_of(const SeriesRequest& request, const std::string& path, const std::string& controller, double goodput_bits_s) {
  SimRun run;
  run.scenario = scenario_of(request, path, controller);
  flowsim::SimulationResult& result = run.result;
  const wan::Record& record = *request.record;
  const Duration every = record.point_every;
  const size_t count = std::min(record.points.size(), static_cast<size_t>(request.duration / every) + 1);
  const haul::TimePoint start{};
  const flowsim::Bottleneck line(request.row->link, start, request.seed);
  for (size_t i = 0; i < count; ++i) {
    result.times.push_back(every * static_cast<int64_t>(i));
    result.queue_delays.push_back(record.points[i].queue);
    result.capacity_bytes.push_back(line.capacity_bytes(start, start + result.times.back()));
  }
  result.elapsed = count > 0 ? result.times.back() : Duration::zero();
  result.passed_packets = record.passed_packets;
  result.dropped_packets = record.dropped_packets;
  result.lost_packets = record.lost_packets;
  for (size_t index = 0; index < run.scenario.flows.size(); ++index) {
    const flowsim::Flow& flow = run.scenario.flows[index];
    flowsim::FlowResult& made = result.flows.emplace_back();
    made.name = flow.name;
    made.controller = flow.controller;
    made.rival = flow.rival;
    Told told(*request.watched);
    for (size_t i = 0; i < count; ++i) {
      const wan::TcpState state = told.at(result.times[i], index);
      made.points.push_back({record.points[i].arrived_bytes.at(index),
                             state.window_bytes,
                             state.in_flight_bytes,
                             state.pacing_bytes_s,
                             state.rtt,
                             {},
                             true});
    }
    made.delivered_bytes = count > 0 ? made.points.back().delivered_bytes : 0;
    made.longest_stall = longest_stall(made.points, result.times);
  }
  run.figures = flowsim::figures(run.scenario, result);
  run.figures.use = goodput_bits_s / 8 / static_cast<double>(request.row->link.rate_bytes_s);
  return run;
}

}  // namespace bench
