// Makes, checks and ends grants.
#include "tcp/grants.h"

#include "base/bytes.h"
#include "base/check.h"
#include "base/random.h"

namespace haul::tcp {

namespace {

// Far above what an engine permits a peer; a bound all the same.
constexpr size_t max_grants = 1U << 20;

}  // namespace

Result<LocalGrant> GrantTable::add(std::span<std::byte> memory, Rights rights) {
  if (free_.empty()) {
    if (grants_.size() == max_grants) return Status(StatusCode::exhausted, "too many grants on one connection: revoke some");
    free_.push_back(static_cast<uint32_t>(grants_.size()));
    grants_.emplace_back();
  }
  const uint32_t slot = free_.back();
  free_.pop_back();
  Grant& grant = grants_[slot];
  grant = Grant{.memory = memory,
                .secret = base::system_random_u64(),
                .rights = rights,
                .generation = grant.generation + 1,
                .live = true};

  LocalGrant made;
  made.id = id_of(slot, grant);
  base::ByteWriter writer(made.remote.data);
  writer.put(made.id);
  writer.put(grant.secret);
  made.remote.size = static_cast<uint8_t>(writer.size());
  return made;
}

std::optional<uint32_t> GrantTable::find(const wire::Key& key, Rights wanted, uint64_t offset, uint64_t length) const noexcept {
  base::ByteReader reader(key);
  const auto id = reader.get<uint64_t>();
  const auto secret = reader.get<uint64_t>();
  const auto slot = static_cast<uint32_t>(id);
  if (slot >= grants_.size()) return {};
  const Grant& grant = grants_[slot];
  if (!grant.live || grant.revoked || id_of(slot, grant) != id || grant.secret != secret) return {};
  if (!allows(grant.rights, wanted)) return {};
  if (offset > grant.memory.size() || length > grant.memory.size() - offset) return {};
  return slot;
}

std::optional<uint64_t> GrantTable::release(uint32_t slot) {
  Grant& grant = grants_[slot];
  base::check(grant.uses > 0, "a grant was released more often than used");
  --grant.uses;
  if (!grant.revoked || grant.uses > 0) return {};
  grant.live = false;
  free_.push_back(slot);
  return id_of(slot, grant);
}

std::optional<uint32_t> GrantTable::revoke(uint64_t id) noexcept {
  const auto slot = static_cast<uint32_t>(id);
  if (slot >= grants_.size()) return {};
  Grant& grant = grants_[slot];
  if (!grant.live || grant.revoked || id_of(slot, grant) != id) return {};
  grant.revoked = true;
  return slot;
}

}  // namespace haul::tcp
