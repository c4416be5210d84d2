// The outcome of simulations as one HTML page with plots.
#include <fmt/format.h>

#include <algorithm>

#include "haul_bench/sim.h"
#include "haul_bench/svg.h"
#include "measure/durations.h"

namespace bench {

namespace {

constexpr size_t most_points = 600;

/// Goodput of a flow between neighbouring plotted points, in Mbit/s.
Line rate_line(const SimRun& run, const flowsim::FlowResult& flow, size_t step) {
  Line line{flow.name + " (" + flow.controller + ")", {}};
  for (size_t i = step; i < run.result.times.size(); i += step) {
    const double bytes = static_cast<double>(flow.points[i].delivered_bytes - flow.points[i - step].delivered_bytes);
    line.points.emplace_back(seconds(run.result.times[i]),
                             bytes * 8e-6 / seconds(run.result.times[i] - run.result.times[i - step]));
  }
  return line;
}

template <typename Value>
Line flow_line(const SimRun& run, const flowsim::FlowResult& flow, size_t step, const Value& value) {
  Line line{flow.name + " (" + flow.controller + ")", {}};
  for (size_t i = 0; i < run.result.times.size(); i += step) {
    if (flow.points[i].running) line.points.emplace_back(seconds(run.result.times[i]), value(flow.points[i]));
  }
  return line;
}

std::string plots(const SimRun& run) {
  const size_t step = std::max<size_t>(run.result.times.size() / most_points, 1);
  const double end = std::max(seconds(run.result.elapsed), 1e-6);
  std::vector<Line> rates;
  std::vector<Line> windows;
  std::vector<Line> rtts;
  std::vector<std::pair<std::string, double>> bars;
  for (const flowsim::FlowResult& flow : run.result.flows) {
    rates.push_back(rate_line(run, flow, step));
    windows.push_back(
        flow_line(run, flow, step, [](const auto& point) { return static_cast<double>(point.window_bytes) * 1e-6; }));
    rtts.push_back(flow_line(run, flow, step, [](const auto& point) { return seconds(point.rtt) * 1e3; }));
    bars.emplace_back(flow.name, static_cast<double>(flow.delivered_bytes) * 1e-6);
  }
  Line queue{"queue", {}};
  for (size_t i = 0; i < run.result.times.size(); i += step) {
    // The longest in between: a plotted point must not hide a peak.
    const auto first = run.result.queue_delays.begin() + static_cast<std::ptrdiff_t>(i);
    const auto last =
        run.result.queue_delays.begin() + static_cast<std::ptrdiff_t>(std::min(i + step, run.result.times.size()));
    queue.points.emplace_back(seconds(run.result.times[i]), seconds(*std::max_element(first, last)) * 1e3);
  }
  std::string out = svg_lines("Goodput", "Mbit/s", end, rates) + svg_lines("Window", "MB", end, windows) +
                    svg_lines("Queue", "ms", end, {queue}) + svg_lines("Round trip", "ms", end, rtts);
  if (bars.size() > 1) out += svg_bars("Moved, MB", bars);
  return out;
}

std::string section(const SimRun& run, size_t number) {
  std::string out = fmt::format("<h2 id=\"run{}\">{}</h2>\n<p>{}</p>\n", number, escaped(run.scenario.name),
                                escaped(run.scenario.description));
  const flowsim::Figures& figures = run.figures;
  out += fmt::format(
      "<p>use {:.4f}, second half {:.4f}; lost {:.4f}; queue {:.2f} ms mean, {:.2f} ms p95; Jain {:.3f}; seed {}</p>\n",
      figures.use, figures.steady_use, figures.loss, seconds(figures.queue_mean) * 1e3, seconds(figures.queue_p95) * 1e3,
      figures.jain, run.scenario.seed);
  if (run.scenario.burst_packets > 1) {
    out += fmt::format("<p>Packets were simulated in bursts of {}.</p>\n", run.scenario.burst_packets);
  }
  return out + plots(run);
}

std::string heat_map_text(const HeatMap& map) {
  std::vector<std::string> rows;
  std::vector<std::string> columns;
  for (const double loss : map.losses) rows.push_back(fmt::format("{:g} %", loss * 100));
  for (const double rtt : map.rtts_ms) columns.push_back(fmt::format("{:g} ms", rtt));
  return svg_heat_map("Use of the link over loss and round trip: " + map.title, rows, columns, map.use);
}

}  // namespace

std::string verdicts_table(const std::vector<SimRun>& runs) {
  std::string out = "<table><tr><th>scenario</th><th>bound</th><th>measured</th><th>aim</th><th></th></tr>\n";
  for (size_t i = 0; i < runs.size(); ++i) {
    for (const flowsim::Verdict& verdict : runs[i].verdicts) {
      out +=
          fmt::format("<tr><td><a href=\"#run{}\">{}</a></td><td>{}</td><td>{}</td><td>{}</td><td class=\"{}\">{}</td></tr>\n",
                      i, escaped(runs[i].scenario.name), escaped(verdict.what), escaped(verdict.measured),
                      escaped(verdict.expected), verdict.met ? "met" : "missed", verdict.met ? "met" : "MISSED");
    }
  }
  return out + "</table>\n";
}

std::string sim_report(const ReportHead& head, const std::vector<SimRun>& runs, const std::vector<HeatMap>& maps) {
  std::string out =
      "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>" + escaped(head.title) +
      "</title>\n<style>"
      "body{font:15px sans-serif;max-width:1340px;margin:1em auto;padding:0 1em}svg{font:11px sans-serif;margin:4px}"
      "td,th{padding:2px 10px;text-align:left}.met{color:#080}.missed{color:#c00;font-weight:bold}</style></head><body>\n"
      "<h1>" +
      escaped(head.title) + "</h1>\n" + head.html;
  for (const HeatMap& map : maps) out += heat_map_text(map);
  for (size_t i = 0; i < runs.size(); ++i) out += section(runs[i], i);
  return out + "</body></html>\n";
}

}  // namespace bench
