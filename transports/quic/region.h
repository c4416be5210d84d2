// Memory regions of the quic transport: nothing is registered anywhere, packets are copied.
#pragma once

#include <span>

#include "haul/transport.h"

namespace haul::quic {

class Region final : public MemoryRegion {
 public:
  explicit Region(std::span<std::byte> memory) noexcept : memory_(memory) {}
  std::span<std::byte> bytes() const noexcept override { return memory_; }

 private:
  std::span<std::byte> memory_;
};

}  // namespace haul::quic
