// Scenarios from TOML: every key is known or refused, every mistake is told with its line and the remedy.
#include "flowsim/scenario_toml.h"

#include <fmt/format.h>
#include <toml++/toml.h>

#include <charconv>
#include <fstream>
#include <initializer_list>
#include <sstream>
#include <utility>

namespace flowsim {

namespace {

using haul::Status;
using haul::StatusCode;

struct Number {
  double value = 0;
  std::string_view unit;
};

std::optional<Number> split(std::string_view text) {
  Number number;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number.value);
  if (error != std::errc() || !(number.value >= 0)) return std::nullopt;
  number.unit = text.substr(static_cast<size_t>(end - text.data()));
  while (!number.unit.empty() && number.unit.front() == ' ') number.unit.remove_prefix(1);
  return number;
}

struct Unit {
  std::string_view name;
  double factor;
};

std::optional<double> scaled(std::string_view text, std::initializer_list<Unit> units) {
  const auto number = split(text);
  if (!number) return std::nullopt;
  for (const Unit& unit : units) {
    if (unit.name == number->unit) return number->value * unit.factor;
  }
  return std::nullopt;
}

std::optional<uint64_t> parse_size(std::string_view text) {
  const auto bytes = scaled(text, {{"", 1},
                                   {"K", 1e3},
                                   {"M", 1e6},
                                   {"G", 1e9},
                                   {"KB", 1e3},
                                   {"MB", 1e6},
                                   {"GB", 1e9},
                                   {"KiB", 1024},
                                   {"MiB", 1048576},
                                   {"GiB", 1073741824}});
  if (!bytes || *bytes > 1e15) return std::nullopt;
  return static_cast<uint64_t>(*bytes);
}

/// Reads the keys of one table; remembers the first mistake and which keys it was asked for.
class Reader {
 public:
  Reader(const toml::table& table, std::string source, std::string place, Status& status)
      : table_(table), source_(std::move(source)), place_(std::move(place)), status_(status) {}

  void fail(const toml::node& node, const std::string& message) {
    if (status_.ok())
      status_ = Status(StatusCode::invalid, fmt::format("{}:{}: {}", source_, node.source().begin.line, message));
  }

  const toml::node* find(std::string_view key) {
    known_.emplace_back(key);
    return table_.get(key);
  }

  /// Text, or a number where `parse` takes its text.
  template <typename T, typename Parse>
  void read(std::string_view key, T& into, const Parse& parse, std::string_view remedy) {
    const toml::node* node = find(key);
    if (node == nullptr) return;
    std::string text;
    if (const auto* string = node->as_string()) text = string->get();
    if (const auto* integer = node->as_integer()) text = std::to_string(integer->get());
    if (const auto* number = node->as_floating_point()) text = fmt::format("{}", number->get());
    if (const auto value = parse(text)) {
      into = *value;
    } else {
      fail(*node, fmt::format("{}{} = \"{}\" is not {}", place_, key, text, remedy));
    }
  }
  template <typename T>
  void rate(std::string_view key, T& into) {
    read(key, into, parse_rate, "a rate in bits per second above 0: write \"500M\", \"10G\"");
  }
  template <typename T>
  void duration(std::string_view key, T& into) {
    read(key, into, parse_duration, "a time: write \"100ms\", \"1.5s\", \"50us\"");
  }
  template <typename T>
  void fraction(std::string_view key, T& into) {
    read(key, into, parse_fraction, "a fraction: write \"1%\" or 0.01, between 0 and 1");
  }
  template <typename T>
  void size(std::string_view key, T& into) {
    read(key, into, parse_size, "a number of bytes: write \"4MB\", \"64KiB\"");
  }
  template <typename T>
  void whole(std::string_view key, T& into, uint64_t low, uint64_t high) {
    read(
        key, into,
        [&](std::string_view text) -> std::optional<T> {
          const auto number = split(text);
          if (!number || !number->unit.empty() || number->value < static_cast<double>(low)) return std::nullopt;
          if (number->value > static_cast<double>(high)) return std::nullopt;
          return static_cast<T>(number->value);
        },
        fmt::format("a whole number from {} to {}", low, high));
  }
  void positive(std::string_view key, std::optional<double>& into) {
    read(
        key, into,
        [](std::string_view text) -> std::optional<double> {
          const auto number = split(text);
          return number && number->unit.empty() ? std::optional(number->value) : std::nullopt;
        },
        "a number");
  }
  void text(std::string_view key, std::string& into) {
    read(
        key, into, [](const std::string& text) { return std::optional(text); }, "text");
  }
  void flag(std::string_view key, bool& into) {
    const toml::node* node = find(key);
    if (node == nullptr) return;
    if (const auto* value = node->as_boolean()) {
      into = value->get();
    } else {
      fail(*node, fmt::format("{}{} must be true or false", place_, key));
    }
  }
  /// Calls `each` with a Reader for every table of an array.
  template <typename Each>
  void tables(std::string_view key, const Each& each) {
    const toml::node* node = find(key);
    if (node == nullptr) return;
    const toml::array* array = node->as_array();
    if (array == nullptr) {
      fail(*node, fmt::format("{}{} must be an array of tables: write [[{}]] or {} = [{{ … }}]", place_, key, key, key));
      return;
    }
    for (const toml::node& element : *array) {
      const toml::table* table = element.as_table();
      if (table == nullptr) {
        fail(element, fmt::format("{}{} must hold tables: write {{ key = value }}", place_, key));
        return;
      }
      Reader inner(*table, source_, fmt::format("{}{}.", place_, key), status_);
      each(inner);
      inner.finish();
    }
  }
  template <typename Each>
  void table(std::string_view key, const Each& each) {
    const toml::node* node = find(key);
    if (node == nullptr) return;
    const toml::table* table = node->as_table();
    if (table == nullptr) {
      fail(*node, fmt::format("{}{} must be a table: write [{}]", place_, key, key));
      return;
    }
    Reader inner(*table, source_, fmt::format("{}{}.", place_, key), status_);
    each(inner);
    inner.finish();
  }

