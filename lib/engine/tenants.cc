// Tenants come with a rate or a peer, and go with the last of both.
#include "engine/tenants.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

namespace haul::engine {

Status Tenants::check(std::string_view name) {
  if (name.empty()) return Status(StatusCode::invalid, "a tenant needs a name of 1 to 64 bytes");
  if (name.size() > max_name_bytes) {
    return Status(StatusCode::invalid,
                  fmt::format("a tenant's name has {} bytes: at most {} are allowed", name.size(), max_name_bytes));
  }
  // It is shown in lines of text.
  const auto bad =
      std::find_if(name.begin(), name.end(), [](char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7f; });
  if (bad == name.end()) return {};
  return Status(StatusCode::invalid, fmt::format("byte {} of a tenant's name is the control character 0x{:02x}: leave it out",
                                                 bad - name.begin() + 1, static_cast<unsigned char>(*bad)));
}

// `leaving`: so many tenants are about to go.
Result<Tenant*> Tenants::find_or_make(TimePoint now, std::string_view name, size_t leaving) {
  if (const auto found = tenants_.find(name); found != tenants_.end()) return found->second.get();
  if (Status status = check(name); !status.ok()) return status;
  if (tenants_.size() - leaving >= max_) {
    return Status(
        StatusCode::exhausted,
        fmt::format("tenant \"{}\": this engine already has {} tenants (EngineOptions::max_tenants): allow more, or give "
                    "some up; one is gone that has neither a rate (Engine::limit_tenant()) nor a peer",
                    name, tenants_.size()));
  }
  auto tenant = std::make_unique<Tenant>(name, *link_, *link_turns_, now);
  return tenants_.emplace(std::string(name), std::move(tenant)).first->second.get();
}

Result<Tenant*> Tenants::limit(TimePoint now, std::string_view name, std::optional<uint64_t> bytes_s) {
  if (Status status = check(name); !status.ok()) return status;
  if (!bytes_s && tenants_.find(name) == tenants_.end()) return static_cast<Tenant*>(nullptr);
  auto made = find_or_make(now, name, 0);
  if (!made) return made;
  Tenant* tenant = *made;
  tenant->budget.set_rate(now, bytes_s);
  if (!idle(*tenant)) return tenant;
  tenants_.erase(tenants_.find(name));
  return static_cast<Tenant*>(nullptr);
}

Result<Tenant*> Tenants::join(TimePoint now, std::string_view name, Tenant* from) {
  const bool goes = from != nullptr && from->peers == 1 && !from->budget.rate();
  auto made = find_or_make(now, name, goes ? 1 : 0);
  if (!made) return made;
  ++(*made)->peers;
  if (from != nullptr) leave(*from);
  return made;
}

void Tenants::leave(Tenant& tenant) {
  --tenant.peers;
  if (idle(tenant)) tenants_.erase(tenants_.find(tenant.name));
}

}  // namespace haul::engine
