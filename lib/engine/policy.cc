// Transports by policy.
#include "engine/policy.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>

namespace haul::engine {

bool contains(std::span<const std::string> names, std::string_view name) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

bool has_transport(std::span<const std::unique_ptr<Transport>> transports, std::string_view name) {
  return std::any_of(transports.begin(), transports.end(),
                     [name](const auto& transport) { return transport->capabilities().name == name; });
}

Candidates candidates(const TransportPolicy& policy, std::span<const std::unique_ptr<Transport>> transports,
                      std::vector<std::string>& choices) {
  std::vector<uint32_t> order;
  const auto consider = [&](uint32_t index) {
    if (std::find(order.begin(), order.end(), index) == order.end()) order.push_back(index);
  };
  for (const std::string& name : policy.prefer) {
    for (uint32_t i = 0; i < transports.size(); ++i) {
      if (transports[i]->capabilities().name == name) consider(i);
    }
  }
  for (uint32_t i = 0; i < transports.size(); ++i) consider(i);
  const auto unfit = [&](uint32_t index) {
    const Capabilities& capabilities = transports[index]->capabilities();
    const std::string name(capabilities.name);
    if (contains(policy.forbid, name)) {
      choices.push_back(fmt::format("{}: forbidden by policy", name));
    } else if (!policy.require.empty() && !contains(policy.require, name)) {
      choices.push_back(fmt::format("{}: not among those that the policy requires", name));
    } else {
      return false;
    }
    return true;
  };
  std::vector<uint32_t> all = order;
  std::erase_if(order, unfit);
  const auto report_absent = [&](const std::vector<std::string>& names, std::string_view verb) {
    for (const std::string& name : names) {
      if (!has_transport(transports, name))
        choices.push_back(fmt::format("{}: {} by policy, but this engine was made without it", name, verb));
    }
  };
  report_absent(policy.require, "required");
  report_absent(policy.prefer, "preferred");
  const auto bootstraps = [&](uint32_t index) { return transports[index]->capabilities().bootstraps; };
  Candidates found;
  found.for_data = order;
  std::copy_if(order.begin(), order.end(), std::back_inserter(found.first_lane), bootstraps);
  if (!found.first_lane.empty()) return found;
  // What cannot connect by address is negotiated over something that can, which then carries nothing else.
  const auto connects = [&](uint32_t index) {
    return bootstraps(index) && !contains(policy.forbid, std::string(transports[index]->capabilities().name));
  };
  if (!order.empty()) std::copy_if(all.begin(), all.end(), std::back_inserter(found.first_lane), connects);
  if (found.first_lane.empty()) {
    for (const uint32_t index : order)
      choices.push_back(fmt::format("{}: cannot connect by address alone, and nothing that can may be used",
                                    transports[index]->capabilities().name));
  }
  return found;
}

Result<Candidates> accepted_candidates(const TransportPolicy& policy, std::span<const std::unique_ptr<Transport>> transports) {
  for (const std::string& name : policy.require) {
    if (has_transport(transports, name)) continue;
    return Status(
        StatusCode::invalid,
        fmt::format("EngineOptions::accept_policy requires transport {}, and the engine is made without it: add it, or "
                    "require others",
                    name));
  }
  std::vector<std::string> choices;
  Candidates found = candidates(policy, transports, choices);
  if (!found.for_data.empty()) return found;
  return Status(StatusCode::invalid,
                fmt::format("EngineOptions::accept_policy leaves no transport for payload: {}", fmt::join(choices, "; ")));
}

}  // namespace haul::engine
