// What the peer of one connection may do with memory of ours.
#pragma once

#include <cstdint>
#include <deque>
#include <optional>
#include <span>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "base/bytes.h"
#include "haul/transport.h"
#include "tcp/wire.h"

namespace haul::tcp {

/// Grants of one connection. `uses` count kernel operations on a grant's memory, so that a revoke knows when it is quiet.
class GrantTable {
 public:
  /// Errors: exhausted.
  Result<LocalGrant> add(std::span<std::byte> memory, Rights rights);

  enum class Answer : uint8_t {
    allowed,
    revoked,    ///< not any more: what was on its way when it was revoked comes like this
    forbidden,  ///< never granted, without the right, or out of range: no well-behaved peer asks for it
  };
  struct Found {
    Answer answer = Answer::forbidden;
    uint32_t slot = 0;  ///< where allowed
  };
  Found find(const wire::Key& key, Rights wanted, uint64_t offset, uint64_t length) const noexcept;
  /// Of a slot that find() allowed.
  std::byte* memory(uint32_t slot, uint64_t offset) const noexcept { return grants_[slot].memory.data() + offset; }
  bool revoked(uint32_t slot) const noexcept { return grants_[slot].revoked; }

  void use(uint32_t slot) noexcept { ++grants_[slot].uses; }
  /// The grant's id when this was the last use of a revoked one: it is gone now.
  std::optional<uint64_t> release(uint32_t slot);

  /// The slot of a live grant with this id. From then on find() fails for it.
  std::optional<uint32_t> revoke(uint64_t id);

 private:
  struct Grant {
    std::span<std::byte> memory;
    wire::Key key{};
    Rights rights = Rights::none;
    uint32_t generation = 0;
    uint32_t uses = 0;
    bool live = false;
    bool revoked = false;
  };
  static uint64_t id_of(uint32_t slot, const Grant& grant) noexcept { return uint64_t{grant.generation} << 32 | slot; }

  // Keys are random already.
  struct KeyHash {
    size_t operator()(const wire::Key& key) const noexcept { return base::ByteReader(key).get<uint64_t>(); }
  };
  void bury(const wire::Key& key);

  std::vector<Grant> grants_;
  std::vector<uint32_t> free_;
  std::unordered_map<wire::Key, uint32_t, KeyHash> by_key_;
  std::unordered_set<wire::Key, KeyHash> revoked_;  // the last ones
  std::deque<wire::Key> revoked_order_;
};

}  // namespace haul::tcp
