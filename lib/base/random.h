// Seeded pseudo-random numbers (xoshiro256**, Blackman and Vigna 2018), and the operating system's.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

namespace haul::base {

/// Deterministic by seed, on every machine. Not for secrets.
class Random {
 public:
  explicit Random(uint64_t seed) noexcept;
  uint64_t next() noexcept;
  /// Uniform in [0, bound); bound > 0.
  uint64_t below(uint64_t bound) noexcept;
  /// True with this probability.
  bool chance(double probability) noexcept;
  void fill(std::span<std::byte> out) noexcept;

 private:
  std::array<uint64_t, 4> state_{};
};

/// Random bytes fit for keys, from getrandom(2). Aborts if the system has none, which Linux excludes after boot.
void system_random(std::span<std::byte> out) noexcept;
uint64_t system_random_u64() noexcept;

}  // namespace haul::base
