// The bookkeeping of what has arrived: in order, and in a random order that opens and closes gaps.
#include "base/range_set.h"

#include <benchmark/benchmark.h>

#include <numeric>
#include <utility>
#include <vector>

#include "base/random.h"

namespace {

void add_all(benchmark::State& state, const std::vector<uint64_t>& order) {
  for (auto _ : state) {
    haul::base::RangeSet set;
    for (const uint64_t block : order) set.add(block * 4096, block * 4096 + 4096);
    benchmark::DoNotOptimize(set.count());
  }
  state.SetItemsProcessed(state.iterations() * state.range(0));
}

std::vector<uint64_t> blocks(benchmark::State& state) {
  std::vector<uint64_t> order(static_cast<size_t>(state.range(0)));
  std::iota(order.begin(), order.end(), 0);
  return order;
}

void range_set_in_order(benchmark::State& state) { add_all(state, blocks(state)); }
BENCHMARK(range_set_in_order)->Arg(1 << 10)->Arg(64 << 10);

void range_set_random_order(benchmark::State& state) {
  std::vector<uint64_t> order = blocks(state);
  haul::base::Random random(1);
  for (size_t left = order.size(); left > 1; --left) std::swap(order[left - 1], order[random.below(left)]);
  add_all(state, order);
}
BENCHMARK(range_set_random_order)->Arg(1 << 10)->Arg(64 << 10);

}  // namespace
