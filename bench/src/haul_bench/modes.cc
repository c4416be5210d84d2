// The measurements of haul-bench: warm up, ask both sides what they used, measure, ask again, compare the bytes.
#include "haul_bench/modes.h"

#include <algorithm>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "haul_bench/drive.h"
#include "haul_bench/ping_pong.h"
#include "haul_bench/verify.h"
#include "haul_bench/workload.h"
#include "measure/durations.h"

namespace bench {

namespace {

constexpr double bytes_per_gb = 1e9;

double cpu_s(const Usage& before, const Usage& after) {
  return static_cast<double>(after.cpu_time_ns - before.cpu_time_ns) / 1e9;
}

std::optional<uint64_t> known(uint64_t bytes) { return bytes == 0 ? std::nullopt : std::optional(bytes); }

/// Rates, processor time and memory of what was driven between two answers about usage.
void set_usage(Report& report, const Settings& settings, const DriveResult& driven, const BothUsages& before,
               const BothUsages& after) {
  const double gigabytes = static_cast<double>(driven.bytes) / bytes_per_gb;
  report.elapsed_s = seconds(driven.elapsed);
  report.bytes_moved = driven.bytes;
  if (report.elapsed_s > 0) report.ops_per_s = static_cast<double>(driven.transfers) / report.elapsed_s;
  if (gigabytes > 0 && report.elapsed_s > 0) {
    report.goodput_gbytes_s = gigabytes / report.elapsed_s;
    if (driven.steady_bytes_s && settings.duration_s) report.steady_gbytes_s = *driven.steady_bytes_s / bytes_per_gb;
    const double client = cpu_s(before.client, after.client) / gigabytes;
    const double server = cpu_s(before.server, after.server) / gigabytes;
    report.cpu_s_per_gb_sender = settings.get() ? server : client;
    report.cpu_s_per_gb_receiver = settings.get() ? client : server;
  }
  report.retransmits =
      after.client.retransmits - before.client.retransmits + after.server.retransmits - before.server.retransmits;
  const auto client_peak = known(after.client.peak_resident_bytes);
  const auto server_peak = known(after.server.peak_resident_bytes);
  report.peak_resident_bytes_sender = settings.get() ? server_peak : client_peak;
  report.peak_resident_bytes_receiver = settings.get() ? client_peak : server_peak;
}

using Run = std::function<haul::Result<DriveResult>(const DriveLimits&)>;

/// One warm-up and one measurement of the same kind.
haul::Result<DriveResult> measure_run(Session& session, const Settings& settings, uint64_t transfers, const Run& run,
                                      Report& report) {
  PathWatch watch(session.peer(), settings.transport, from_seconds(settings.series_every_s));
  if (settings.warmup_s > 0) {
    const auto warmed = run({from_seconds(settings.warmup_s), UINT64_MAX, settings.inflight, from_seconds(settings.drain_s)});
    if (!warmed) return warmed.status();
  }
  const auto before = session.usages();
  if (!before) return before.status();
  auto driven = run({from_seconds(settings.measured_s()), transfers, settings.inflight, from_seconds(settings.drain_s),
                     settings.series_every_s > 0 ? &watch : nullptr});
  if (!driven) return driven.status();
  const auto after = session.usages();
  if (!after) return after.status();
  set_usage(report, settings, *driven, *before, *after);
  set_latency(report, driven->latency);
  report.series = watch.moments();
  report.series_began = watch.began();
  return driven;
}

haul::Result<Report> measure_transfers(Session& session, const Settings& settings) {
  const Workload workload(session, settings);
  const Run run = [&](const DriveLimits& limits) {
    return drive(session, limits, [&workload](uint64_t index, haul::TransferCallback on_done) {
      return workload.start(index, std::move(on_done));
    });
  };
  uint64_t transfers = UINT64_MAX;
  if (settings.size_bytes) transfers = (*settings.size_bytes + workload.transfer_bytes() - 1) / workload.transfer_bytes();
  Report report;
  const auto driven = measure_run(session, settings, transfers, run, report);
  if (!driven) return driven.status();
  if (settings.mode == Mode::descriptors && report.ops_per_s) report.descriptors_per_s = *report.ops_per_s * settings.count;
  const haul::Status same = verify(session, workload, driven->transfers);
  if (!same.ok()) return same;
  report.verified = true;
  return report;
}

haul::Result<Report> measure_round_trips(Session& session, const Settings& settings) {
  uint64_t sequence = 0;  // goes on from the warm-up, so that the working set is walked through
  const Run run = [&](const DriveLimits& limits) { return ping_pong(session, settings.block_bytes, limits, sequence); };
  const uint64_t transfers =
      settings.size_bytes ? std::max<uint64_t>(*settings.size_bytes / settings.block_bytes, 1) : UINT64_MAX;
  Report report;
  const auto driven = measure_run(session, settings, transfers, run, report);
  if (!driven) return driven.status();
  report.half_rtt_us = *report.p50_us / 2;
  return report;
}

haul::Result<Report> measure_idle(Session& session, const Settings& settings) {
  constexpr auto settle = std::chrono::seconds(1);
  const haul::Clock& clock = haul::system_clock();
  const auto rest = [&](haul::Duration duration) {
    const haul::TimePoint end = clock.now() + duration;
    return session.run_until([&] { return clock.now() >= end; }, duration + settle, "the end of the rest");
  };
  if (const haul::Status settled = rest(settle); !settled.ok()) return settled;
  const auto before = session.usages();
  if (!before) return before.status();
  const haul::TimePoint begin = clock.now();
  if (const haul::Status rested = rest(from_seconds(settings.measured_s())); !rested.ok()) return rested;
  const auto after = session.usages();
  if (!after) return after.status();
  Report report;
  report.elapsed_s = seconds(clock.now() - begin);
  report.cpu_percent_client = cpu_s(before->client, after->client) / report.elapsed_s * 100;
  report.cpu_percent_server = cpu_s(before->server, after->server) / report.elapsed_s * 100;
  return report;
}

haul::Result<Report> measure_mode(Session& session, const Settings& settings) {
  if (settings.mode == Mode::idle) return measure_idle(session, settings);
  return settings.mode == Mode::latency && !settings.get() ? measure_round_trips(session, settings)
                                                           : measure_transfers(session, settings);
}

/// Who steers what is moved, as far as this side knows: what is read over tcp is sent, and so steered, by the other.
std::optional<std::string> controller_in_force(const haul::PeerStats& stats, const Settings& settings) {
  for (const haul::PathStats& path : stats.paths) {
    if (path.transport == settings.transport && path.direction == (settings.get() ? "in" : "out") && path.controller != "none")
      return path.controller;
  }
  return std::nullopt;
}

/// Who steers the connection by itself, as it says.
std::optional<std::string> controller_of_lane(const std::string& description) {
  constexpr std::string_view before = "congestion control ";
  const size_t at = description.find(before);
  if (at == std::string::npos) return std::nullopt;
  const size_t from = at + before.size();
  return description.substr(from, description.find_first_of(" ,;)", from) - from);
}

std::string last_lane(const haul::PeerStats& stats) {
  return stats.lanes.empty() ? std::string() : stats.lanes.back().description;
}

}  // namespace

haul::Result<Report> measure(Session& session, const Settings& settings) {
  // The lane's description names the kernel's congestion control in force.
  const std::string at_first = last_lane(session.peer().stats());
  if (at_first.find(settings.congestion) == std::string::npos) {
    return haul::Status(haul::StatusCode::unsupported, "--congestion " + settings.congestion + " is not in force: " + at_first +
                                                           "; see net.ipv4.tcp_available_congestion_control");
  }
  auto report = measure_mode(session, settings);
  if (!report) return report;
  // What was tried, as sending without copying, may have been given up under way.
  const haul::PeerStats after = session.peer().stats();
  report->path = last_lane(after);
  // The engine steers nothing of quic: its connections do it themselves, with the same controllers.
  report->controller = settings.transport == "quic" ? controller_of_lane(report->path) : controller_in_force(after, settings);
  report->lanes = static_cast<size_t>(std::count_if(after.lanes.begin(), after.lanes.end(), [&](const haul::LaneStats& lane) {
    return lane.transport == settings.transport;
  }));
  return report;
}

}  // namespace bench
