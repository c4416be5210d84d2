// haul_schedules: runs random schedules against the simulator, one a seed. A failure is printed with its seed.
#include <charconv>
#include <cstdio>
#include <optional>
#include <string_view>

#include "contract/schedules/schedule.h"

namespace {

struct Arguments {
  uint64_t seeds = 200;
  uint64_t first = 1;
  bool verbose = false;
};

std::optional<Arguments> parse(int count, char** values) {
  Arguments arguments;
  for (int i = 1; i < count; ++i) {
    const std::string_view name = values[i];
    if (name == "--verbose") {
      arguments.verbose = true;
      continue;
    }
    if ((name != "--seeds" && name != "--first") || i + 1 == count) return std::nullopt;
    const std::string_view value = values[++i];
    uint64_t& number = name == "--seeds" ? arguments.seeds : arguments.first;
    const auto [rest, error] = std::from_chars(value.data(), value.data() + value.size(), number);
    if (error != std::errc() || rest != value.data() + value.size()) return std::nullopt;
  }
  return arguments;
}

/// The hash of the trace; absent when the contract was broken.
std::optional<uint64_t> run_one(uint64_t seed, bool verbose) {
  haul::contract::Schedule schedule(seed);
  try {
    schedule.run();
  } catch (const haul::contract::Broken& broken) {
    std::printf("seed %llu: %s\n", static_cast<unsigned long long>(seed), broken.what());
    return std::nullopt;
  }
  if (verbose) std::printf("seed %llu: %s\n", static_cast<unsigned long long>(seed), schedule.summary().c_str());
  return schedule.trace_hash();
}

}  // namespace

int main(int count, char** values) {
  const auto arguments = parse(count, values);
  if (!arguments) {
    std::fprintf(stderr, "usage: %s [--seeds N] [--first SEED] [--verbose]\n", values[0]);
    return 2;
  }
  constexpr uint64_t repeat_every = 50;  // the same seed must give the same trace
  uint64_t failed = 0;
  for (uint64_t seed = arguments->first; seed < arguments->first + arguments->seeds; ++seed) {
    const auto hash = run_one(seed, arguments->verbose);
    bool good = hash.has_value();
    if (good && seed % repeat_every == 0 && run_one(seed, false) != hash) {
      std::printf("seed %llu: a second run took another course\n", static_cast<unsigned long long>(seed));
      good = false;
    }
    failed += static_cast<uint64_t>(!good);
    std::fflush(stdout);
  }
  std::printf("%llu schedules, %llu failed\n", static_cast<unsigned long long>(arguments->seeds),
              static_cast<unsigned long long>(failed));
  return failed == 0 ? 0 : 1;
}
