// Runs scenarios, prints a line a bound, writes JSON and the report.
#include "haul_bench/sim.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <utility>

#include "congestion/path_cache.h"
#include "flowsim/scenario_toml.h"
#include "measure/durations.h"

namespace bench {

namespace {

using haul::Status;
using haul::StatusCode;

haul::Result<std::vector<std::string>> scenario_files(const std::vector<std::string>& paths) {
  std::vector<std::string> files;
  for (const std::string& path : paths) {
    std::error_code error;
    if (!std::filesystem::is_directory(path, error)) {
      files.push_back(path);
      continue;
    }
    const size_t before = files.size();
    for (const auto& entry : std::filesystem::directory_iterator(path, error)) {
      if (entry.path().extension() == ".toml") files.push_back(entry.path().string());
    }
    if (files.size() == before) return Status(StatusCode::invalid, path + " holds no .toml file: name a scenario");
    std::sort(files.begin() + static_cast<std::ptrdiff_t>(before), files.end());
  }
  return files;
}

Status read_file(const std::string& path, std::string& text) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream content;
  if (!file || !(content << file.rdbuf())) return Status(StatusCode::unavailable, path + " can't be read");
  text = content.str();
  return {};
}

haul::Result<SimRun> run_one(flowsim::Scenario scenario) {
  const auto began = std::chrono::steady_clock::now();
  auto result = flowsim::simulate(scenario);
  if (!result) return result.status();
  SimRun run;
  run.wall_s = std::chrono::duration<double>(std::chrono::steady_clock::now() - began).count();
  run.figures = flowsim::figures(scenario, *result);
  run.verdicts = flowsim::judge(scenario, run.figures);
  run.scenario = std::move(scenario);
  run.result = std::move(*result);
  return run;
}

void choose_controller(flowsim::Scenario& scenario, const std::string& controller) {
  if (controller.empty()) return;
  for (flowsim::Flow& flow : scenario.flows) {
    if (!flow.rival || std::any_of(scenario.flows.begin(), scenario.flows.end(),
                                   [&](const flowsim::Flow& other) { return other.resumes == flow.name; })) {
      flow.controller = controller;
    }
  }
  scenario.name += ", " + controller;
}

/// Prints to standard error when standard output carries the JSON.
void print_run(const SimRun& run, std::FILE* out) {
  const flowsim::Figures& figures = run.figures;
  fmt::print(out, "{}\n  use {:.4f}, second half {:.4f}, loss {:.4f}, queue {:.2f} ms mean, {:.2f} ms p95", run.scenario.name,
             figures.use, figures.steady_use, figures.loss, milliseconds(figures.queue_mean), milliseconds(figures.queue_p95));
  if (run.result.flows.size() > 1) fmt::print(out, ", share {:.3f}, Jain {:.3f}", figures.share, figures.jain);
  if (figures.slowest) fmt::print(out, ", done in {:.3f} s", milliseconds(*figures.slowest) * 1e-3);
  fmt::print(out, "  [{:.0f} × real time]\n", milliseconds(run.result.elapsed) * 1e-3 / std::max(run.wall_s, 1e-6));
  for (const flowsim::Verdict& verdict : run.verdicts) {
    fmt::print(out, "  {:<7}{}: {} (aim {})\n", verdict.met ? "met" : "MISSED", verdict.what, verdict.measured,
               verdict.expected);
  }
}

haul::Result<HeatMap> heat_map(const flowsim::Scenario& base) {
  HeatMap map;
  map.title = base.name;
  map.losses = {0, 1e-5, 1e-4, 1e-3, 1e-2, 2e-2, 5e-2, 1e-1, 2e-1};
  map.rtts_ms = {1, 5, 20, 50, 100, 200, 500};
  const double buffer_bdp = static_cast<double>(base.link.buffer_bytes) /
                            (static_cast<double>(base.link.rate_bytes_s) * static_cast<double>(base.link.rtt.count()) * 1e-9);
  for (const double loss : map.losses) {
    auto& row = map.use.emplace_back();
    for (const double rtt_ms : map.rtts_ms) {
      flowsim::Scenario scenario = base;
      scenario.link.loss = loss;
      scenario.link.rtt = haul::Duration(static_cast<int64_t>(rtt_ms * 1e6));
      scenario.link.buffer_bytes =
          static_cast<uint64_t>(buffer_bdp * static_cast<double>(base.link.rate_bytes_s) * rtt_ms * 1e-3);
      const auto run = run_one(std::move(scenario));
      if (!run) return run.status();
      row.push_back(run->figures.use);
    }
  }
  return map;
}

std::string path_name(const flowsim::Scenario& scenario, const flowsim::Flow& flow) {
  std::string name = scenario.name + "/" + flow.name;
  std::replace(name.begin(), name.end(), ' ', '_');
  return name;
}

int64_t unix_seconds() {
  return std::chrono::duration_cast<std::chrono::seconds>(std::chrono::system_clock::now().time_since_epoch()).count();
}

/// Remembered paths across invocations, as services keep them across connections.
class Memory {
 public:
  Status open(const std::string& path) {
    path_ = path;
    std::error_code error;
    if (path.empty() || !std::filesystem::exists(path, error)) return {};
    std::string text;
    if (Status status = read_file(path, text); !status.ok()) return status;
    return cache_.parse(text, path);
  }
  void lend(flowsim::Scenario& scenario) {
    for (flowsim::Flow& flow : scenario.flows) {
      if (flow.resumes.empty()) flow.options.memory = cache_.lend(path_name(scenario, flow), unix_seconds());
    }
  }
  void take(const SimRun& run) {
    for (size_t i = 0; i < run.result.flows.size(); ++i) {
      const flowsim::FlowResult& flow = run.result.flows[i];
      const std::string path = path_name(run.scenario, run.scenario.flows[i]);
      if (flow.memory_failed) cache_.forget(path);
      cache_.give_back(path);
      if (flow.memory) cache_.remember(path, *flow.memory, unix_seconds());
    }
  }
  Status save() const { return path_.empty() ? Status() : write_file(path_, cache_.to_text()); }

