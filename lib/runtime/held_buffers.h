// The shared buffers that live grants hold.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <utility>

#include "haul/runtime.h"

namespace haul::detail {

/// By peer and grant. An engine does not tell when a grant expired, so those that expire are looked for now and then: memory
/// stays within twice the number of live grants.
class HeldBuffers {
 public:
  /// `until`: when no byte can use the grant any more, for grants that expire.
  void hold(uint64_t peer, uint64_t grant, SharedBuffer buffer, std::optional<TimePoint> until, TimePoint now) {
    OfPeer& of_peer = peers_[peer];
    if (of_peer.grants.size() >= of_peer.sweep_at) {
      std::erase_if(of_peer.grants, [now](const auto& entry) { return entry.second.until && *entry.second.until <= now; });
      of_peer.sweep_at = std::max(smallest_sweep, 2 * of_peer.grants.size());
    }
    of_peer.grants[grant] = {std::move(buffer), until};
  }
  void drop(uint64_t peer, uint64_t grant) {
    if (const auto found = peers_.find(peer); found != peers_.end()) found->second.grants.erase(grant);
  }
  void drop_peer(uint64_t peer) { peers_.erase(peer); }
  void clear() { peers_.clear(); }

 private:
  static constexpr size_t smallest_sweep = 64;

  struct Held {
    SharedBuffer buffer;
    std::optional<TimePoint> until;
  };
  struct OfPeer {
    std::map<uint64_t, Held> grants;
    size_t sweep_at = smallest_sweep;
  };
  std::map<uint64_t, OfPeer> peers_;
};

}  // namespace haul::detail
