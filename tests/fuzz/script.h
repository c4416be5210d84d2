// An input read as instructions: what a target that keeps state does next, and with which values.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>

#include "base/bytes.h"
#include "fuzz/target.h"

namespace haul::fuzz {

/// Past the end of the input every value is zero; done() tells.
class Script {
 public:
  explicit Script(std::span<const std::byte> input) noexcept : reader_(input) {}

  bool done() const noexcept { return reader_.left() == 0; }
  uint8_t byte() noexcept { return done() ? uint8_t{0} : reader_.get<uint8_t>(); }
  /// In [0, bound), from one byte.
  size_t below(size_t bound) noexcept { return byte() % bound; }
  bool flag() noexcept { return (byte() & 1U) != 0; }
  uint16_t number16() noexcept {
    const unsigned low = byte();
    return static_cast<uint16_t>(low | static_cast<unsigned>(byte()) << 8U);
  }
  /// Mostly small, sometimes at a limit of the type: where mistakes in arithmetic hide.
  uint64_t number() noexcept {
    const uint8_t choice = byte();
    switch (choice >> 5U) {
      case 0:
      case 1:
      case 2: return choice & 0x1fU;
      case 3: return number16();
      case 4: return uint64_t{1} << (byte() & 63U);
      case 5: return (uint64_t{1} << (byte() & 63U)) - 1;
      case 6: return ~uint64_t{0} - (choice & 0x1fU);
      default: return uint64_t{number16()} << 32U | uint64_t{number16()} << 16U | number16();
    }
  }
  /// Up to so many of the input's own bytes.
  std::span<const std::byte> bytes(size_t most) noexcept { return reader_.get_bytes(std::min(most, reader_.left())); }

 private:
  base::ByteReader reader_;
};

}  // namespace haul::fuzz
