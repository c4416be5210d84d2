// What the peer of one connection may do with memory of ours.
#pragma once

#include <cstdint>
#include <deque>
#include <optional>
#include <span>
#include <unordered_map>
#include <unordered_set>

#include "haul/transport.h"
#include "quic/wire.h"

namespace haul::quic {

/// Grants of one connection. Memory is used during a call only, so a revoked grant is quiet at once.
class GrantTable {
 public:
  /// Errors: exhausted.
  Result<LocalGrant> add(std::span<std::byte> memory, Rights rights);
  /// The key of a live grant with this id, which is gone now.
  std::optional<wire::Key> revoke(uint64_t id);

  enum class Answer : uint8_t {
    allowed,
    revoked,    ///< not any more: what was on its way when it was revoked comes like this
    forbidden,  ///< never granted, without the right, or out of range: no well-behaved peer asks for it
  };
  struct Found {
    Answer answer = Answer::forbidden;
    std::span<std::byte> memory = {};  ///< where allowed
  };
  Found find(wire::Key key, Rights wanted, uint64_t offset, uint64_t length) const noexcept;

 private:
  struct Grant {
    std::span<std::byte> memory;
    Rights rights = Rights::none;
  };

  std::unordered_map<wire::Key, Grant> grants_;
  std::unordered_set<wire::Key> revoked_;  // the last ones
  std::deque<wire::Key> revoked_order_;
};

}  // namespace haul::quic
