// Which transports a policy leaves, and why not the others.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "haul/peer.h"
#include "haul/transport.h"

namespace haul::engine {

/// What policy leaves of the transports, the best first.
struct Candidates {
  std::vector<uint32_t> first_lane;  ///< connect by address
  std::vector<uint32_t> for_data;    ///< may carry payload; the others of `first_lane` carry control messages only
};

/// `choices` gets a line for each that is not among them.
Candidates candidates(const TransportPolicy& policy, std::span<const std::unique_ptr<Transport>> transports,
                      std::vector<std::string>& choices);

/// The same for peers that come. Errors: invalid (a required transport that is not there, or none is left for payload).
Result<Candidates> accepted_candidates(const TransportPolicy& policy, std::span<const std::unique_ptr<Transport>> transports);

bool contains(std::span<const std::string> names, std::string_view name);
bool has_transport(std::span<const std::unique_ptr<Transport>> transports, std::string_view name);

}  // namespace haul::engine
