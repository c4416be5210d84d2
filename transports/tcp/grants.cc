// Makes, checks and ends grants.
#include "tcp/grants.h"

#include "base/bytes.h"
#include "base/check.h"
#include "base/random.h"

namespace haul::tcp {

namespace {

// Far above what an engine permits a peer; a bound all the same.
constexpr size_t max_grants = 1U << 20;
// As many as an engine grants a peer: it may revoke all of them at once.
constexpr size_t max_revoked = 1U << 16;

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
  grant = Grant{.memory = memory, .key = {}, .rights = rights, .generation = grant.generation + 1, .live = true};
  base::system_random(grant.key);
  by_key_.emplace(grant.key, slot);

  LocalGrant made;
  made.id = id_of(slot, grant);
  base::ByteWriter writer(made.remote.data);
  writer.put_bytes(grant.key);
  made.remote.size = static_cast<uint8_t>(writer.size());
  return made;
}

GrantTable::Found GrantTable::find(const wire::Key& key, Rights wanted, uint64_t offset, uint64_t length) const noexcept {
  const auto found = by_key_.find(key);
  if (found == by_key_.end()) return {revoked_.contains(key) ? Answer::revoked : Answer::forbidden, 0};
  const Grant& grant = grants_[found->second];
  const bool within = offset <= grant.memory.size() && length <= grant.memory.size() - offset;
  if (!within || !allows(grant.rights, wanted)) return {};
  return {Answer::allowed, found->second};
}

void GrantTable::bury(const wire::Key& key) {
  by_key_.erase(key);
  revoked_.insert(key);
  revoked_order_.push_back(key);
  if (revoked_order_.size() <= max_revoked) return;
  revoked_.erase(revoked_order_.front());
  revoked_order_.pop_front();
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

std::optional<uint32_t> GrantTable::revoke(uint64_t id) {
  const auto slot = static_cast<uint32_t>(id);
  if (slot >= grants_.size()) return {};
  Grant& grant = grants_[slot];
  if (!grant.live || grant.revoked || id_of(slot, grant) != id) return {};
  grant.revoked = true;
  bury(grant.key);
  return slot;
}

}  // namespace haul::tcp
