// xoshiro256**, and getrandom(2).
#include "base/random.h"

#include <sys/random.h>

#include <bit>
#include <cerrno>
#include <cstring>

#include "base/check.h"

namespace haul::base {

Random::Random(uint64_t seed) noexcept {
  // splitmix64 spreads the seed over the state, as the authors of xoshiro recommend.
  for (auto& word : state_) {
    seed += 0x9e3779b97f4a7c15ULL;
    uint64_t mixed = seed;
    mixed = (mixed ^ (mixed >> 30)) * 0xbf58476d1ce4e5b9ULL;
    mixed = (mixed ^ (mixed >> 27)) * 0x94d049bb133111ebULL;
    word = mixed ^ (mixed >> 31);
  }
}

uint64_t Random::next() noexcept {
  const uint64_t result = std::rotl(state_[1] * 5, 7) * 9;
  const uint64_t shifted = state_[1] << 17;
  state_[2] ^= state_[0];
  state_[3] ^= state_[1];
  state_[1] ^= state_[2];
  state_[0] ^= state_[3];
  state_[2] ^= shifted;
  state_[3] = std::rotl(state_[3], 45);
  return result;
}

uint64_t Random::below(uint64_t bound) noexcept {
  check(bound > 0, "random number below zero");
  const uint64_t unbiased_from = (0 - bound) % bound;  // rejects the uneven tail
  uint64_t value = next();
  while (value < unbiased_from) value = next();
  return value % bound;
}

bool Random::chance(double probability) noexcept {
  if (probability <= 0) return false;
  return static_cast<double>(next() >> 11) * 0x1.0p-53 < probability;
}

void Random::fill(std::span<std::byte> out) noexcept {
  while (!out.empty()) {
    const uint64_t word = next();
    const size_t step = out.size() < sizeof(word) ? out.size() : sizeof(word);
    std::memcpy(out.data(), &word, step);
    out = out.subspan(step);
  }
}

void system_random(std::span<std::byte> out) noexcept {
  while (!out.empty()) {
    const ssize_t got = getrandom(out.data(), out.size(), 0);
    if (got < 0 && errno == EINTR) continue;
    check(got > 0, "getrandom failed");
    out = out.subspan(static_cast<size_t>(got));
  }
}

uint64_t system_random_u64() noexcept {
  uint64_t value = 0;
  system_random(std::as_writable_bytes(std::span(&value, 1)));
  return value;
}

}  // namespace haul::base
