// Congestion control and rates: options and JSON.
#include "steering.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "base/quantities.h"
#include "choices.h"
#include "haul/congestion.h"
#include "object/failure.h"
#include "security/peer_name.h"

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

/// Adds what "NAME=RATE" says. Returns what is wrong with it, or nothing.
std::string read_client_rate(const std::string& text, std::vector<ClientRate>& rates) {
  constexpr const char* example = "write NAME=RATE, as in hub-b=500M";
  const size_t equals = text.find('=');
  if (equals == std::string::npos) return fmt::format("\"{}\" has no \"=\": {}", object::printable(text), example);
  ClientRate rate{.name = text.substr(0, equals)};
  if (!security::is_peer_name(rate.name)) {
    return fmt::format("\"{}\" in \"{}\" cannot be a client's name, which has {}: {}", object::printable(rate.name),
                       object::printable(text), security::peer_name_rule, example);
  }
  const std::string number = text.substr(equals + 1);
  const auto bytes_s = base::parse_rate(number);
  if (!bytes_s) {
    return fmt::format("\"{}\" in \"{}\" is not {}; {}", object::printable(number), object::printable(text), base::rate_remedy,
                       example);
  }
  const auto same = [&rate](const ClientRate& other) { return other.name == rate.name; };
  if (std::any_of(rates.begin(), rates.end(), same))
    return fmt::format("\"{}\" has a rate already: name each client once", rate.name);
  rate.bytes_s = *bytes_s;
  rates.push_back(std::move(rate));
  return {};
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
  command
      .add_option("--remember", common.remembered_paths,
                  "Begin with what this file tells of paths to peers met before, and keep what this side learns of them there; "
                  "one process a file")
      ->option_text("FILE");
}

void add_client_rates(CLI::App& command, std::vector<ClientRate>& rates) {
  const auto read = [&rates](const std::vector<std::string>& texts) {
    rates.clear();
    for (const std::string& text : texts) {
      if (std::string fault = read_client_rate(text, rates); !fault.empty())
        throw CLI::ValidationError("--client-rate", std::move(fault));
    }
  };
  command
      .add_option_function<std::vector<std::string>>(
          "--client-rate", read,
          "At most so much payload, in bits per second, to the client of this name (in authorized_peers, or in its "
          "certificate), over all of its connections; may be repeated")
      ->allow_extra_args(false)
      ->option_text("NAME=RATE");
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
