// Registered memory: regions as the core holds them, and their registrations in protection domains.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <span>
#include <vector>

#include "haul/rdma.h"
#include "haul/transport.h"
#include "rdma/verbs.h"

namespace haul::rdma {

class Region;

inline uint64_t address_of(const std::byte* pointer) { return reinterpret_cast<uint64_t>(pointer); }

/// One range registered in one domain, in pieces that end at multiples of 2^shift (wire.h).
class Registered {
 public:
  Registered(std::span<std::byte> memory, MemoryKind kind, uint8_t shift, std::vector<std::unique_ptr<RegisteredRange>> pieces)
      : memory_(memory), kind_(kind), shift_(shift), pieces_(std::move(pieces)) {}
  std::span<std::byte> memory() const { return memory_; }
  MemoryKind kind() const { return kind_; }
  uint8_t shift() const { return shift_; }
  const RegisteredRange& piece_at(const std::byte* address) const;

 private:
  std::span<std::byte> memory_;
  MemoryKind kind_;
  uint8_t shift_;
  std::vector<std::unique_ptr<RegisteredRange>> pieces_;
};

/// What is registered in one domain. A range inside one that is registered already shares it, as long as the region that
/// brought it lives: memory that was unmapped and mapped anew is never mistaken for what was there before.
class DomainMemory {
 public:
  DomainMemory(Device& device, ProtectionDomain& domain, bool windows, const Options& options)
      : device_(device), domain_(domain), windows_(windows), options_(options) {}

  /// The region's registration, made when it is missing. Errors: exhausted (names the limit), unsupported, invalid.
  Result<std::shared_ptr<Registered>> of(const Region& region);
  void forget(uint64_t region_id) { entries_.erase(region_id); }
  size_t registrations() const;

 private:
  struct Entry {
    std::shared_ptr<Registered> registered;
    bool brought = false;  ///< by this region; else shared
  };
  Result<std::shared_ptr<Registered>> make(const Region& region);

  Device& device_;
  ProtectionDomain& domain_;
  bool windows_;
  const Options& options_;
  std::map<uint64_t, Entry> entries_;  // by region id
};

/// Tells every domain of a transport that a region is gone.
class MemoryBook {
 public:
  void add(DomainMemory& memory) { domains_.insert(&memory); }
  void remove(DomainMemory& memory) { domains_.erase(&memory); }
  void forget(uint64_t region_id) {
    regions_.erase(region_id);
    for (DomainMemory* memory : domains_) memory->forget(region_id);
  }
  uint64_t enter() { return *regions_.insert(++last_id_).first; }
  bool empty() const { return regions_.empty(); }

 private:
  std::set<DomainMemory*> domains_;
  std::set<uint64_t> regions_;
  uint64_t last_id_ = 0;
};

class Region final : public MemoryRegion {
 public:
  Region(std::span<std::byte> memory, MemoryKind kind, const std::shared_ptr<MemoryBook>& book)
      : memory_(memory), kind_(kind), book_(book), id_(book->enter()) {}
  ~Region() override {
    if (const auto book = book_.lock()) book->forget(id_);
  }
  Region(const Region&) = delete;
  Region& operator=(const Region&) = delete;

  std::span<std::byte> bytes() const noexcept override { return memory_; }
  MemoryKind kind() const noexcept { return kind_; }
  uint64_t id() const noexcept { return id_; }

 private:
  std::span<std::byte> memory_;
  MemoryKind kind_;
  std::weak_ptr<MemoryBook> book_;
  uint64_t id_;
};

/// One registration: of host memory, or of device memory by the dma-buf that the application exports.
Result<std::unique_ptr<RegisteredRange>> register_in(Device& device, ProtectionDomain& domain, std::span<std::byte> memory,
                                                     MemoryKind kind, const Options& options, Access access);

/// An errno of registration in words: which limit it was, and how to raise it.
Status registration_failed(const Status& status, uint64_t bytes, const std::string& device);

}  // namespace haul::rdma