  /// Refuses keys that nobody asked for.
  void finish() {
    for (const auto& [key, node] : table_) {
      bool is_known = false;
      for (const std::string& known : known_) is_known |= known == key.str();
      if (!is_known) fail(node, fmt::format("{}{} is not a key; there are: {}", place_, key.str(), fmt::join(known_, ", ")));
    }
  }

 private:
  const toml::table& table_;
  std::string source_;
  std::string place_;
  Status& status_;
  std::vector<std::string> known_;
};

/// "1bdp", a time at the link's rate, or bytes.
std::optional<uint64_t> parse_buffer(std::string_view text, const Link& link) {
  const double rate = static_cast<double>(link.rate_bytes_s);
  if (const auto products = scaled(text, {{"bdp", 1}})) {
    return static_cast<uint64_t>(*products * rate * static_cast<double>(link.rtt.count()) * 1e-9);
  }
  if (const auto time = parse_duration(text)) return static_cast<uint64_t>(rate * static_cast<double>(time->count()) * 1e-9);
  return parse_size(text);
}

void read_link(Reader& reader, Link& link) {
  reader.rate("rate", link.rate_bytes_s);
  reader.duration("rtt", link.rtt);
  link.buffer_bytes = *parse_buffer("1bdp", link);
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
  reader.finish();
}

/// What no single key shows.
std::string contradiction(const Scenario& scenario) {
  if (scenario.flows.empty()) return "there is no flow: add [[flow]]";
  if (scenario.duration <= Duration::zero()) return "duration must be above 0";
  if (scenario.link.rtt <= Duration::zero()) return "link.rtt must be above 0";
  for (size_t i = 0; i < scenario.link.steps.size(); ++i) {
    if (scenario.link.steps[i].rate_bytes_s == 0) return "link.steps: each needs a rate (for no rate at all use link.outages)";
    if (i > 0 && scenario.link.steps[i].at < scenario.link.steps[i - 1].at) return "link.steps must be ordered by time";
  }
  for (const Flow& flow : scenario.flows) {
    if (flow.tenant.empty()) continue;
    bool found = false;
    for (const Tenant& tenant : scenario.tenants) found |= tenant.name == flow.tenant;
    if (!found) return fmt::format("flow.tenant \"{}\" is not there: add [[tenant]] with that name", flow.tenant);
  }
  return {};
}

}  // namespace

std::optional<uint64_t> parse_rate(std::string_view text) {
  const auto bits = scaled(text, {{"", 1}, {"K", 1e3}, {"M", 1e6}, {"G", 1e9}});
  if (!bits || *bits < 8 || *bits > 1e13) return std::nullopt;
  return static_cast<uint64_t>(*bits / 8);
}

std::optional<Duration> parse_duration(std::string_view text) {
  const auto nanoseconds = scaled(text, {{"ns", 1}, {"us", 1e3}, {"ms", 1e6}, {"s", 1e9}});
  if (!nanoseconds || *nanoseconds > 1e15) return std::nullopt;
  return Duration(static_cast<int64_t>(*nanoseconds));
}

std::optional<double> parse_fraction(std::string_view text) {
  const auto value = scaled(text, {{"", 1}, {"%", 0.01}});
  return value && *value <= 1 ? value : std::nullopt;
}

haul::Result<Scenario> parse_scenario(std::string_view text, const std::string& source) {
  const toml::parse_result parsed = toml::parse(text, source);
  if (!parsed) {
    return Status(StatusCode::invalid, fmt::format("{}:{}: {}; see bench/scenarios for examples", source,
                                                   parsed.error().source().begin.line, parsed.error().description()));
  }
  Scenario scenario;
  Status status;
  Reader reader(parsed.table(), source, "", status);
  read_scenario(reader, scenario);
  if (!status.ok()) return status;
  if (const std::string wrong = contradiction(scenario); !wrong.empty()) {
    return Status(StatusCode::invalid, fmt::format("{}:1: {}", source, wrong));
  }
  if (scenario.name.empty()) scenario.name = source;
  return scenario;
}

haul::Result<Scenario> load_scenario(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  if (!file || !(text << file.rdbuf())) {
    return Status(StatusCode::unavailable, "scenario file " + path + " can't be read: check the path and its rights");
  }
  return parse_scenario(text.str(), path);
}

}  // namespace flowsim
