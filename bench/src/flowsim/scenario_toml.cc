// Scenarios from TOML.
#include "flowsim/scenario_toml.h"

#include <fmt/format.h>

#include <fstream>
#include <sstream>

#include "flowsim/link.h"
#include "flowsim/toml_reader.h"

namespace flowsim {

namespace {

using haul::Status;
using haul::StatusCode;

std::optional<std::string> parse_controller(const std::string& text) {
  for (const std::string_view name : haul::congestion::names()) {
    if (name == text) return text;
  }
  return std::nullopt;
}

void read_flow(Reader& reader, std::vector<Flow>& flows) {
  Flow flow;
  uint32_t count = 1;
  Duration every = Duration::zero();
  flow.name = fmt::format("flow{}", flows.size() + 1);
  reader.text("name", flow.name);
  reader.read("controller", flow.controller, parse_controller,
              fmt::format("a controller; there are: {}", fmt::join(haul::congestion::names(), ", ")));
  reader.duration("start", flow.start);
  reader.size("bytes", flow.bytes);
  reader.duration("extra_rtt", flow.extra_rtt);
  reader.rate("app_rate", flow.app_rate_bytes_s);
  reader.flag("rival", flow.rival);
  reader.flag("steered", flow.steered);
  reader.text("resumes", flow.resumes);
  reader.text("tenant", flow.tenant);
  reader.whole("priority", flow.priority, 0, 255);
  reader.rate("fixed_rate", flow.options.fixed_rate);
  reader.size("initial_window", flow.options.initial_window_bytes);
  reader.size("max_window", flow.options.max_window_bytes);
  reader.whole("count", count, 1, 10000);
  reader.duration("every", every);
  const std::string name = flow.name;
  for (uint32_t i = 0; i < count; ++i) {
    if (count > 1) flow.name = fmt::format("{}-{}", name, i + 1);
    flows.push_back(flow);
    flow.start += every;
  }
}

void read_expectations(Reader& reader, Expectations& expected) {
  reader.duration("completes_within", expected.completes_within);
  reader.fraction("use", expected.use_at_least);
  reader.fraction("steady_use", expected.steady_use_at_least);
  reader.duration("queue_mean", expected.queue_mean_at_most);
  reader.fraction("share_at_least", expected.share_at_least);
  reader.fraction("share_at_most", expected.share_at_most);
  reader.fraction("jain", expected.jain_at_least);
  reader.duration("reaches_90_within", expected.reaches_90_within);
  reader.positive("rates_within_factor", expected.rates_within_factor);
  reader.fraction("estimate_within", expected.estimate_within);
  reader.duration("stall", expected.stall_at_most);
}

void read_scenario(Reader& reader, Scenario& scenario) {
  reader.text("name", scenario.name);
  reader.text("description", scenario.description);
  reader.whole("seed", scenario.seed, 0, uint64_t{1} << 53);
  reader.duration("duration", scenario.duration);
  reader.whole("payload", scenario.payload_bytes, 1, 1U << 20);
  reader.whole("header", scenario.header_bytes, 0, 1U << 16);
  reader.whole("burst_packets", scenario.burst_packets, 1, 1024);
  reader.table("link", [&](Reader& inner) { read_link(inner, scenario.link); });
  reader.tables("tenant", [&](Reader& inner) {
    Tenant tenant;
    inner.text("name", tenant.name);
    inner.rate("rate", tenant.rate_bytes_s);
    scenario.tenants.push_back(tenant);
  });
  reader.tables("flow", [&](Reader& inner) { read_flow(inner, scenario.flows); });
  reader.table("expect", [&](Reader& inner) { read_expectations(inner, scenario.expectations); });
}

/// What no single key shows.
std::string contradiction(const Scenario& scenario) {
  if (scenario.flows.empty()) return "there is no flow: add [[flow]]";
  if (scenario.duration <= Duration::zero()) return "duration must be above 0";
  if (const std::string wrong = contradiction(scenario.link); !wrong.empty()) return "link: " + wrong;
  for (const Flow& flow : scenario.flows) {
    if (flow.tenant.empty()) continue;
    bool found = false;
    for (const Tenant& tenant : scenario.tenants) found |= tenant.name == flow.tenant;
    if (!found) return fmt::format("flow.tenant \"{}\" is not there: add [[tenant]] with that name", flow.tenant);
  }
  return {};
}

}  // namespace

void read_link(Reader& reader, Link& link) {
  reader.rate("rate", link.rate_bytes_s);
  reader.duration("rtt", link.rtt);
  if (const auto product = parse_buffer("1bdp", link)) {
    link.buffer_bytes = *product;
  } else {
    reader.refuse("more than 1 PB would be under way: take less rate or round trip");
  }
  reader.read(
      "buffer", link.buffer_bytes, [&](std::string_view text) { return parse_buffer(text, link); },
      "a buffer: write \"1bdp\", \"26ms\" (at the link's rate) or \"64KiB\"");
  reader.fraction("loss", link.loss);
  reader.table("burst_loss", [&](Reader& inner) {
    BurstLoss burst;
    inner.fraction("enter", burst.enter);
    inner.fraction("leave", burst.leave);
    inner.fraction("loss", burst.loss);
    link.burst_loss = burst;
  });
  reader.duration("jitter", link.jitter);
  reader.fraction("reorder", link.reorder);
  reader.duration("reorder_delay", link.reorder_delay);
  reader.duration("mark_above", link.mark_above);
  reader.duration("codel", link.codel_target);
  reader.rate("back_rate", link.back_rate_bytes_s);
  reader.tables("steps", [&](Reader& inner) {
    RateStep step;
    inner.duration("at", step.at);
    inner.rate("rate", step.rate_bytes_s);
    link.steps.push_back(step);
  });
  reader.tables("outages", [&](Reader& inner) {
    Outage outage;
    inner.duration("at", outage.at);
    inner.duration("length", outage.length);
    link.outages.push_back(outage);
  });
}

haul::Result<std::string> read_text(const std::string& path, std::string_view what) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  if (!file || !(text << file.rdbuf())) {
    return Status(StatusCode::unavailable, fmt::format("{} {} can't be read: check the path and its rights", what, path));
  }
  return text.str();
}

haul::Result<Scenario> parse_scenario(std::string_view text, const std::string& source) {
  Scenario scenario;
  const Status status =
      read_toml(text, source, "see bench/scenarios for examples", [&](Reader& reader) { read_scenario(reader, scenario); });
  if (!status.ok()) return status;
  if (const std::string wrong = contradiction(scenario); !wrong.empty()) {
    return Status(StatusCode::invalid, fmt::format("{}:1: {}", source, wrong));
  }
  if (scenario.name.empty()) scenario.name = source;
  return scenario;
}

haul::Result<Scenario> load_scenario(const std::string& path) {
  const auto text = read_text(path, "scenario file");
  if (!text) return text.status();
  return parse_scenario(*text, path);
}

}  // namespace flowsim
