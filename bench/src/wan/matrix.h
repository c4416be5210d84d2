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
  std::string controller;    ///< empty (haul only): its own choice
  uint32_t connections = 1;  ///< lanes of haul, streams of iperf3

  /// "iperf3 cubic", "iperf3 bbr ×8", "haul", "haul bbr".
  std::string name() const;
};

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
  std::vector<Program> beside;  ///< measured on the same links, one after the other
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
