// Memory that the peer may use: bound to this queue pair, and taken back.
#include <fmt/format.h>

#include <algorithm>
#include <bit>

#include "rdma/connection.h"

namespace haul::rdma {

namespace {

/// The next key of a window: its low byte is the binder's to choose.
constexpr uint32_t next_key(uint32_t key) { return (key & 0xffffff00U) | ((key + 1) & 0xffU); }

}  // namespace

Result<LocalGrant> Connection::grant(const MemoryRegion& memory_region, Range range, Rights rights) {
  if (state_ != State::ready) return Status(StatusCode::unavailable, "the connection is not ready");
  const auto* region = dynamic_cast<const Region*>(&memory_region);
  if (region == nullptr) return Status(StatusCode::invalid, "the region is not registered with rdma");
  const uint64_t size = region->bytes().size();
  if (rights == Rights::none) return Status(StatusCode::invalid, "a grant without rights");
  if (range.length == 0 || range.offset > size || range.length > size - range.offset) {
    return Status(StatusCode::invalid, "the range to grant is outside its region");
  }
  auto registered = memory().of(*region);
  if (!registered) return registered.status();
  Grant grant;
  grant.memory = std::move(*registered);
  grant.range = region->bytes().subspan(static_cast<size_t>(range.offset), static_cast<size_t>(range.length));
  grant.key.queue_pair = own_.queue_pair;
  grant.key.number = last_grant_ + 1;
  grant.key.rights = rights;
  grant.key.address = reinterpret_cast<uint64_t>(grant.range.data());
  grant.key.length = range.length;
  if (Status status = has_windows() ? make_windows(grant) : make_ranges(grant, rights); !status.ok()) return status;
  const uint32_t number = ++last_grant_;
  const LocalGrant local{number, wire::encode(grant.key)};
  grants_.emplace(number, std::move(grant));
  if (has_windows()) {
    to_bind_.push_back(number);
  } else {
    bound_ = number;
  }
  dirty_ = true;
  return local;
}

Status Connection::make_windows(Grant& grant) {
  // A window lies on one registered piece, and is no larger than the device's are.
  const uint64_t largest = port_.owner->device->info().max_window_bytes;
  grant.key.shift = std::min(grant.memory->shift(), static_cast<uint8_t>(std::bit_width(largest) - 1));
  const uint64_t pieces = wire::pieces_of(grant.key.address, grant.key.length, grant.key.shift);
  if (pieces > wire::max_pieces) {
    return Status(
        StatusCode::unsupported,
        fmt::format("{} takes {} memory windows of {} MiB for a grant of {} bytes, and a grant has room for {}: grant "
                    "smaller ranges, or use RightsBy::domains",
                    port_.name(), pieces, (uint64_t{1} << grant.key.shift) >> 20, grant.key.length, wire::max_pieces));
  }
  if (grant.memory->kind() == MemoryKind::device) {
    return Status(StatusCode::unsupported, "device memory has no memory windows: use RightsBy::automatic or domains");
  }
  for (uint64_t i = 0; i < pieces; ++i) {
    auto window = port_.owner->device->make_window(*port_.owner->domain);
    if (!window) {
      return Status(StatusCode::exhausted,
                    fmt::format("{} has no memory window left: {}", port_.name(), window.status().message()),
                    window.status().system_error());
    }
    grant.key.keys[static_cast<size_t>(i)] = next_key((*window)->remote_key());
    grant.windows.push_back(std::move(*window));
  }
  return {};
}

/// A registration of its own, in the domain that only this peer's queue pair is in.
Status Connection::make_ranges(Grant& grant, Rights rights) {
  Access access;
  access.local_write = allows(rights, Rights::write);
  access.remote_write = allows(rights, Rights::write);
  access.remote_read = allows(rights, Rights::read);
  access.on_demand = context_.options.on_demand_paging;
  grant.key.shift = 63;
  auto range = register_in(*port_.owner->device, *own_domain_, grant.range, grant.memory->kind(), context_.options, access);
  if (!range) return registration_failed(range.status(), grant.range.size(), port_.owner->device->info().name);
  grant.key.keys[0] = (*range)->remote_key();
  grant.ranges.push_back(std::move(*range));
  return {};
}

void Connection::revoke(uint64_t grant_id, TimePoint now) {
  const auto found = grants_.find(static_cast<uint32_t>(grant_id));
  if (state_ == State::over || found == grants_.end() || found->second.state != Grant::State::standing) return;
  found->second.state = Grant::State::asked;
  now_ = now;
  to_ask_back_.push_back(found->first);
  ask_back();
}

/// So many at a time as the peer has to keep track of.
void Connection::ask_back() {
  for (; !to_ask_back_.empty() && asked_back_ < wire::max_revokes; to_ask_back_.pop_front()) {
    ++asked_back_;
    grants_.at(to_ask_back_.front()).deadline = now_ + context_.options.revoke_grace;
    records_.emplace_back(wire::Revoke{to_ask_back_.front()});
    dirty_ = true;
  }
}

/// The peer let go of it, or was waited for long enough.
void Connection::take_back(uint32_t number, Grant& grant) {
  grant.state = Grant::State::taking;
  grant.deadline = TimePoint();
  const auto unbound = std::find(to_bind_.begin(), to_bind_.end(), number);
  if (unbound != to_bind_.end()) {
    to_bind_.erase(unbound);
    return give_up(number);
  }
  if (!has_windows()) {
    grant.ranges.clear();
    return prove_quiet(number, grant);
  }
  grant.invalidations_left = grant.windows.size();
  to_invalidate_.push_back(number);
  dirty_ = true;
}

/// The peer did not let go of it in time. Its next use fails; one under way is stopped by the device, or by our end.
void Connection::force_back(uint32_t number, Grant& grant) {
  if (port_.owner->device->info().stops_messages) {
    forced_ = true;
    return take_back(number, grant);
  }
  end(Status(StatusCode::peer_lost,
             fmt::format("the peer did not let go of a revoked grant within {} ms, and {} does not stop what is under way: the "
                         "queue pair was destroyed",
                         context_.options.revoke_grace / std::chrono::milliseconds(1), port_.owner->device->info().name)));
}

void Connection::on_invalidated(uint32_t number) {
  const auto found = grants_.find(number);
  if (found != grants_.end() && --found->second.invalidations_left == 0) prove_quiet(number, found->second);
}

/// The key was taken.
void Connection::prove_quiet(uint32_t number, Grant& grant) {
  if (port_.owner->device->info().stops_messages) return give_up(number);
  // A message that began before may still be placed. What the peer sends once it has heard this comes behind it.
  grant.state = Grant::State::proving;
  grant.deadline = now_ + context_.options.revoke_grace;
  records_.emplace_back(wire::Fence{number});
  dirty_ = true;
}

void Connection::give_up(uint32_t number) {
  grants_.erase(number);
  --asked_back_;
  report(Event::Kind::revoked, number);
  ask_back();
}

std::span<std::byte> Connection::granted(uint32_t number, uint64_t offset, uint32_t length, Rights wanted) {
  const auto found = grants_.find(number);
  if (found == grants_.end() && number > 0 && number <= last_grant_) return {};
  if (found == grants_.end()) {
    broken("a grant that was never made");
    return {};
  }
  const auto range = found->second.range;
  const bool sound = length > 0 && offset <= range.size() && length <= range.size() - offset;
  if (!sound || !allows(found->second.key.rights, wanted)) {
    end(Status(StatusCode::refused, "the peer claims to have used memory that it was not granted"));
    return {};
  }
  return range.subspan(static_cast<size_t>(offset), length);
}

void Connection::used_once_less(uint32_t number) {
  --key_uses_[number];
  release_if_unused(number);
}

/// The end of the last use of a key that is to be given back is told.
void Connection::release_if_unused(uint32_t number) {
  if (!to_release_.contains(number)) return;
  const auto uses = key_uses_.find(number);
  if (uses != key_uses_.end() && uses->second > 0) return;
  if (uses != key_uses_.end()) key_uses_.erase(uses);
  to_release_.erase(number);
  owe(wire::Released{number});
}

}  // namespace haul::rdma
