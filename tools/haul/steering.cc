// Congestion control and rates: options and JSON.
#include "steering.h"

#include <fmt/format.h>

#include <map>
#include <string>
#include <vector>

#include "base/quantities.h"
#include "choices.h"
#include "haul/congestion.h"

namespace haul::tool {

namespace {

std::vector<std::string> controller_names() {
  std::vector<std::string> names{"off", "automatic"};
  names.insert(names.end(), congestion::names().begin(), congestion::names().end());
  return names;
}

/// Bytes per second in place of what people write.
CLI::Validator rate_reader() {
  return {[](std::string& text) {
            const auto rate = base::parse_rate(text);
            if (!rate) return fmt::format("{} is not {}", text, base::rate_remedy);
            text = std::to_string(*rate);
            return std::string();
          },
          ""};
}

}  // namespace

void add_steering(CLI::App& command, CommonOptions& common) {
  static const std::map<std::string, tcp::KernelController> kernel_names{{"auto", tcp::KernelController::automatic},
                                                                         {"off", tcp::KernelController::off},
                                                                         {"require", tcp::KernelController::require}};
  const auto names = controller_names();
  command
      .add_option("--controller", common.controller,
                  "haul's congestion control of what this side sends. automatic: hub from round trips of 2 ms on")
      ->check(CLI::IsMember(names).description(""))
      ->option_text(fmt::format("{} [{}]", fmt::join(names, "|"), common.controller));
  command
      .add_option("--kernel-controller", common.kernel_controller,
                  "Whether tcp takes haul's congestion control in the kernel (haul cc). auto: beyond a rack, where it is there")
      ->transform(one_of(kernel_names))
      ->option_text("auto|off|require [off]");
  command
      .add_option("--rate", common.rate_limit_bytes_s,
                  "At most so much payload from this side, in bits per second (500M, 2G); a pull asks the server for it")
      ->transform(rate_reader())
      ->option_text("RATE");
}

void tell_steering(nlohmann::json& json, const CommonOptions& common, std::span<const PathStats> paths) {
  json["controller"] = common.controller;
  json["rate_limit_bytes_s"] = nullptr;
  if (common.rate_limit_bytes_s) json["rate_limit_bytes_s"] = *common.rate_limit_bytes_s;
  json["congestion"] = nlohmann::json::array();
  for (const PathStats& path : paths) {
    nlohmann::json told{{"transport", path.transport}, {"direction", path.direction},   {"controller", path.controller},
                        {"phase", path.phase},         {"limited_by", path.limited_by}, {"window_bytes", path.window_bytes},
                        {"rate_bytes_s", nullptr}};
    if (path.rate_bytes_s) told["rate_bytes_s"] = *path.rate_bytes_s;
    json["congestion"].push_back(std::move(told));
  }
}

}  // namespace haul::tool
