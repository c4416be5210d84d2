// What the peer of one connection may do with memory of ours.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "haul/transport.h"
#include "tcp/wire.h"

namespace haul::tcp {

/// Grants of one connection. `uses` count kernel operations on a grant's memory, so that a revoke knows when it is quiet.
class GrantTable {
 public:
  /// Errors: exhausted.
  Result<LocalGrant> add(std::span<std::byte> memory, Rights rights);

  /// The slot of the grant that allows all of this, or none: unknown, revoked, without the right, or out of range.
  std::optional<uint32_t> find(const wire::Key& key, Rights wanted, uint64_t offset, uint64_t length) const noexcept;
  /// Of a slot that find() gave.
  std::byte* memory(uint32_t slot, uint64_t offset) const noexcept { return grants_[slot].memory.data() + offset; }
  bool revoked(uint32_t slot) const noexcept { return grants_[slot].revoked; }

  void use(uint32_t slot) noexcept { ++grants_[slot].uses; }
  /// The grant's id when this was the last use of a revoked one: it is gone now.
  std::optional<uint64_t> release(uint32_t slot);

  /// The slot of a live grant with this id. From then on find() fails for it.
  std::optional<uint32_t> revoke(uint64_t id) noexcept;

 private:
  struct Grant {
    std::span<std::byte> memory;
    uint64_t secret = 0;
    Rights rights = Rights::none;
    uint32_t generation = 0;
    uint32_t uses = 0;
    bool live = false;
    bool revoked = false;
  };
  static uint64_t id_of(uint32_t slot, const Grant& grant) noexcept { return uint64_t{grant.generation} << 32 | slot; }

  std::vector<Grant> grants_;
  std::vector<uint32_t> free_;
};

}  // namespace haul::tcp
