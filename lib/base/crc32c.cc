// Runs isa-l over spans of any size.
#include "base/crc32c.h"

#include <isa-l/crc.h>

#include <algorithm>

namespace haul::base {

uint32_t crc32c(std::span<const std::byte> bytes, uint32_t previous) noexcept {
  constexpr size_t max_step_bytes = size_t{1} << 30;  // isa-l takes an int
  uint32_t crc = ~previous;
  while (!bytes.empty()) {
    const size_t step_bytes = std::min(bytes.size(), max_step_bytes);
    // isa-l's prototype lacks const; it only reads.
    auto* data = const_cast<unsigned char*>(reinterpret_cast<const unsigned char*>(bytes.data()));  // NOLINT
    crc = crc32_iscsi(data, static_cast<int>(step_bytes), crc);
    bytes = bytes.subspan(step_bytes);
  }
  return ~crc;
}

}  // namespace haul::base
