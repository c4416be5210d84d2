// The outcome of simulations for programs.
#include "haul_bench/sim_json.h"

#include <algorithm>

#include "measure/durations.h"

namespace bench {

namespace {

Json optional_seconds(const std::optional<haul::Duration>& duration) {
  return duration ? Json(seconds(*duration)) : Json(nullptr);
}

Json figures_json(const flowsim::Figures& figures) {
  Json json;
  json["use"] = figures.use;
  json["steady_use"] = figures.steady_use;
  json["loss"] = figures.loss;
  json["queue_mean_s"] = seconds(figures.queue_mean);
  json["queue_p95_s"] = seconds(figures.queue_p95);
  json["share"] = figures.share;
  json["jain"] = figures.jain;
  json["slowest_s"] = optional_seconds(figures.slowest);
  json["reaches_90_s"] = optional_seconds(figures.reaches_90);
  json["longest_stall_s"] = seconds(figures.stall);
  return json;
}

Json flow_json(const flowsim::FlowResult& flow, size_t step) {
  Json json;
  json["name"] = flow.name;
  json["controller"] = flow.controller;
  json["rival"] = flow.rival;
  json["started_s"] = seconds(flow.started_at);
  json["took_s"] = optional_seconds(flow.took);
  json["delivered_bytes"] = flow.delivered_bytes;
  json["sent_bytes"] = flow.sent_bytes;
  json["lost_bytes"] = flow.lost_bytes;
  json["spurious_bytes"] = flow.spurious_bytes;
  for (size_t i = 0; i < flow.points.size(); i += step) {
    const flowsim::FlowPoint& point = flow.points[i];
    json["points"].push_back({point.delivered_bytes, point.window_bytes, point.in_flight_bytes, point.pacing_bytes_s,
                              seconds(point.rtt), point.phase});
  }
  return json;
}

}  // namespace

Json point_columns() { return {"delivered_bytes", "window_bytes", "in_flight_bytes", "pacing_bytes_s", "rtt_s", "phase"}; }

Json run_json(const SimRun& run) {
  const size_t step = std::max<size_t>(run.result.times.size() / 1000, 1);
  Json one;
  one["name"] = run.scenario.name;
  one["description"] = run.scenario.description;
  one["seed"] = run.scenario.seed;
  one["burst_packets"] = run.scenario.burst_packets;
  one["elapsed_s"] = seconds(run.result.elapsed);
  one["figures"] = figures_json(run.figures);
  one["bounds"] = Json::array();
  for (const flowsim::Verdict& verdict : run.verdicts) {
    one["bounds"].push_back(
        {{"what", verdict.what}, {"measured", verdict.measured}, {"aim", verdict.expected}, {"met", verdict.met}});
  }
  for (size_t i = 0; i < run.result.times.size(); i += step) {
    one["times_s"].push_back(seconds(run.result.times[i]));
    one["queue_s"].push_back(seconds(run.result.queue_delays[i]));
  }
  one["flows"] = Json::array();
  for (const flowsim::FlowResult& flow : run.result.flows) one["flows"].push_back(flow_json(flow, step));
  return one;
}

Json heat_maps_json(const std::vector<HeatMap>& maps) {
  Json json = Json::array();
  for (const HeatMap& map : maps) {
    json.push_back({{"name", map.title}, {"losses", map.losses}, {"rtts_ms", map.rtts_ms}, {"use", map.use}});
  }
  return json;
}

std::string sim_json(const std::vector<SimRun>& runs, const std::vector<HeatMap>& maps) {
  Json json;
  json["point_columns"] = point_columns();
  json["runs"] = Json::array();
  for (const SimRun& run : runs) json["runs"].push_back(run_json(run));
  json["heat_maps"] = heat_maps_json(maps);
  return json.dump() + "\n";
}

}  // namespace bench
