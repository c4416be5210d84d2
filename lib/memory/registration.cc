// Registered memory: mapping, registration, and the order in which they end.
#include "memory/registration.h"

#include <fmt/format.h>
#include <sys/mman.h>

#include <cerrno>
#include <string>

namespace haul {

namespace detail {

Registration::~Registration() {
  if (table != nullptr) table->leave(*this);
  regions.clear();
  if (owned && !memory.empty()) munmap(memory.data(), memory.size());
}

}  // namespace detail

namespace memory {

namespace {

constexpr uint64_t huge_page_bytes = uint64_t{2} << 20;

}  // namespace

MemoryTable::~MemoryTable() {
  while (first_ != nullptr) {
    first_->regions.clear();
    leave(*first_);
  }
}

Result<std::shared_ptr<detail::Registration>> MemoryTable::allocate(uint64_t bytes,
                                                                    std::span<const std::unique_ptr<Transport>> transports) {
  if (bytes == 0) return Status(StatusCode::invalid, "a buffer of 0 bytes cannot be allocated");
  void* address = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (address == MAP_FAILED) {
    return Status::from_errno(StatusCode::exhausted, errno, fmt::format("cannot allocate a buffer of {} bytes", bytes));
  }
  // Advice only: fewer page faults and TLB misses where the kernel has huge pages to give.
  if (bytes >= huge_page_bytes) madvise(address, bytes, MADV_HUGEPAGE);
  auto registration = std::make_shared<detail::Registration>();
  registration->memory = {static_cast<std::byte*>(address), bytes};
  registration->owned = true;
  if (Status status = enter(registration, transports); !status.ok()) return status;
  return registration;
}

Result<std::shared_ptr<detail::Registration>> MemoryTable::adopt(std::span<std::byte> bytes, MemoryKind kind,
                                                                 std::span<const std::unique_ptr<Transport>> transports) {
  if (bytes.empty()) return Status(StatusCode::invalid, "memory of 0 bytes cannot be registered");
  auto registration = std::make_shared<detail::Registration>();
  registration->memory = bytes;
  registration->kind = kind;
  if (Status status = enter(registration, transports); !status.ok()) return status;
  return registration;
}

Status MemoryTable::enter(const std::shared_ptr<detail::Registration>& registration,
                          std::span<const std::unique_ptr<Transport>> transports) {
  std::vector<std::string> reasons;
  for (const auto& transport : transports) {
    auto region = transport->register_memory(registration->memory, registration->kind);
    if (region) {
      registration->regions.push_back(std::move(*region));
    } else if (registration->on_device() && region.status().code() == StatusCode::unsupported) {
      registration->regions.push_back(nullptr);
      reasons.emplace_back(region.status().message());
    } else {
      return region.status();
    }
  }
  if (reasons.size() == transports.size()) {
    return Status(StatusCode::unsupported,
                  fmt::format("no transport of this engine can hold device memory ({}): add rdma with "
                              "rdma::Options::export_device_memory, on a device that takes dma-bufs, or move it by way of host "
                              "memory",
                              fmt::join(reasons, "; ")));
  }
  registration->table = this;
  registration->next = first_;
  if (first_ != nullptr) first_->previous = registration.get();
  first_ = registration.get();
  registered_bytes_ += registration->memory.size();
  return {};
}

void MemoryTable::leave(detail::Registration& registration) noexcept {
  if (registration.previous != nullptr) registration.previous->next = registration.next;
  if (registration.next != nullptr) registration.next->previous = registration.previous;
  if (first_ == &registration) first_ = registration.next;
  registration.table = nullptr;
  registered_bytes_ -= registration.memory.size();
}

}  // namespace memory
}  // namespace haul
