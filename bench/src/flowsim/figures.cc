// From the points of a run to the figures that are judged.
#include "flowsim/figures.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "congestion/numbers.h"

namespace flowsim {

using haul::congestion::to_seconds;

namespace {

/// Indices of the first and the last point at which all of these flows ran; equal: never.
std::pair<size_t, size_t> common_time(const SimulationResult& result, bool with_rivals) {
  size_t first = 0;
  size_t last = 0;
  bool any = false;
  for (size_t i = 0; i < result.times.size(); ++i) {
    const bool all = std::all_of(result.flows.begin(), result.flows.end(), [&](const FlowResult& flow) {
      return (flow.rival && !with_rivals) || flow.points[i].running;
    });
    if (!all) continue;
    if (!any) first = i;
    any = true;
    last = i;
  }
  return {first, last};
}

/// When any of the judged flows ran.
std::pair<size_t, size_t> busy_time(const SimulationResult& result) {
  size_t first = result.times.size();
  size_t last = 0;
  for (size_t i = 0; i < result.times.size(); ++i) {
    const bool any = std::any_of(result.flows.begin(), result.flows.end(),
                                 [&](const FlowResult& flow) { return !flow.rival && flow.points[i].running; });
    if (!any) continue;
    first = std::min(first, i);
    last = i;
  }
  // The point after: what was delivered up to the end.
  return {std::min(first, last), std::min(last + 1, result.times.size() - 1)};
}

double moved(const FlowResult& flow, size_t from, size_t to) {
  return static_cast<double>(flow.points[to].delivered_bytes - flow.points[from].delivered_bytes);
}

double use_between(const SimulationResult& result, size_t from, size_t to) {
  double payload = 0;
  for (const FlowResult& flow : result.flows) payload += flow.rival ? 0 : moved(flow, from, to);
  const double capacity = result.capacity_bytes[to] - result.capacity_bytes[from];
  return capacity > 0 ? payload / capacity : 0;
}

void add_queue(const SimulationResult& result, size_t from, size_t to, Figures& figures) {
  std::vector<Duration> delays(result.queue_delays.begin() + static_cast<std::ptrdiff_t>(from),
                               result.queue_delays.begin() + static_cast<std::ptrdiff_t>(to) + 1);
  if (delays.empty()) return;
  double sum = 0;
  for (const Duration delay : delays) sum += static_cast<double>(delay.count());
  figures.queue_mean = Duration(static_cast<int64_t>(sum / static_cast<double>(delays.size())));
  const auto p95 = delays.begin() + static_cast<std::ptrdiff_t>((delays.size() - 1) * 95 / 100);
  std::nth_element(delays.begin(), p95, delays.end());
  figures.queue_p95 = *p95;
}

void add_fairness(const SimulationResult& result, Figures& figures) {
  const auto [own_first, own_last] = common_time(result, false);
  const size_t from = own_first + (own_last - own_first) / 2;
  double sum = 0;
  double squares = 0;
  double largest = 0;
  double smallest = std::numeric_limits<double>::infinity();
  size_t count = 0;
  for (const FlowResult& flow : result.flows) {
    if (flow.rival) continue;
    const double bytes = moved(flow, from, own_last);
    sum += bytes;
    squares += bytes * bytes;
    largest = std::max(largest, bytes);
    smallest = std::min(smallest, bytes);
    ++count;
  }
  figures.jain = squares > 0 ? sum * sum / (static_cast<double>(count) * squares) : 0;
  figures.rates_factor = smallest > 0 ? largest / smallest : std::numeric_limits<double>::infinity();

  const auto [all_first, all_last] = common_time(result, true);
  double own = 0;
  double all = 0;
  for (const FlowResult& flow : result.flows) {
    all += moved(flow, all_first, all_last);
    own += flow.rival ? 0 : moved(flow, all_first, all_last);
  }
  figures.share = all > 0 ? own / all : 0;
}

std::optional<Duration> time_to_90(const Scenario& scenario, const SimulationResult& result) {
  const FlowResult* flow = nullptr;
  for (const FlowResult& candidate : result.flows) flow = candidate.rival ? flow : &candidate;
  if (flow == nullptr) return std::nullopt;
  const double payload = static_cast<double>(scenario.payload_bytes);
  const double goodput_share = payload / (payload + scenario.header_bytes);
  const Duration step = result.times.size() > 1 ? result.times[1] - result.times[0] : Duration(1);
  const auto window = static_cast<size_t>(std::max<int64_t>(std::chrono::milliseconds(20) / step, 1));
  for (size_t i = window; i < result.times.size(); ++i) {
    if (result.times[i - window] < flow->started_at) continue;
    const double capacity = result.capacity_bytes[i] - result.capacity_bytes[i - window];
    if (moved(*flow, i - window, i) >= 0.9 * goodput_share * capacity) return result.times[i] - flow->started_at;
  }
  return std::nullopt;
}

std::optional<Duration> slowest(const Scenario& scenario, const SimulationResult& result) {
  std::optional<Duration> longest;
  for (size_t i = 0; i < result.flows.size(); ++i) {
    if (result.flows[i].rival || !scenario.flows[i].bytes) continue;
    if (!result.flows[i].took) return std::nullopt;
    longest = std::max(longest.value_or(Duration::zero()), *result.flows[i].took);
  }
  return longest;
}

std::optional<double> estimate(const Scenario& scenario, const SimulationResult& result) {
  if (result.flows.empty() || !result.flows.front().memory) return std::nullopt;
  const haul::PathMemory& memory = *result.flows.front().memory;
  const double payload_rate = static_cast<double>(memory.window_bytes) / to_seconds(memory.min_rtt);
  const double packet = static_cast<double>(scenario.payload_bytes) + scenario.header_bytes;
  const Link& link = scenario.link;
  const uint64_t line = link.steps.empty() ? link.rate_bytes_s : link.steps.back().rate_bytes_s;
  return payload_rate * packet / scenario.payload_bytes / static_cast<double>(line);
}

std::string time_text(std::optional<Duration> duration) {
  return duration ? fmt::format("{:.4g} ms", to_seconds(*duration) * 1e3) : std::string("never");
}

}  // namespace

Figures figures(const Scenario& scenario, const SimulationResult& result) {
  Figures figures;
  if (result.times.empty()) return figures;
  const auto [first, last] = busy_time(result);
  figures.use = use_between(result, first, last);
  figures.steady_use = use_between(result, first + (last - first) / 2, last);
  const uint64_t offered = result.passed_packets + result.dropped_packets;
  figures.loss =
      offered > 0 ? static_cast<double>(result.dropped_packets + result.lost_packets) / static_cast<double>(offered) : 0;
  add_queue(result, first, last, figures);
  add_fairness(result, figures);
  figures.slowest = slowest(scenario, result);
  figures.reaches_90 = time_to_90(scenario, result);
  figures.estimate = estimate(scenario, result);
  if (!result.flows.empty()) figures.stall = result.flows.front().longest_stall;
  return figures;
}

std::vector<Verdict> judge(const Scenario& scenario, const Figures& figures) {
  std::vector<Verdict> verdicts;
  const auto at_least = [&](const char* what, const std::optional<double>& bound, double measured) {
    if (bound) verdicts.push_back({what, fmt::format("{:.4f}", measured), fmt::format("≥ {:g}", *bound), measured >= *bound});
  };
  const auto at_most = [&](const char* what, const std::optional<double>& bound, double measured) {
    if (bound) verdicts.push_back({what, fmt::format("{:.4f}", measured), fmt::format("≤ {:g}", *bound), measured <= *bound});
  };
  const auto within = [&](const char* what, const std::optional<Duration>& bound, std::optional<Duration> measured) {
    if (bound) verdicts.push_back({what, time_text(measured), "≤ " + time_text(*bound), measured && *measured <= *bound});
  };
  const Expectations& expected = scenario.expectations;
  within("completion", expected.completes_within, figures.slowest);
  at_least("use of the link", expected.use_at_least, figures.use);
  at_least("use in the second half", expected.steady_use_at_least, figures.steady_use);
  within("mean queue", expected.queue_mean_at_most, figures.queue_mean);
  at_least("share beside rivals", expected.share_at_least, figures.share);
  at_most("share beside rivals", expected.share_at_most, figures.share);
  at_least("Jain index", expected.jain_at_least, figures.jain);
  within("time to 90 % of the line", expected.reaches_90_within, figures.reaches_90);
  at_most("fastest by slowest flow", expected.rates_within_factor, figures.rates_factor);
  if (expected.estimate_within) {
    const double off = figures.estimate ? std::abs(*figures.estimate - 1) : std::numeric_limits<double>::infinity();
    at_most("error of the remembered rate", expected.estimate_within, off);
  }
  within("longest stall", expected.stall_at_most, figures.stall);
  return verdicts;
}

}  // namespace flowsim
