// haul-bench wan: haul and iperf3 as processes at the two ends of an emulated path.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "haul_bench/sim.h"
#include "wan/calibration.h"
#include "wan/emulator.h"
#include "wan/matrix.h"

namespace CLI {  // NOLINT(readability-identifier-naming): theirs
class App;
}

namespace bench {

constexpr int exit_rejected = 3;        ///< the emulator was too late, or the path not what it claims to be
constexpr int exit_not_permitted = 77;  ///< not root, or a machine that lacks what this needs (EX_NOPERM)

/// As the command line says it.
struct WanSettings {
  std::string rate = "500M";
  std::string rtt = "100ms";
  double queue_bdp = 1;
  std::string loss;
  std::string burst_loss;  ///< ENTER,LEAVE[,LOSS]
  std::vector<std::string> outages;
  std::string jitter;
  std::string codel;
  std::string back_rate;
  std::string rival;
  std::string matrix_path;
  std::vector<std::string> beside;
  std::string transport;                  ///< haul's backend; empty: the matrix's, or tcp
  std::vector<std::string> controllers;   ///< of haul, each gives runs; empty: the matrix's, or the library's default
  std::vector<std::string> congestions;   ///< the kernel's below, each gives runs; empty: the transport's own choice
  std::string io = "uring";               ///< of tcp
  std::string zero_copy = "auto";         ///< of tcp
  std::string kernel_controller = "off";  ///< of tcp
  uint32_t lanes = 1;                     ///< 0: left to haul
  bool remembered = false;                ///< haul has been on the path before
  std::optional<double> duration_s;
  std::optional<uint64_t> seed;
  bool calibrate_only = false;
  bool json = false;
  std::string report_path;
};

/// Options of the command, bound to `settings`, which must outlive it.
CLI::App* add_wan(CLI::App& app, WanSettings& settings);

/// What is to be measured. Errors: invalid, unavailable (a file).
haul::Result<wan::Matrix> matrix_of(const WanSettings& settings);

/// One program over one link. Rivals are in it.
struct WanRun {
  wan::Program program;
  SimRun sim;                                 ///< its series and figures in the simulator's terms, for the same report
  double goodput_bits_s = 0;                  ///< as the program itself counts it
  std::optional<double> steady_bits_s;        ///< haul only: of what ended in the second half
  std::optional<uint64_t> peak_sender_bytes;  ///< haul only: memory ever resident, the working set in it
  std::optional<uint64_t> peak_receiver_bytes;
  std::optional<double> rival_goodput_bits_s;
  std::optional<uint64_t> retransmits;
  uint64_t lanes = 0;      ///< of haul, that carried payload, at the end
  std::string transport;   ///< haul's backend
  std::string path;        ///< haul's lane, as the transport describes it
  std::string controller;  ///< of haul's, that steered; empty: nobody but the kernel
  wan::Record record;
  std::string rejected;  ///< why it does not count; empty: it does
  std::string failed;    ///< what the program said, or that it did not start or end; empty: it ran
};

struct WanRequest {
  const wan::Row* row = nullptr;
  wan::Program program;
  std::string transport;
  std::string io;
  std::string zero_copy;
  std::string kernel_controller;
  std::string credentials;       ///< folder; empty: none
  std::string remembered_paths;  ///< file of haul's client; empty: none
  haul::Duration duration = haul::Duration::zero();
  uint64_t seed = 1;
};
/// Errors: those of wan::End and wan::Child, cancelled. A program that fails, cannot start or does not end is no error of this
/// function: see WanRun::failed.
haul::Result<WanRun> run_across(const WanRequest& request);

/// All that was measured on one link.
struct WanLinkResult {
  wan::Row row;
  wan::Calibration calibration;
  std::vector<std::string> faults;  ///< of the calibration; then there are no runs
  std::vector<WanRun> runs;
};
struct WanResult {
  std::vector<WanLinkResult> links;
  std::vector<std::string> skipped;  ///< comparisons that could not be made, with the reason
  std::string incomplete;            ///< why links or runs are missing at the end; empty: all are there
};

/// What each side may have resident at most: four bandwidth-delay products, and 64 MiB beside them.
uint64_t memory_asked_bytes(const flowsim::Link& link);

/// The exit code of the program.
int run_wan(const WanSettings& settings);

std::string wan_text(const WanLinkResult& link);
std::string wan_json(const WanSettings& settings, const wan::Matrix& matrix, const WanResult& result);
std::string wan_report(const WanResult& result);

}  // namespace bench
