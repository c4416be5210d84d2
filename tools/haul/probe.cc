// haul probe and haul explain.
#include <fmt/format.h>

#include <cstdio>
#include <memory>
#include <string>

#include "client_run.h"
#include "commands.h"
#include "haul/tcp.h"
#include "host.h"
#include "object/measure.h"
#include "outcome.h"
#include "print.h"
#include "text.h"

namespace haul::tool {

using object::FileClient;

namespace {

struct ProbeResult {
  object::Measurement measurement;
  Duration connect{};
  std::string peer;
  std::string software;
  uint16_t file_protocol = 0;
  std::string path;
  std::string engine;
};

std::unique_ptr<object::Job> make_measurer(object::Channel& channel, Engine& engine, double duration_s) {
  const auto duration = std::chrono::duration_cast<Duration>(std::chrono::duration<double>(duration_s));
  return std::make_unique<object::Measurer>(channel, engine, system_clock(), object::JobLimits{}, duration);
}

void collect(ProbeResult& result, const FileClient& client, const Engine& engine) {
  result.engine = engine.explain();
  if (!client.connected()) return;
  result.connect = client.connect_duration();
  result.peer = client.peer_name();
  result.software = client.software();
  result.file_protocol = client.server_version();
  result.path = client.path();
  if (const auto* measurer = dynamic_cast<const object::Measurer*>(client.job())) result.measurement = measurer->measurement();
}

double rate(const object::Measurement& m) {
  return m.duration > Duration::zero() ? static_cast<double>(m.bytes) / seconds(m.duration) : 0;
}

void print_probe(const Address& address, const ProbeResult& result, bool json) {
  const auto& m = result.measurement;
  if (json) {
    print_json({{"command", "probe"},
                {"ok", true},
                {"exit_code", 0},
                {"address", address.to_string()},
                {"peer", result.peer},
                {"software", result.software},
                {"file_protocol", result.file_protocol},
                {"connect_us", seconds(result.connect) * 1e6},
                {"round_trip_us", seconds(m.round_trip_median) * 1e6},
                {"round_trip_min_us", seconds(m.round_trip_min) * 1e6},
                {"bytes", m.bytes},
                {"rate_bytes_s", rate(m)},
                {"path", result.path}});
    return;
  }
  print(stdout, "{}: {} (file protocol {}), calls itself \"{}\"\n", address.to_string(), result.software, result.file_protocol,
        result.peer);
  print(stdout, "connected in {}, round trip {} (least {})\n", duration_text(result.connect),
        duration_text(m.round_trip_median), duration_text(m.round_trip_min));
  print(stdout, "{}/s from memory to memory ({} in {})\n", bytes_text(rate(m)), bytes_text(static_cast<double>(m.bytes)),
        duration_text(m.duration));
}

std::string io_uring_text(const CommonOptions& common) {
  // An engine that runs on it is proof; a second ring could be more than the limits allow.
  const Status works = common.io == tcp::Io::uring ? Status() : tcp::uring_works();
  return works.ok() ? "io_uring: works here" : fmt::format("io_uring: {}", works.message());
}

int explain_engine(const CommonOptions& common) {
  auto engine = make_engine(common, {});
  if (!engine) {
    const auto failure = object::connection_failure(engine.status(), "cannot start");
    return report_failure("explain", failure, exit_transfer, common.json);
  }
  if (common.json) {
    print_json({{"command", "explain"},
                {"ok", true},
                {"exit_code", 0},
                {"engine", (*engine)->explain()},
                {"io_uring", io_uring_text(common)}});
  } else {
    print(stdout, "haul {}\n{}\n{}\n", version(), io_uring_text(common), (*engine)->explain());
  }
  return exit_ok;
}

}  // namespace

int probe(const CommonOptions& common, const ProbeOptions& options) {
  const auto address = Address::parse(options.address);
  if (!address) return report_failure("probe", usage_failure(address.status().message()), exit_usage, common.json);
  ProbeResult result;
  const auto outcome = run_client(
      common, *address, false,
      [&](object::Channel& channel, Engine& engine) { return make_measurer(channel, engine, options.seconds); },
      [&](const FileClient& client, Engine& engine) { collect(result, client, engine); });
  if (outcome.failure.failed()) {
    return report_failure("probe", outcome.failure, exit_code(outcome.failure, outcome.reached, outcome.signal), common.json);
  }
  print_probe(*address, result, common.json);
  return exit_ok;
}

int explain(const CommonOptions& common, const std::string& address_text) {
  if (address_text.empty()) return explain_engine(common);
  const auto address = Address::parse(address_text);
  if (!address) return report_failure("explain", usage_failure(address.status().message()), exit_usage, common.json);
  ProbeResult result;
  const auto outcome = run_client(
      common, *address, false, [&](object::Channel& channel, Engine& engine) { return make_measurer(channel, engine, 0); },
      [&](const FileClient& client, Engine& engine) { collect(result, client, engine); });
  if (outcome.failure.failed()) {
    return report_failure("explain", outcome.failure, exit_code(outcome.failure, outcome.reached, outcome.signal), common.json);
  }
  if (common.json) {
    print_json({{"command", "explain"},
                {"ok", true},
                {"exit_code", 0},
                {"engine", result.engine},
                {"peer", result.path},
                {"io_uring", io_uring_text(common)}});
  } else {
    print(stdout, "haul {}\n{}\n{}\n\n{}\n", version(), io_uring_text(common), result.engine, result.path);
  }
  return exit_ok;
}

}  // namespace haul::tool
