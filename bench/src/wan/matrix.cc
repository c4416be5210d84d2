// Matrices from TOML: links with the keys of a scenario's link, and what runs across all of them.
#include "wan/matrix.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "flowsim/quantities.h"
#include "flowsim/toml_reader.h"
#include "haul/congestion.h"
#include "wan/one_way.h"

namespace wan {

namespace {

constexpr uint32_t most_streams = 64;
constexpr auto least_duration = std::chrono::seconds(1);
constexpr auto most_duration = std::chrono::hours(1);
constexpr std::string_view iperf3_remedy =
    "a congestion control of iperf3's: write \"cubic\", \"bbr\", or \"bbr:8\" for 8 streams";

double as_ms(haul::Duration duration) { return static_cast<double>(duration.count()) * 1e-6; }

void read_row(flowsim::Reader& reader, std::vector<Row>& rows) {
  Row row;
  reader.text("name", row.name);
  reader.read("rival", row.rival, parse_iperf3, iperf3_remedy);
  flowsim::read_link(reader, row.link);
  if (const std::string wrong = complaint(row.link); !wrong.empty()) reader.refuse(wrong);
  if (row.name.empty()) row.name = describe(row.link);
  rows.push_back(std::move(row));
}

void read_matrix(flowsim::Reader& reader, Matrix& matrix) {
  reader.duration("duration", matrix.duration);
  if (const std::string wrong = complaint(matrix.duration); !wrong.empty()) reader.refuse(wrong);
  reader.whole("seed", matrix.seed, 0, uint64_t{1} << 53);
  reader.text("transport", matrix.transport);
  const auto names = controller_names();
  reader.list(
      "controllers", matrix.controllers,
      [&names](const std::string& text) {
        return std::find(names.begin(), names.end(), text) != names.end() ? std::optional(text) : std::nullopt;
      },
      fmt::format("a controller of haul's; there are: {}", fmt::join(names, ", ")));
  matrix.beside = {{false, "cubic"}, {false, "bbr"}};
  reader.list("beside", matrix.beside, parse_iperf3, iperf3_remedy);
  reader.tables("link", [&](flowsim::Reader& inner) { read_row(inner, matrix.rows); });
  if (matrix.rows.empty()) reader.refuse("there is no link: add [[link]]");
}

}  // namespace

std::string Program::name() const {
  std::string name = haul ? "haul" : "iperf3";
  if (!controller.empty()) name += " " + controller;
  if (!kernel.empty()) name += " over " + kernel;
  if (connections == 0) name += " ×?";
  if (connections > 1) name += fmt::format(" ×{}", connections);
  return name;
}

std::vector<std::string> controller_names() {
  std::vector<std::string> names{"off", "automatic"};
  names.insert(names.end(), haul::congestion::names().begin(), haul::congestion::names().end());
  return names;
}

std::optional<Program> parse_iperf3(std::string_view text) {
  Program program;
  program.haul = false;
  const size_t colon = text.find(':');
  program.controller = text.substr(0, colon);
  if (program.controller.empty() ||
      program.controller.find_first_not_of("abcdefghijklmnopqrstuvwxyz0123456789_") != std::string::npos) {
    return std::nullopt;
  }
  if (colon != std::string_view::npos) {
    const auto streams = flowsim::parse_whole(text.substr(colon + 1), 1, most_streams);
    if (!streams) return std::nullopt;
    program.connections = static_cast<uint32_t>(*streams);
  }
  return program;
}

std::string complaint(haul::Duration duration) {
  if (duration >= least_duration && duration <= most_duration) return {};
  return "the duration must be from 1s to 3600s";
}

double buffer_bdp(const flowsim::Link& link) {
  return static_cast<double>(link.buffer_bytes) /
         (static_cast<double>(link.rate_bytes_s) * static_cast<double>(link.rtt.count()) * 1e-9);
}

std::string describe(const flowsim::Link& link) {
  std::string text = fmt::format("{:g} Mbit/s, {:g} ms, {:.3g} BDP", static_cast<double>(link.rate_bytes_s) * 8e-6,
                                 as_ms(link.rtt), buffer_bdp(link));
  if (link.loss > 0) text += fmt::format(", {:g} % loss", link.loss * 100);
  if (link.burst_loss) {
    text += fmt::format(", bursts ({:g} % in, {:g} % out, {:g} % lost)", link.burst_loss->enter * 100,
                        link.burst_loss->leave * 100, link.burst_loss->loss * 100);
  }
  for (const flowsim::Outage& outage : link.outages) {
    text += fmt::format(", dead for {:g} s at {:g} s", as_ms(outage.length) * 1e-3, as_ms(outage.at) * 1e-3);
  }
  for (const flowsim::RateStep& step : link.steps) {
    text += fmt::format(", {:g} Mbit/s from {:g} s on", static_cast<double>(step.rate_bytes_s) * 8e-6, as_ms(step.at) * 1e-3);
  }
  if (link.reorder > 0) {
    text += fmt::format(", {:g} % late by {:g} ms", link.reorder * 100, as_ms(link.reorder_delay));
  }
  if (link.jitter > haul::Duration::zero()) text += fmt::format(", jitter {:g} ms", as_ms(link.jitter));
  if (link.codel_target > haul::Duration::zero()) text += fmt::format(", CoDel {:g} ms", as_ms(link.codel_target));
  if (link.back_rate_bytes_s != 0) {
    text += fmt::format(", {:g} Mbit/s back", static_cast<double>(link.back_rate_bytes_s) * 8e-6);
  }
  return text;
}

haul::Result<Matrix> parse_matrix(std::string_view text, const std::string& source) {
  Matrix matrix;
  const haul::Status status = flowsim::read_toml(text, source, "see bench/scenarios/wan/links.toml for an example",
                                                 [&](flowsim::Reader& reader) { read_matrix(reader, matrix); });
  if (!status.ok()) return status;
  return matrix;
}

haul::Result<Matrix> load_matrix(const std::string& path) {
  const auto text = flowsim::read_text(path, "matrix file");
  if (!text) return text.status();
  return parse_matrix(*text, path);
}

}  // namespace wan
