// haul_hostile_peer: lets a hostile peer loose on an engine, once for each seed. The seed that fails is the last one printed.
#include <charconv>
#include <cstdio>
#include <string_view>

#include "base/random.h"
#include "fuzz/hostile_peer.h"

namespace {

bool parse(std::string_view text, uint64_t& number) {
  const auto [rest, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  return error == std::errc() && rest == text.data() + text.size();
}

/// The script of a seed: longer and shorter ones, all of them random.
haul::fuzz::Bytes script_of(uint64_t seed) {
  haul::base::Random random(seed);
  haul::fuzz::Bytes script(20 + random.below(600));
  random.fill(script);
  return script;
}

}  // namespace

int main(int count, char** values) {
  uint64_t seeds = 100;
  uint64_t first = 1;
  for (int i = 1; i < count; i += 2) {
    const std::string_view name = values[i];
    uint64_t& number = name == "--first" ? first : seeds;
    if ((name == "--seeds" || name == "--first") && i + 1 < count && parse(values[i + 1], number)) continue;
    std::fprintf(stderr, "usage: %s [--seeds N] [--first SEED]\n", values[0]);
    return 2;
  }
  haul::fuzz::HostileSummary all;
  for (uint64_t seed = first; seed < first + seeds; ++seed) {
    std::printf("seed %llu\n", static_cast<unsigned long long>(seed));
    std::fflush(stdout);
    const auto one = haul::fuzz::run_hostile(script_of(seed));
    all.peers += one.peers;
    all.notifications += one.notifications;
    all.transfers += one.transfers;
    all.landed_bytes += one.landed_bytes;
  }
  std::printf("%llu seeds of a hostile peer: %zu times a peer, %zu notifications, %zu transfers, %llu bytes landed\n",
              static_cast<unsigned long long>(seeds), all.peers, all.notifications, all.transfers,
              static_cast<unsigned long long>(all.landed_bytes));
  return 0;
}
