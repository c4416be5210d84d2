// What is measured: links, and programs that run across them.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "flowsim/scenario.h"
#include "haul/status.h"

namespace wan {

/// A program that moves payload across a link.
struct Program {
  bool haul = true;          ///< else iperf3
  std::string controller;    ///< one of haul's own, empty: the library's default; of iperf3 the kernel's congestion control
  uint32_t connections = 1;  ///< lanes of haul (0: as many as it finds worth having), streams of iperf3
  std::string kernel{};      ///< haul only: the kernel's congestion control below; empty: the backend's choice

  /// "iperf3 cubic", "iperf3 bbr ×8", "haul", "haul hub", "haul hub over cubic", "haul ×?".
  std::string name() const;
};

/// What haul can be told of its own congestion control: "off", "automatic", and the controllers by name.
std::vector<std::string> controller_names();

/// "cubic", "bbr:8": iperf3 with this congestion control and so many streams. Empty: not that.
std::optional<Program> parse_iperf3(std::string_view text);

struct Row {
  std::string name;
  flowsim::Link link;
  std::optional<Program> rival;  ///< runs at the same time
};

struct Matrix {
  haul::Duration duration = std::chrono::seconds(20);
  uint64_t seed = 1;
  std::string transport = "tcp";         ///< haul's backend
  std::vector<std::string> controllers;  ///< of haul, each measured on every link; none: the library's default
  std::vector<Program> beside;           ///< measured on the same links, one after the other
  std::vector<Row> rows;
};

/// Errors: invalid; the message begins with "<source>:<line>:" and says how to mend it. bench/scenarios/wan/links.toml shows
/// the keys.
haul::Result<Matrix> parse_matrix(std::string_view text, const std::string& source);
/// Also unavailable: the file can't be read.
haul::Result<Matrix> load_matrix(const std::string& path);

/// Empty: it can be measured for so long. Else what is wrong, and the remedy.
std::string complaint(haul::Duration duration);

/// "500 Mbit/s, 100 ms, 1 BDP, 0.1 % loss".
std::string describe(const flowsim::Link& link);
/// The queue in bandwidth-delay products.
double buffer_bdp(const flowsim::Link& link);

}  // namespace wan
