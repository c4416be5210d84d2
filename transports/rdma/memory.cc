// Registering memory: in pieces side by side, shared where it is registered already.
#include "rdma/memory.h"

#include <fmt/format.h>
#include <sys/resource.h>

#include <algorithm>
#include <cerrno>
#include <system_error>
#include <thread>

#include "rdma/wire.h"

namespace haul::rdma {

namespace {

/// Pieces of the wished size, or as large as it takes that there are no more than a key can name.
uint8_t shift_for(std::span<std::byte> memory, uint64_t piece_bytes) {
  uint8_t shift = 12;
  while (shift < 62 && (uint64_t{1} << shift) < piece_bytes) ++shift;
  while (wire::pieces_of(address_of(memory.data()), memory.size(), shift) > wire::max_pieces) ++shift;
  return shift;
}

std::vector<std::span<std::byte>> cut(std::span<std::byte> memory, uint8_t shift) {
  std::vector<std::span<std::byte>> pieces;
  while (!memory.empty()) {
    const uint64_t here = address_of(memory.data());
    const auto bytes = static_cast<size_t>(std::min<uint64_t>(memory.size(), wire::piece_end(here, shift) - here));
    pieces.push_back(memory.first(bytes));
    memory = memory.subspan(bytes);
  }
  return pieces;
}

}  // namespace

const RegisteredRange& Registered::piece_at(const std::byte* address) const {
  return *pieces_[static_cast<size_t>((address_of(address) >> shift_) - (address_of(memory_.data()) >> shift_))];
}

Status registration_failed(const Status& status, uint64_t bytes, const std::string& device) {
  if (status.system_error() != ENOMEM && status.system_error() != EAGAIN && status.system_error() != EPERM) {
    return Status(status.code(), fmt::format("{} cannot register {} bytes: {}", device, bytes, status.message()),
                  status.system_error());
  }
  rlimit limit{};
  getrlimit(RLIMIT_MEMLOCK, &limit);
  const std::string now = limit.rlim_cur == RLIM_INFINITY ? "unlimited" : fmt::format("{} bytes", limit.rlim_cur);
  return Status(StatusCode::exhausted,
                fmt::format("{} cannot register {} bytes: memory for RDMA is locked, and the limit RLIMIT_MEMLOCK is {} "
                            "(raise it: `ulimit -l unlimited`, /etc/security/limits.conf \"memlock\", or LimitMEMLOCK= in a "
                            "systemd unit); if it is unlimited, memory itself is short",
                            device, bytes, now),
                status.system_error());
}

size_t DomainMemory::registrations() const {
  return static_cast<size_t>(
      std::count_if(entries_.begin(), entries_.end(), [](const auto& entry) { return entry.second.brought; }));
}

Result<std::shared_ptr<Registered>> DomainMemory::of(const Region& region) {
  if (const auto found = entries_.find(region.id()); found != entries_.end()) return found->second.registered;
  const uint64_t begin = address_of(region.bytes().data());
  const uint64_t end = begin + region.bytes().size();
  for (const auto& [id, entry] : entries_) {
    const auto memory = entry.registered->memory();
    const uint64_t there = address_of(memory.data());
    if (entry.brought && entry.registered->kind() == region.kind() && there <= begin && end <= there + memory.size()) {
      const std::shared_ptr<Registered> shared = entry.registered;
      entries_.emplace(region.id(), Entry{shared, false});
      return shared;
    }
  }
  auto made = make(region);
  if (made) entries_.emplace(region.id(), Entry{*made, true});
  return made;
}

Result<std::unique_ptr<RegisteredRange>> register_in(Device& device, ProtectionDomain& domain, std::span<std::byte> memory,
                                                     MemoryKind kind, const Options& options, Access access) {
  if (kind == MemoryKind::host) return device.register_range(domain, memory, access);
  if (!options.export_device_memory) {
    return Status(StatusCode::unsupported, "rdma: device memory needs rdma::Options::export_device_memory");
  }
  auto exported = options.export_device_memory(memory);
  if (!exported) return exported.status();
  // The kernel permits neither windows nor on-demand paging on a dma-buf.
  access.windows = access.on_demand = false;
  return device.register_dma_buf(domain, {exported->fd, exported->offset}, memory, access);
}

Result<std::shared_ptr<Registered>> DomainMemory::make(const Region& region) {
  Access access;
  access.local_write = true;
  access.windows = windows_;
  access.on_demand = options_.on_demand_paging;
  const uint8_t shift = shift_for(region.bytes(), options_.registration_piece_bytes);
  const auto cuts = cut(region.bytes(), shift);
  std::vector<Result<std::unique_ptr<RegisteredRange>>> results;
  for (size_t i = 0; i < cuts.size(); ++i) results.emplace_back(Status(StatusCode::internal, "not registered"));
  const auto one = [&](size_t i) { results[i] = register_in(device_, domain_, cuts[i], region.kind(), options_, access); };
  // Pinning costs time for each page, and goes side by side. What exports device memory is not asked by several threads.
  std::vector<std::thread> others;
  size_t begun = 1;
  if (region.kind() == MemoryKind::host) {
    try {
      for (; begun < cuts.size(); ++begun) others.emplace_back(one, begun);
    } catch (const std::system_error&) {
      // No more threads: this one does the rest.
    }
  }
  if (!cuts.empty()) one(0);
  for (; begun < cuts.size(); ++begun) one(begun);
  for (std::thread& other : others) other.join();

  std::vector<std::unique_ptr<RegisteredRange>> pieces;
  for (auto& result : results) {
    if (!result) return registration_failed(result.status(), region.bytes().size(), device_.info().name);
    pieces.push_back(std::move(*result));
  }
  return std::make_shared<Registered>(region.bytes(), region.kind(), shift, std::move(pieces));
}

}  // namespace haul::rdma
