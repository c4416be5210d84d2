// Prints the outcome of a run.
#include "haul_bench/report.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "measure/durations.h"

namespace bench {

namespace {

using Json = nlohmann::ordered_json;

template <typename T>
Json optional_json(const std::optional<T>& value) {
  return value ? Json(*value) : Json(nullptr);
}

Json series_json(const Report& report) {
  if (report.series.empty()) return nullptr;
  Json json;
  json["began_ns"] = report.series_began.time_since_epoch().count();
  json["columns"] = {"at_s", "window_bytes", "in_flight_bytes", "delivered_bytes", "rtt_s"};
  json["points"] = Json::array();
  for (const Moment& moment : report.series) {
    json["points"].push_back(
        {seconds(moment.at), moment.window_bytes, moment.in_flight_bytes, moment.delivered_bytes, seconds(moment.rtt)});
  }
  return json;
}

std::string line(const char* what, const std::optional<double>& value, const char* unit) {
  return value ? fmt::format("  {:<28}{:>12.3f} {}\n", what, *value, unit) : fmt::format("  {:<28}{:>12}\n", what, "-");
}

std::string count_line(const char* what, const std::optional<uint64_t>& value, const char* unit) {
  return value ? fmt::format("  {:<28}{:>12} {}\n", what, *value, unit) : fmt::format("  {:<28}{:>12}\n", what, "-");
}

std::string bytes_text(uint64_t bytes) {
  if (bytes >= (1U << 20) && bytes % (1U << 20) == 0) return fmt::format("{} MiB", bytes >> 20);
  if (bytes >= (1U << 10) && bytes % (1U << 10) == 0) return fmt::format("{} KiB", bytes >> 10);
  return fmt::format("{} B", bytes);
}

std::string headline(const Settings& settings, size_t lanes) {
  std::string text = fmt::format("haul-bench {}", to_string(settings.mode));
  if (settings.mode == Mode::idle) return text + fmt::format(", {}, {} lane(s)\n", settings.transport, lanes);
  text += fmt::format(" {}: {}, {} lane(s), blocks of {}", settings.op, settings.transport, lanes,
                      bytes_text(settings.block_bytes));
  if (settings.mode == Mode::descriptors) text += fmt::format(" in batches of {}", settings.count);
  return text + fmt::format(", {} in flight, working set {}, integrity {}, poll {}\n", settings.inflight,
                            bytes_text(settings.working_set_bytes), settings.integrity, settings.poll);
}

}  // namespace

void set_latency(Report& report, const Histogram& latency) {
  report.p50_us = latency.quantile_us(0.5);
  report.p99_us = latency.quantile_us(0.99);
  report.p999_us = latency.quantile_us(0.999);
}

std::string to_text(const Settings& settings, const Report& report) {
  std::string text = headline(settings, report.lanes);
  if (!report.path.empty()) text += fmt::format("  path: {}\n", report.path);
  if (report.controller) text += fmt::format("  controller: {}\n", *report.controller);
  if (settings.rate_limit_bytes_s) text += fmt::format("  rate limit: {} bytes/s\n", *settings.rate_limit_bytes_s);
  if (settings.mode == Mode::idle) {
    text += line("processor, this side", report.cpu_percent_client, "%");
    text += line("processor, receiver", report.cpu_percent_server, "%");
    return text;
  }
  text += line("goodput", report.goodput_gbytes_s, "GB/s");
  if (report.steady_gbytes_s) text += line("goodput, second half", report.steady_gbytes_s, "GB/s");
  text += line("transfers", report.ops_per_s, "per s");
  if (settings.mode == Mode::descriptors) text += line("descriptors", report.descriptors_per_s, "per s");
  if (settings.mode == Mode::latency) text += line("half round trip", report.half_rtt_us, "us");
  const char* what = report.half_rtt_us ? "round trip" : "transfer";
  text += line(fmt::format("{}, median", what).c_str(), report.p50_us, "us");
  text += line(fmt::format("{}, 99 %", what).c_str(), report.p99_us, "us");
  text += line(fmt::format("{}, 99.9 %", what).c_str(), report.p999_us, "us");
  text += line("processor, sender", report.cpu_s_per_gb_sender, "s/GB");
  text += line("processor, receiver", report.cpu_s_per_gb_receiver, "s/GB");
  text += count_line("retransmits", report.retransmits, "");
  text += count_line("peak memory, sender", report.peak_resident_bytes_sender, "bytes");
  text += count_line("peak memory, receiver", report.peak_resident_bytes_receiver, "bytes");
  return text;
}

std::string to_json(const Settings& settings, const Report& report) {
  Json json;
  json["mode"] = to_string(settings.mode);
  json["op"] = settings.op;
  json["transport"] = settings.transport;
  json["lanes"] = report.lanes;
  json["block_bytes"] = settings.block_bytes;
  json["goodput_gbytes_s"] = optional_json(report.goodput_gbytes_s);
  json["steady_goodput_gbytes_s"] = optional_json(report.steady_gbytes_s);
  json["cpu_s_per_gb_sender"] = optional_json(report.cpu_s_per_gb_sender);
  json["cpu_s_per_gb_receiver"] = optional_json(report.cpu_s_per_gb_receiver);
  json["p50_us"] = optional_json(report.p50_us);
  json["p99_us"] = optional_json(report.p99_us);
  json["p999_us"] = optional_json(report.p999_us);
  json["half_rtt_us"] = optional_json(report.half_rtt_us);
  json["ops_per_s"] = optional_json(report.ops_per_s);
  json["retransmits"] = optional_json(report.retransmits);
  json["descriptors_per_s"] = optional_json(report.descriptors_per_s);
  json["descriptors_per_batch"] = settings.mode == Mode::descriptors ? Json(settings.count) : Json(nullptr);
  json["cpu_percent_client"] = optional_json(report.cpu_percent_client);
  json["cpu_percent_server"] = optional_json(report.cpu_percent_server);
  json["peak_resident_bytes_sender"] = optional_json(report.peak_resident_bytes_sender);
  json["peak_resident_bytes_receiver"] = optional_json(report.peak_resident_bytes_receiver);
  json["bytes_moved"] = optional_json(report.bytes_moved);
  json["elapsed_s"] = report.elapsed_s;
  json["working_set_bytes"] = settings.working_set_bytes;
  json["inflight"] = settings.inflight;
  json["congestion"] = settings.congestion.empty() ? Json(nullptr) : Json(settings.congestion);
  json["controller"] = settings.controller;
  json["kernel_controller"] = settings.kernel_controller;
  json["controller_in_force"] = optional_json(report.controller);
  json["rate_limit_bytes_s"] = optional_json(settings.rate_limit_bytes_s);
  json["integrity"] = settings.integrity;
  json["io"] = settings.io;
  json["zero_copy"] = settings.zero_copy;
  json["encryption"] = settings.encryption;
  json["poll"] = settings.poll;
  json["verified"] = report.verified;
  json["path"] = report.path;
  json["series"] = series_json(report);
  return json.dump(2) + "\n";
}

}  // namespace bench
