// Defaults that depend on other settings, and checks that settings fit together.
#include "haul_bench/settings.h"

#include <fmt/format.h>

#include <algorithm>

namespace bench {

namespace {

constexpr double default_duration_s = 5;
constexpr double size_only_limit_s = 1800;
constexpr uint64_t max_working_set_bytes = uint64_t{8} << 30;  // filling more would outlast a peer's patience

uint64_t default_block_bytes(Mode mode) {
  switch (mode) {
    case Mode::latency: return 4U << 10;
    case Mode::descriptors: return 1U << 10;
    default: return 1U << 20;
  }
}

/// What the transfers outstanding at one time may cover, so that none overlaps another.
uint64_t transfers_that_fit(const Settings& settings) {
  const uint64_t blocks = settings.working_set_bytes / settings.block_bytes;
  return settings.mode == Mode::descriptors ? blocks / 2 / settings.count : blocks;
}

uint64_t default_inflight(const Settings& settings) {
  if (settings.mode == Mode::latency) return 1;
  if (settings.mode == Mode::descriptors) return 8;
  return std::clamp<uint64_t>((uint64_t{16} << 20) / settings.block_bytes, 8, 64);
}

}  // namespace

double Settings::measured_s() const {
  if (duration_s) return *duration_s;
  return size_bytes ? size_only_limit_s : default_duration_s;
}

const char* to_string(Mode mode) {
  switch (mode) {
    case Mode::throughput: return "throughput";
    case Mode::latency: return "latency";
    case Mode::descriptors: return "descriptors";
    case Mode::idle: return "idle";
    case Mode::server: return "server";
  }
  return "unknown";
}

std::string complete(Settings& settings) {
  if (settings.transport == "quic") settings.encryption = "on";  // it knows nothing else
  if (settings.authenticates() && settings.credentials.empty() && (settings.mode == Mode::server || !settings.peer.empty())) {
    return "--encryption needs --credentials DIR on both sides, where they are started by hand";
  }
  if (settings.mode == Mode::server) return {};
  if (settings.block_bytes == 0) settings.block_bytes = default_block_bytes(settings.mode);
  if (settings.working_set_bytes > max_working_set_bytes) return "--working-set is more than 8G: give less";
  // Replies come over one lane; looking at others only delays them.
  if (settings.mode == Mode::latency && settings.lanes == 0) settings.lanes = 1;
  if (settings.count == 0) return "--count must be at least 1";
  const uint64_t fitting = transfers_that_fit(settings);
  if (fitting == 0) {
    return fmt::format("--working-set of {} bytes is too small for --block {}{}: give more", settings.working_set_bytes,
                       settings.block_bytes, settings.mode == Mode::descriptors ? " twice for each of --count" : "");
  }
  if (settings.inflight > fitting) {
    return fmt::format("--inflight {} transfers would overlap: at most {} fit into --working-set of {} bytes",
                       settings.inflight, fitting, settings.working_set_bytes);
  }
  if (settings.inflight == 0) settings.inflight = static_cast<uint32_t>(std::min(default_inflight(settings), fitting));
  if (settings.duration_s && !(*settings.duration_s > 0)) return "--duration must be more than 0";
  if (settings.size_bytes && *settings.size_bytes == 0) return "--size must be more than 0";
  return {};
}

std::vector<std::string> server_arguments(const Settings& settings) {
  std::vector<std::string> arguments = {
      "server",           "--listen",         "127.0.0.1:0",
      "--once",           "--lifetime",       fmt::format("{}", settings.measured_s() + settings.warmup_s + 60),
      "--transport",      settings.transport, "--io",
      settings.io,        "--poll",           settings.poll,
      "--integrity",      settings.integrity, "--zero-copy",
      settings.zero_copy, "--controller",     settings.controller};
  if (settings.authenticates()) {
    arguments.insert(arguments.end(), {"--encryption", settings.encryption, "--kernel-tls", settings.kernel_tls,
                                       "--credentials", settings.credentials});
  }
  for (const std::string& rail : settings.receiver_rails.empty() ? settings.rails : settings.receiver_rails) {
    arguments.insert(arguments.end(), {"--rdma-device", rail});
  }
  if (settings.udp_payload_bytes > 0)
    arguments.insert(arguments.end(), {"--udp-payload", std::to_string(settings.udp_payload_bytes)});
  if (!settings.qlog.empty()) arguments.insert(arguments.end(), {"--qlog", settings.qlog});
  if (settings.kernel_controller != "off")
    arguments.insert(arguments.end(), {"--kernel-controller", settings.kernel_controller});
  if (!settings.congestion.empty()) arguments.insert(arguments.end(), {"--congestion", settings.congestion});
  constexpr uint64_t bits = 8;
  if (settings.rate_limit_bytes_s)
    arguments.insert(arguments.end(), {"--rate", std::to_string(*settings.rate_limit_bytes_s * bits)});
  if (settings.pin.size() > 1) arguments.insert(arguments.end(), {"--pin", std::to_string(settings.pin[1])});
  return arguments;
}

std::string shared_settings(const Settings& settings) {
  return fmt::format(
      "transport={} io={} zero-copy={} congestion={} controller={} kernel-controller={} rate={} poll={} integrity={} "
      "encryption={}",
      settings.transport, settings.io, settings.zero_copy, settings.congestion.empty() ? "default" : settings.congestion,
      settings.controller, settings.kernel_controller,
      settings.rate_limit_bytes_s ? fmt::format("{} bytes/s", *settings.rate_limit_bytes_s) : "unbounded", settings.poll,
      settings.integrity, settings.encryption);
}

}  // namespace bench
