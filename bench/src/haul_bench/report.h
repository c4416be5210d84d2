// The outcome of a run, for people and for programs.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "haul_bench/path_watch.h"
#include "haul_bench/settings.h"
#include "measure/histogram.h"

namespace bench {

/// Figures that a mode does not have stay absent: "-" in text, null in JSON.
struct Report {
  std::optional<double> goodput_gbytes_s;
  std::optional<double> steady_gbytes_s;  ///< of what ended in the second half
  std::optional<double> cpu_s_per_gb_sender;
  std::optional<double> cpu_s_per_gb_receiver;
  std::optional<double> p50_us;
  std::optional<double> p99_us;
  std::optional<double> p999_us;
  std::optional<double> half_rtt_us;
  std::optional<double> ops_per_s;
  std::optional<double> descriptors_per_s;
  std::optional<double> cpu_percent_client;
  std::optional<double> cpu_percent_server;
  std::optional<uint64_t> retransmits;
  std::optional<uint64_t> bytes_moved;
  std::optional<uint64_t> peak_resident_bytes_sender;
  std::optional<uint64_t> peak_resident_bytes_receiver;
  double elapsed_s = 0;
  bool verified = false;                  ///< the bytes on both sides were compared after the run
  std::string path;                       ///< the last lane, as the transport describes it at the end
  std::optional<std::string> controller;  ///< of haul's that steered what was moved, at the end
  size_t lanes = 0;                       ///< that carried payload, at the end
  std::vector<Moment> series;             ///< where it was asked for
  haul::TimePoint series_began;
};

void set_latency(Report& report, const Histogram& latency);

std::string to_text(const Settings& settings, const Report& report);
std::string to_json(const Settings& settings, const Report& report);

}  // namespace bench
