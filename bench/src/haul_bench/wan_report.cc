// The outcome of haul-bench wan: text, JSON, and the page of the simulator's bench.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <tuple>

#include "haul_bench/sim_json.h"
#include "haul_bench/svg.h"
#include "haul_bench/wan.h"
#include "haul_bench/wan_series.h"
#include "measure/durations.h"

namespace bench {

namespace {

bool counts(const WanRun& run) { return run.failed.empty() && run.rejected.empty(); }

/// Of the program's connection with the largest window, while anything was known of it.
double mean_rtt_ms(const WanRun& run) {
  double sum = 0;
  double known = 0;
  for (const flowsim::FlowPoint& point : run.sim.result.flows.front().points) {
    if (point.rtt == haul::Duration::zero()) continue;
    sum += milliseconds(point.rtt);
    ++known;
  }
  return known > 0 ? sum / known : 0;
}

std::string calibration_text(const wan::Calibration& calibration) {
  return fmt::format(
      "{:.2f} Mbit/s, {:.3f} ms there, {:.3f} ms back (asked: {:g} Mbit/s, {:g} ms), loss {:.5f} of {} packets "
      "(asked: {:g} ± {:.5f}){}",
      calibration.rate_bytes_s * 8e-6, milliseconds(calibration.delay_forward), milliseconds(calibration.delay_back),
      calibration.rate_wanted_bytes_s * 8e-6, milliseconds(calibration.delay_wanted), calibration.loss,
      calibration.loss_packets, calibration.loss_wanted, calibration.loss_tolerance,
      calibration.real_time ? "" : "; without real-time priority");
}

/// Of haul: the second half, and memory beside what is asked of it.
std::string haul_line(const WanRun& run, const wan::Row& row) {
  std::string line;
  if (run.steady_bits_s) {
    line += fmt::format("second half {:.1f} Mbit/s, use {:.4f}", *run.steady_bits_s * 1e-6,
                        *run.steady_bits_s / 8 / static_cast<double>(row.link.rate_bytes_s));
  }
  if (run.peak_sender_bytes && run.peak_receiver_bytes) {
    const uint64_t asked = memory_asked_bytes(row.link);
    const bool met = std::max(*run.peak_sender_bytes, *run.peak_receiver_bytes) <= asked;
    line +=
        fmt::format("{}memory {:.1f} and {:.1f} MB (asked: {:.1f}; {})", line.empty() ? "" : "; ",
                    static_cast<double>(*run.peak_sender_bytes) * 1e-6, static_cast<double>(*run.peak_receiver_bytes) * 1e-6,
                    static_cast<double>(asked) * 1e-6, met ? "met" : "MISSED");
  }
  return line.empty() ? line : fmt::format("  {:<16} {}\n", "", line);
}

std::string run_line(const WanRun& run, const wan::Row& row) {
  if (!run.failed.empty()) return fmt::format("  {:<16} FAILED: {}\n", run.program.name(), run.failed);
  const flowsim::Figures& figures = run.sim.figures;
  std::string line = fmt::format(
      "  {:<16} {:>8.1f} Mbit/s, use {:.3f}; queue {:.1f} ms mean, {:.1f} ms p95; round trip {:.1f} ms; dropped {}, lost {}",
      run.program.name(), run.goodput_bits_s * 1e-6, figures.use, milliseconds(figures.queue_mean),
      milliseconds(figures.queue_p95), mean_rtt_ms(run), run.record.dropped_packets, run.record.lost_packets);
  if (run.retransmits) line += fmt::format(", resent {}", *run.retransmits);
  if (run.rival_goodput_bits_s) {
    line += fmt::format("; rival {:.1f} Mbit/s, share {:.3f}", *run.rival_goodput_bits_s * 1e-6, figures.share);
  }
  line += fmt::format("  [off by {:.0f} us mean, {:.0f} us p99]\n", run.record.sending.mean_us(),
                      run.record.sending.quantile_us(0.99));
  line += haul_line(run, row);
  if (!run.rejected.empty()) line += fmt::format("    REJECTED: {}\n", run.rejected);
  return line;
}

Json lateness_json(const wan::Lateness& lateness) {
  return {{"packets", lateness.packets()},          {"mean_us", lateness.mean_us()},
          {"p50_us", lateness.quantile_us(0.5)},    {"p99_us", lateness.quantile_us(0.99)},
          {"p999_us", lateness.quantile_us(0.999)}, {"max_us", lateness.max_us()}};
}

template <typename T>
Json optional_json(const std::optional<T>& value) {
  return value ? Json(*value) : Json(nullptr);
}

Json text_or_null(const std::string& text) { return text.empty() ? Json(nullptr) : Json(text); }

Json wan_run_json(const WanRun& run) {
  Json json;
  json["program"] = run.program.name();
  json["controller"] = text_or_null(run.sim.result.flows.front().controller);
  const bool over_kernel = run.transport == "tcp";
  json["congestion"] = text_or_null(!run.program.haul ? run.program.controller
                                    : over_kernel     ? kernel_congestion_in(run.path)
                                                      : "");
  json["connections"] = run.program.haul ? run.lanes : run.program.connections;
  json["goodput_bits_s"] = run.goodput_bits_s;
  json["use"] = run.sim.figures.use;
  json["steady_goodput_bits_s"] = optional_json(run.steady_bits_s);
  json["peak_resident_bytes_sender"] = optional_json(run.peak_sender_bytes);
  json["peak_resident_bytes_receiver"] = optional_json(run.peak_receiver_bytes);
  json["rival_goodput_bits_s"] = optional_json(run.rival_goodput_bits_s);
  json["retransmits"] = optional_json(run.retransmits);
  json["round_trip_ms"] = mean_rtt_ms(run);
  json["passed_packets"] = run.record.passed_packets;
  json["dropped_packets"] = run.record.dropped_packets;
  json["lost_packets"] = run.record.lost_packets;
  json["path"] = text_or_null(run.path);
  json["emulator"] = {{"sending", lateness_json(run.record.sending)},
                      {"reading", lateness_json(run.record.reading)},
                      {"real_time", run.record.real_time}};
  json["rejected"] = text_or_null(run.rejected);
  json["failed"] = text_or_null(run.failed);
  json["series"] = run_json(run.sim);
  return json;
}

Json calibration_json(const wan::Calibration& calibration) {
  return {{"delay_wanted_ms", milliseconds(calibration.delay_wanted)},
          {"delay_forward_ms", milliseconds(calibration.delay_forward)},
          {"delay_back_ms", milliseconds(calibration.delay_back)},
          {"rate_wanted_bits_s", calibration.rate_wanted_bytes_s * 8},
          {"rate_bits_s", calibration.rate_bytes_s * 8},
          {"loss_wanted", calibration.loss_wanted},
          {"loss", calibration.loss},
          {"loss_tolerance", calibration.loss_tolerance},
          {"loss_packets", calibration.loss_packets},
          {"real_time", calibration.real_time}};
}

/// Nothing disturbs it but random loss, and nobody shares it.
bool is_plain(const wan::Row& row) {
  const flowsim::Link& link = row.link;
  return !row.rival && !link.burst_loss && link.outages.empty() && link.steps.empty() && link.reorder <= 0 &&
         link.jitter == haul::Duration::zero() && link.codel_target == haul::Duration::zero() && link.back_rate_bytes_s == 0;
}

/// Maps of the links that differ in loss and round trip only, one for each program; from at least two cells.
std::vector<HeatMap> heat_maps(const WanResult& result) {
  using Key = std::tuple<std::string, uint64_t, long>;  // program, rate, queue in hundredths of a BDP
  std::map<Key, std::map<std::pair<double, double>, double>> groups;
  for (const WanLinkResult& link : result.links) {
    const flowsim::Link& path = link.row.link;
    if (!is_plain(link.row)) continue;
    for (const WanRun& run : link.runs) {
      if (!counts(run)) continue;
      const Key key{run.program.name(), path.rate_bytes_s, std::lround(wan::buffer_bdp(path) * 100)};
      groups[key][{path.loss, milliseconds(path.rtt)}] = run.sim.figures.use;
    }
  }
  std::vector<HeatMap> maps;
  for (const auto& [key, cells] : groups) {
    if (cells.size() < 2) continue;
    HeatMap& map = maps.emplace_back();
    map.title = fmt::format("{}, {:g} Mbit/s, {:g} BDP", std::get<0>(key), static_cast<double>(std::get<1>(key)) * 8e-6,
                            static_cast<double>(std::get<2>(key)) / 100);
    for (const auto& [cell, use] : cells) {
      map.losses.push_back(cell.first);
      map.rtts_ms.push_back(cell.second);
    }
    for (std::vector<double>* axis : {&map.losses, &map.rtts_ms}) {
      std::sort(axis->begin(), axis->end());
      axis->erase(std::unique(axis->begin(), axis->end()), axis->end());
    }
    for (const double loss : map.losses) {
      auto& row = map.use.emplace_back();
      for (const double rtt : map.rtts_ms) {
        const auto found = cells.find({loss, rtt});
        row.push_back(found == cells.end() ? std::numeric_limits<double>::quiet_NaN() : found->second);
      }
    }
  }
  return maps;
}

}  // namespace

std::string wan_text(const WanLinkResult& link) {
  std::string text = fmt::format("{}\n  calibration: {}\n", link.row.name, calibration_text(link.calibration));
  for (const std::string& fault : link.faults) text += fmt::format("  REJECTED: {}\n", fault);
  for (const WanRun& run : link.runs) text += run_line(run, link.row);
  return text;
}

std::string wan_json(const WanSettings& settings, const wan::Matrix& matrix, const WanResult& result) {
  Json json;
  json["mode"] = "wan";
  json["transport"] = matrix.transport;
  json["io"] = settings.io;
  json["zero_copy"] = settings.zero_copy;
  json["kernel_controller"] = settings.kernel_controller;
  json["lanes"] = settings.lanes;
  json["remembered"] = settings.remembered;
  json["duration_s"] = seconds(matrix.duration);
  json["seed"] = matrix.seed;
  json["point_columns"] = point_columns();
  json["links"] = Json::array();
  for (const WanLinkResult& link : result.links) {
    Json one;
    one["name"] = link.row.name;
    one["rate_bits_s"] = link.row.link.rate_bytes_s * 8;
    one["rtt_ms"] = milliseconds(link.row.link.rtt);
    one["queue_bytes"] = link.row.link.buffer_bytes;
    one["loss"] = link.row.link.loss;
    one["memory_asked_bytes"] = memory_asked_bytes(link.row.link);
    one["rival"] = link.row.rival ? Json(link.row.rival->name()) : Json(nullptr);
    one["calibration"] = calibration_json(link.calibration);
    one["rejected"] = link.faults;
    one["runs"] = Json::array();
    for (const WanRun& run : link.runs) one["runs"].push_back(wan_run_json(run));
    json["links"].push_back(std::move(one));
  }
  json["heat_maps"] = heat_maps_json(heat_maps(result));
  json["skipped"] = result.skipped;
  json["incomplete"] = text_or_null(result.incomplete);
  return json.dump() + "\n";
}

std::string wan_report(const WanResult& result) {
  ReportHead head{"haul: across emulated long links", "<p>Real sockets of this kernel between two network namespaces.</p>\n"};
  std::vector<SimRun> runs;
  for (const std::string& skipped : result.skipped) {
    head.html += "<p class=\"missed\">Skipped: " + escaped(skipped) + "</p>\n";
  }
  if (!result.incomplete.empty()) head.html += "<p class=\"missed\">Incomplete: " + escaped(result.incomplete) + "</p>\n";
  for (const WanLinkResult& link : result.links) {
    head.html += "<pre>" + escaped(wan_text(link)) + "</pre>\n";
    std::vector<std::pair<std::string, double>> bars;
    for (const WanRun& run : link.runs) {
      if (!counts(run)) continue;
      bars.emplace_back(run.program.name(), run.goodput_bits_s * 1e-6);
      runs.push_back(run.sim);
    }
    if (bars.size() > 1) head.html += svg_bars(link.row.name + ": goodput, Mbit/s", bars);
  }
  return sim_report(head, runs, heat_maps(result));
}

}  // namespace bench
