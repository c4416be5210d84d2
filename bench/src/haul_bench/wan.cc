// Goes through the links: calibrates each, then runs haul and what stands beside it, one after the other.
#include "haul_bench/wan.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <optional>
#include <sstream>
#include <utility>

#include "haul_bench/credentials.h"
#include "haul_bench/temporary_folder.h"
#include "measure/durations.h"
#include "wan/child.h"

namespace bench {

namespace {

using haul::Status;
using haul::StatusCode;

constexpr int exit_failed = 1;
constexpr int exit_usage = 2;
constexpr int calibrations = 3;
constexpr auto learning_for = std::chrono::seconds(10);  // with --remembered, before what is measured

int exit_code_of(const Status& status) {
  switch (status.code()) {
    case StatusCode::invalid: return exit_usage;
    case StatusCode::refused:
    case StatusCode::unsupported: return exit_not_permitted;
    case StatusCode::cancelled: return 128 + wan::Interruption::signal();
    default: return exit_failed;
  }
}

bool kernel_has(const std::string& congestion) {
  std::ifstream file("/proc/sys/net/ipv4/tcp_available_congestion_control");
  std::string name;
  while (file >> name) {
    if (name == congestion) return true;
  }
  return false;
}

/// Why this cannot be measured here. Empty: it can.
std::string missing(const wan::Program& program) {
  if (wan::program_path("iperf3").empty()) return "iperf3 is not installed: apt-get install iperf3";
  if (!kernel_has(program.controller)) {
    return fmt::format("the kernel has no congestion control {}: modprobe tcp_{}", program.controller, program.controller);
  }
  return {};
}

/// haul with every controller, over every congestion control of the kernel, that was asked for; then what can be had of
/// `beside`. The rest is told and noted.
std::vector<wan::Program> programs_of(const WanSettings& settings, const wan::Matrix& matrix,
                                      std::vector<std::string>& skipped) {
  std::vector<wan::Program> programs;
  const auto or_default = [](const std::vector<std::string>& names) {
    return names.empty() ? std::vector<std::string>{""} : names;
  };
  for (const std::string& controller : or_default(matrix.controllers)) {
    for (const std::string& kernel : or_default(settings.congestions))
      programs.push_back({true, controller, settings.lanes, kernel});
  }
  for (const wan::Program& program : matrix.beside) {
    const std::string why = missing(program);
    if (why.empty()) {
      programs.push_back(program);
      continue;
    }
    skipped.push_back(fmt::format("{}: {}", program.name(), why));
    fmt::print(stderr, "haul-bench: SKIPPED {}\n", skipped.back());
  }
  return programs;
}

/// Why a calibration does not count. Of a late one, what it measured says no more.
std::vector<std::string> complaints(const wan::Calibration& calibration) {
  if (!calibration.late.empty()) return {calibration.late};
  return wan::faults(calibration);
}

class Bench {
 public:
  Bench(const WanSettings& settings, const wan::Matrix& matrix) : settings_(settings), matrix_(matrix) {}

  /// What was measured before an error is in result().
  Status run() {
    for (const wan::Row& row : matrix_.rows) {
      const std::string why = row.rival ? missing(*row.rival) : "";
      if (!why.empty()) return {StatusCode::unavailable, "the rival of " + row.name + " is missing: " + why};
    }
    if (matrix_.transport == "quic") {
      auto made = TemporaryCredentials::make();
      if (!made) return made.status();
      credentials_.emplace(std::move(*made));
    }
    std::vector<wan::Program> programs;
    if (!settings_.calibrate_only) programs = programs_of(settings_, matrix_, result_.skipped);
    for (const wan::Row& row : matrix_.rows) {
      if (Status status = measure(row, programs); !status.ok()) {
        result_.incomplete = status.to_string();
        return status;
      }
    }
    return {};
  }

  const WanResult& result() const { return result_; }

