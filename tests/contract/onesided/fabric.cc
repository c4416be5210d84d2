// The fabric of the fake one-sided transport: who reaches whom, and faults.
#include "contract/onesided/fabric.h"

#include "contract/onesided/transport.h"

namespace haul::onesided {

Fabric::Fabric(uint64_t seed, FabricOptions options) : options_(std::move(options)), random_(seed) {}

Fabric::~Fabric() = default;

std::unique_ptr<Transport> Fabric::make_transport(std::string_view node) {
  return std::make_unique<OneSidedTransport>(*this, std::string(node));
}

Fabric::Nodes Fabric::ordered(std::string_view a, std::string_view b) { return a < b ? Nodes(a, b) : Nodes(b, a); }

bool Fabric::reaches(const std::string& a, const std::string& b) const {
  return !cut_.contains(ordered(a, b)) && !dead_.contains(a) && !dead_.contains(b);
}

QueuePair* Fabric::find(uint64_t number) const {
  const auto it = pairs_.find(number);
  return it == pairs_.end() ? nullptr : it->second;
}

void Fabric::break_connections(std::string_view a, std::string_view b) {
  for (OneSidedTransport* transport : transports_) {
    if (transport->node_ != a && transport->node_ != b) continue;
    for (auto& [number, pair] : transport->pairs_) {
      const QueuePair* peer = find(pair->peer);
      if (peer == nullptr || ordered(peer->owner->node_, transport->node_) != ordered(a, b)) continue;
      transport->end(*pair, Status(StatusCode::peer_lost, "the port went down"));
    }
  }
}

void Fabric::hold_completions(std::string_view node, bool hold) {
  if (hold) {
    held_.insert(std::string(node));
  } else {
    held_.erase(std::string(node));
  }
}

}  // namespace haul::onesided
