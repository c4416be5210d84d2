// Registered memory: what stands behind a Buffer, shared by the Buffer and by everything in flight that uses its memory.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "haul/buffer.h"
#include "haul/status.h"
#include "haul/transport.h"

namespace haul::memory {
class MemoryTable;
}

namespace haul::detail {

/// One range of memory with its registration in every transport of the engine, by transport index. The last owner to let go
/// ends the registrations, then unmaps the memory if it is ours.
struct Registration {
  Registration() = default;
  ~Registration();
  Registration(const Registration&) = delete;
  Registration& operator=(const Registration&) = delete;

  std::span<std::byte> memory;
  MemoryKind kind = MemoryKind::host;
  bool owned = false;                                  // mapped by MemoryTable::allocate
  std::vector<std::unique_ptr<MemoryRegion>> regions;  // null: that transport can't hold device memory

  /// What the processor must not read.
  bool on_device() const noexcept { return kind == MemoryKind::device; }
  bool held_by(uint32_t transport) const noexcept { return regions[transport] != nullptr; }

  // Membership in the table of live registrations; null once the engine is gone.
  memory::MemoryTable* table = nullptr;
  Registration* previous = nullptr;
  Registration* next = nullptr;
};

}  // namespace haul::detail

namespace haul::memory {

/// Makes registrations and knows which are alive, so that an engine that ends can end them before its transports.
class MemoryTable {
 public:
  MemoryTable() = default;
  ~MemoryTable();
  MemoryTable(const MemoryTable&) = delete;
  MemoryTable& operator=(const MemoryTable&) = delete;

  /// Maps zeroed, page-aligned memory and registers it.
  Result<std::shared_ptr<detail::Registration>> allocate(uint64_t bytes,
                                                         std::span<const std::unique_ptr<Transport>> transports);
  /// Registers the caller's memory; device memory with those transports that can hold it.
  Result<std::shared_ptr<detail::Registration>> adopt(std::span<std::byte> bytes, MemoryKind kind,
                                                      std::span<const std::unique_ptr<Transport>> transports);

  uint64_t registered_bytes() const noexcept { return registered_bytes_; }

 private:
  friend struct detail::Registration;
  Status enter(const std::shared_ptr<detail::Registration>& registration,
               std::span<const std::unique_ptr<Transport>> transports);
  void leave(detail::Registration& registration) noexcept;

  detail::Registration* first_ = nullptr;
  uint64_t registered_bytes_ = 0;
};

}  // namespace haul::memory
