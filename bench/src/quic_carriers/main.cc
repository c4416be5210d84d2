// haul-bench-quic-carriers: bulk data over QUIC in DATAGRAM frames and in striped streams, two ends in one process.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <functional>
#include <nlohmann/json.hpp>
#include <stdexcept>
#include <string>
#include <vector>

#include "base/quantities.h"
#include "haul_bench/credentials.h"
#include "quic_carriers/run.h"
#include "security/context.h"

namespace {

using carriers::Figures;

struct Settings {
  uint32_t megabytes = 256;
  uint32_t rounds = 5;
  std::vector<std::string> losses = {"0", "0.1%", "1%"};
  std::string reorder = "1%";
  std::string late = "5ms";
  std::string rtt = "100ms";
  std::string rate = "500M";
  std::vector<uint32_t> streams = {64, 16, 1};
  uint64_t seed = 1;
  bool json = false;
};

struct Link {
  std::string name;
  carriers::Pipe::Options options;
};

/// One way of carrying over one link, in all rounds.
struct Row {
  const Link* link = nullptr;
  uint32_t streams = 0;
  std::vector<Figures> rounds = {};
};

template <typename T>
T required(std::optional<T> value, const char* option, const std::string& text, const char* remedy) {
  if (!value) throw CLI::ValidationError(option, text + " is not " + remedy);
  return *value;
}

std::vector<Link> links_of(const Settings& settings) {
  carriers::Pipe::Options way;
  way.rate_bytes_s = required(haul::base::parse_rate(settings.rate), "--rate", settings.rate, "a rate: write 500M");
  way.delay = required(haul::base::parse_duration(settings.rtt), "--rtt", settings.rtt, "a time: write 100ms") / 2;
  way.held_back = required(haul::base::parse_duration(settings.late), "--late", settings.late, "a time: write 5ms");
  if (way.rate_bytes_s == 0) throw CLI::ValidationError("--rate", "0 moves nothing: write 500M");
  std::vector<Link> links;
  for (const std::string& loss : settings.losses) {
    way.loss = required(haul::base::parse_fraction(loss), "--loss", loss, "a fraction: write 0.1%");
    links.push_back({loss + " lost", way});
  }
  way.loss = 0;
  way.reorder = required(haul::base::parse_fraction(settings.reorder), "--reorder", settings.reorder, "a fraction: write 1%");
  if (way.reorder > 0) links.push_back({fmt::format("{} late by {}", settings.reorder, settings.late), way});
  return links;
}

/// In turn, so that what disturbs the machine disturbs all of them.
std::vector<Row> measure(const Settings& settings, const std::vector<Link>& links) {
  const auto keys = bench::TemporaryCredentials::make();
  if (!keys) throw std::runtime_error(keys.status().to_string());
  const auto security = haul::SecurityContext::load(bench::credentials_in(keys->folder()));
  if (!security) throw std::runtime_error(security.status().to_string());
  std::vector<std::byte> source(settings.megabytes * size_t{1'000'000});
  std::vector<std::byte> target(source.size());
  haul::base::Random(settings.seed).fill(source);
  std::vector<Row> rows;
  for (const Link& link : links) {
    rows.push_back({.link = &link, .streams = 0});
    for (const uint32_t streams : settings.streams) rows.push_back({.link = &link, .streams = streams});
  }
  for (uint32_t round = 0; round < settings.rounds; ++round) {
    for (Row& row : rows) {
      row.rounds.push_back(carriers::transfer({.security = *security,
                                               .link = row.link->options,
                                               .streams = row.streams,
                                               .seed = settings.seed + round,
                                               .source = source,
                                               .target = target}));
    }
  }
  return rows;
}

nlohmann::ordered_json summary(const Row& row, const Settings& settings) {
  const double bytes = settings.megabytes * 1e6;
  nlohmann::ordered_json json;
  json["link"] = row.link->name;
  json["carrier"] = row.streams == 0 ? "datagrams" : fmt::format("{} stream{}", row.streams, row.streams == 1 ? "" : "s");
  json["failure"] = nullptr;
  for (const Figures& each : row.rounds) {
    if (!each.failure.empty()) json["failure"] = each.failure;
  }
  // Median, least and most.
  const auto add = [&](const char* key, const std::function<double(const Figures&)>& value) {
    std::vector<double> values;
    for (const Figures& each : row.rounds) values.push_back(value(each));
    std::ranges::sort(values);
    json[key] = {values[values.size() / 2], values.front(), values.back()};
  };
  const double rate_bytes_s = static_cast<double>(row.link->options.rate_bytes_s);
  add("cpu_s_per_gb", [&](const Figures& each) { return each.cpu_s / bytes * 1e9; });
  add("virtual_s", [](const Figures& each) { return each.virtual_s; });
  add("use_of_link", [&](const Figures& each) { return bytes / each.virtual_s / rate_bytes_s; });
  add("sent_bytes", [](const Figures& each) { return static_cast<double>(each.sent_bytes); });
  add("repeated_bytes", [](const Figures& each) { return static_cast<double>(each.repeated_bytes); });
  add("sender_peak_bytes", [](const Figures& each) { return static_cast<double>(each.sender_bytes); });
  add("receiver_peak_bytes", [](const Figures& each) { return static_cast<double>(each.receiver_bytes); });
  return json;
}

void print(const std::vector<Row>& rows, const Settings& settings) {
  nlohmann::ordered_json json;
  json["megabytes"] = settings.megabytes;
  json["rounds"] = settings.rounds;
  json["rate"] = settings.rate;
  json["rtt"] = settings.rtt;
  json["seed"] = settings.seed;
  json["packet_bytes"] = carriers::packet_bytes;
  json["cipher"] = rows.front().rounds.front().cipher;
  for (const Row& row : rows) json["rows"].push_back(summary(row, settings));
  if (settings.json) return fmt::print("{}\n", json.dump(2));
  fmt::print("{} MB at {}bit/s, round trip {}, {}; medians (least … most) of {} rounds\n", settings.megabytes, settings.rate,
             settings.rtt, json["cipher"].get<std::string>(), settings.rounds);
  fmt::print("{:<18} {:<11} {:>22} {:>7} {:>9} {:>12} {:>12} {:>9}\n", "link", "carrier", "processor s/GB", "use", "virtual s",
             "sender MB", "receiver MB", "repeated");
  for (const auto& row : json["rows"]) {
    const auto median = [&](const char* key) { return row[key][0].get<double>(); };
    const auto& cpu = row["cpu_s_per_gb"];
    fmt::print("{:<18} {:<11} ", row["link"].get<std::string>(), row["carrier"].get<std::string>());
    if (!row["failure"].is_null()) {
      fmt::print("failed: {}\n", row["failure"].get<std::string>());
      continue;
    }
    const auto spread =
        fmt::format("{:.2f} ({:.2f} … {:.2f})", median("cpu_s_per_gb"), cpu[1].get<double>(), cpu[2].get<double>());
    fmt::print("{:>22} {:>7.3f} {:>9.2f} {:>12.2f} {:>12.2f} {:>7.2f} %\n", spread, median("use_of_link"), median("virtual_s"),
               median("sender_peak_bytes") / 1e6, median("receiver_peak_bytes") / 1e6,
               median("repeated_bytes") / settings.megabytes / 1e4);
  }
}

void add_options(CLI::App& app, Settings& settings) {
  constexpr uint32_t most_megabytes = 4000;  // offsets of pieces have 32 bits
  app.add_option("--mb", settings.megabytes, "Megabytes of a transfer")
      ->check(CLI::Range(1U, most_megabytes))
      ->capture_default_str();
  app.add_option("--rounds", settings.rounds, "How often each is run, in turn")
      ->check(CLI::Range(1U, 1000U))
      ->capture_default_str();
  app.add_option("--loss", settings.losses, "Random losses, a link each: 0,0.1%,1%")->delimiter(',')->capture_default_str();
  app.add_option("--reorder", settings.reorder, "A link more, on which so many packets are late; 0: none")
      ->capture_default_str();
  app.add_option("--late", settings.late, "So much later than others")->capture_default_str();
  app.add_option("--rtt", settings.rtt, "Round trip")->capture_default_str();
  app.add_option("--rate", settings.rate, "Bits per second of the link, at which is sent")->capture_default_str();
  app.add_option("--streams", settings.streams, "Numbers of streams beside DATAGRAM frames")
      ->delimiter(',')
      ->check(CLI::Range(1U, 4096U))
      ->capture_default_str();
  app.add_option("--seed", settings.seed, "Of losses; each round has the next")->capture_default_str();
  app.add_flag("--json", settings.json, "Print JSON");
}

}  // namespace

int main(int argc, char** argv) {
  Settings settings;
  CLI::App app{"Bulk data over QUIC in DATAGRAM frames and in striped streams: processor time and memory, in virtual time"};
  add_options(app, settings);
  std::vector<Link> links;
  try {
    app.parse(argc, argv);
    links = links_of(settings);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : 2;
  }
  try {
    print(measure(settings, links), settings);
  } catch (const std::exception& error) {
    fmt::print(stderr, "haul-bench-quic-carriers: {}\n", error.what());
    return 1;
  }
  return 0;
}
