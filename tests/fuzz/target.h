// What a fuzz target is: a function that takes any bytes and must come back, and that stops the program where haul misbehaves.
#pragma once

#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace haul::fuzz {

using Bytes = std::vector<std::byte>;

/// Takes the name of a seed and its bytes.
using SeedSink = std::function<void(std::string_view name, std::span<const std::byte> bytes)>;

struct Target {
  std::string_view name;  ///< of its program and of its folder in the corpus
  void (*run)(std::span<const std::byte> input);
  void (*seeds)(const SeedSink& sink);  ///< what the corpus begins with, always the same
};

/// Every one. The order is that of the file.
std::span<const Target> targets() noexcept;
/// Null: there is none.
const Target* find_target(std::string_view name) noexcept;

/// A property that must hold, whatever the input is. A crash is what fuzzers and the replay look for.
inline void require(bool holds, std::string_view what) {
  if (holds) return;
  std::fprintf(stderr, "fuzz: broken: %.*s\n", static_cast<int>(what.size()), what.data());
  std::fflush(nullptr);
  std::abort();
}

inline Bytes to_bytes(std::string_view text) {
  const auto bytes = std::as_bytes(std::span(text));
  return {bytes.begin(), bytes.end()};
}

inline std::string_view to_text(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

inline bool same(std::span<const std::byte> a, std::span<const std::byte> b) { return to_text(a) == to_text(b); }

}  // namespace haul::fuzz