  int exit_code() const {
    bool rejected = false;
    for (const WanLinkResult& link : result_.links) {
      rejected |= !link.faults.empty();
      for (const WanRun& run : link.runs) {
        if (!run.failed.empty()) return exit_failed;
        rejected |= !run.rejected.empty();
      }
    }
    return rejected ? exit_rejected : 0;
  }

 private:
  /// A calibration is so short that one hiccup of the machine makes it late, or another link than it is; then another one is
  /// taken.
  haul::Result<wan::Calibration> calibrate(const flowsim::Link& link) const {
    for (int attempt = 1;; ++attempt) {
      auto calibration = wan::calibrate(link, matrix_.seed);
      if (!calibration || attempt == calibrations) return calibration;
      const auto why = complaints(*calibration);
      if (why.empty()) return calibration;
      fmt::print(stderr, "haul-bench: calibration {} of at most {} does not count: {}\n", attempt, calibrations,
                 fmt::join(why, "; "));
    }
  }

  Status measure(const wan::Row& row, const std::vector<wan::Program>& programs) {
    auto calibration = calibrate(row.link);
    if (!calibration) return calibration.status();
    WanLinkResult link;
    link.row = row;
    link.calibration = *calibration;
    link.faults = complaints(*calibration);
    Status status;
    if (link.faults.empty()) status = run_all(row, programs, link.runs);
    fmt::print(settings_.json ? stderr : stdout, "{}", wan_text(link));
    std::fflush(stdout);
    result_.links.push_back(std::move(link));
    return status;
  }

  Status run_all(const wan::Row& row, const std::vector<wan::Program>& programs, std::vector<WanRun>& runs) const {
    for (const wan::Program& program : programs) {
      const WanRequest request{&row,
                               program,
                               matrix_.transport,
                               settings_.io,
                               settings_.zero_copy,
                               settings_.kernel_controller,
                               credentials_ ? credentials_->folder() : "",
                               "",
                               matrix_.duration,
                               matrix_.seed};
      auto run = settings_.remembered && program.haul ? run_after_another(request) : run_across(request);
      if (!run) return run.status();
      runs.push_back(std::move(*run));
    }
    return {};
  }

  /// What fails in the run before is the outcome. Whether the emulator was late then does not matter.
  haul::Result<WanRun> run_after_another(WanRequest request) const {
    auto folder = TemporaryFolder::make();
    if (!folder) return folder.status();
    request.remembered_paths = folder->path() + "/paths";
    WanRequest before = request;
    before.duration = std::min<haul::Duration>(request.duration, learning_for);
    auto first = run_across(before);
    if (!first || !first->failed.empty()) return first;
    if (!std::filesystem::exists(request.remembered_paths)) {
      first->failed =
          fmt::format("{}: nothing was learned of the path in {} s", request.program.name(), seconds(before.duration));
      return first;
    }
    return run_across(request);
  }

  const WanSettings& settings_;
  const wan::Matrix& matrix_;
  std::optional<TemporaryCredentials> credentials_;  // of both sides, where the backend needs some
  WanResult result_;
};

}  // namespace

int run_wan(const WanSettings& settings) {
  const auto complain = [](const Status& status) {
    fmt::print(stderr, "haul-bench: {}\n", status.to_string());
    return exit_code_of(status);
  };
  const auto matrix = matrix_of(settings);
  if (!matrix) return complain(matrix.status());
  const wan::Interruption interruption;
  Bench bench(settings, *matrix);
  const Status outcome = bench.run();
  const WanResult& result = bench.result();
  if (!outcome.ok() && result.links.empty()) return complain(outcome);
  if (settings.json) fmt::print("{}", wan_json(settings, *matrix, result));
  if (!settings.report_path.empty()) {
    if (Status status = write_file(settings.report_path, wan_report(result)); !status.ok()) return complain(status);
  }
  return outcome.ok() ? bench.exit_code() : complain(outcome);
}

}  // namespace bench
