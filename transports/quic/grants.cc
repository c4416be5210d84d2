// Makes, checks and ends grants.
#include "quic/grants.h"

#include "base/bytes.h"
#include "base/random.h"

namespace haul::quic {

namespace {

// Far above what an engine permits a peer; a bound all the same.
constexpr size_t max_grants = 1U << 20;
// As many as an engine grants a peer: it may revoke all of them at once.
constexpr size_t max_revoked = 1U << 16;

}  // namespace

Result<LocalGrant> GrantTable::add(std::span<std::byte> memory, Rights rights) {
  if (grants_.size() == max_grants) return Status(StatusCode::exhausted, "too many grants on one connection: revoke some");
  wire::Key key = 0;
  do {
    key = static_cast<wire::Key>(base::system_random_u64());
  } while (grants_.contains(key) || revoked_.contains(key));
  grants_.emplace(key, Grant{.memory = memory, .rights = rights});
  LocalGrant made;
  made.id = key;
  base::ByteWriter writer(made.remote.data);
  writer.put(key);
  made.remote.size = static_cast<uint8_t>(writer.size());
  return made;
}

GrantTable::Found GrantTable::find(wire::Key key, Rights wanted, uint64_t offset, uint64_t length) const noexcept {
  const auto found = grants_.find(key);
  if (found == grants_.end()) return {revoked_.contains(key) ? Answer::revoked : Answer::forbidden, {}};
  const Grant& grant = found->second;
  const bool within = offset <= grant.memory.size() && length <= grant.memory.size() - offset;
  if (!within || !allows(grant.rights, wanted)) return {};
  return {Answer::allowed, grant.memory.subspan(offset, length)};
}

std::optional<wire::Key> GrantTable::revoke(uint64_t id) {
  const auto key = static_cast<wire::Key>(id);
  if (id != key || grants_.erase(key) == 0) return {};
  revoked_.insert(key);
  revoked_order_.push_back(key);
  if (revoked_order_.size() > max_revoked) {
    revoked_.erase(revoked_order_.front());
    revoked_order_.pop_front();
  }
  return key;
}

}  // namespace haul::quic