 private:
  std::string path_;
  haul::congestion::PathCache cache_{{}};
};

Status run_all(const SimSettings& settings, std::vector<SimRun>& runs, std::vector<HeatMap>& maps, std::FILE* out) {
  const auto files = scenario_files(settings.paths);
  if (!files) return files.status();
  Memory memory;
  if (Status status = memory.open(settings.memory_path); !status.ok()) return status;
  const std::vector<std::string> controllers =
      settings.controllers.empty() ? std::vector<std::string>{""} : settings.controllers;
  for (const std::string& file : *files) {
    const auto loaded = flowsim::load_scenario(file);
    if (!loaded) return loaded.status();
    for (const std::string& controller : controllers) {
      flowsim::Scenario scenario = *loaded;
      choose_controller(scenario, controller);
      if (settings.seed) scenario.seed = *settings.seed;
      if (!settings.memory_path.empty()) memory.lend(scenario);
      if (settings.heat_map && &file == &files->front()) {
        auto map = heat_map(scenario);
        if (!map) return map.status();
        maps.push_back(std::move(*map));
      }
      auto run = run_one(std::move(scenario));
      if (!run) return run.status();
      memory.take(*run);
      print_run(*run, out);
      runs.push_back(std::move(*run));
    }
  }
  return memory.save();
}

}  // namespace

Status write_file(const std::string& path, const std::string& text) {
  if (path == "-") {
    fmt::print("{}", text);
    return {};
  }
  std::ofstream file(path, std::ios::binary | std::ios::trunc);
  if (!file || !(file << text) || !file.flush()) return Status(StatusCode::unavailable, path + " can't be written");
  return {};
}

int run_sim(const SimSettings& settings) {
  std::vector<SimRun> runs;
  std::vector<HeatMap> maps;
  Status status = run_all(settings, runs, maps, settings.json_path == "-" ? stderr : stdout);
  if (status.ok() && !settings.json_path.empty()) status = write_file(settings.json_path, sim_json(runs, maps));
  if (status.ok() && !settings.report_path.empty()) {
    const ReportHead head{"haul: congestion control in virtual time", verdicts_table(runs)};
    status = write_file(settings.report_path, sim_report(head, runs, maps));
  }
  if (!status.ok()) {
    fmt::print(stderr, "haul-bench: {}\n", status.to_string());
    return 1;
  }
  const bool all_met = std::all_of(runs.begin(), runs.end(), [](const SimRun& run) {
    return std::all_of(run.verdicts.begin(), run.verdicts.end(), [](const flowsim::Verdict& verdict) { return verdict.met; });
  });
  return all_met ? 0 : 1;
}

}  // namespace bench
