// CRC32C (Castagnoli, RFC 3720 appendix B.4), computed by isa-l.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace haul::base {

/// The checksum of `bytes`, or of what `previous` covers followed by `bytes`. crc32c("123456789") is 0xe3069283.
uint32_t crc32c(std::span<const std::byte> bytes, uint32_t previous = 0) noexcept;

}  // namespace haul::base
