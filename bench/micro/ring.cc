// The fixed queue: an element in and out, with a number of others waiting in between.
#include "base/ring.h"

#include <benchmark/benchmark.h>

#include <cstdint>

namespace {

void ring_push_pop(benchmark::State& state) {
  const auto waiting = static_cast<size_t>(state.range(0));
  haul::base::Ring<uint64_t> ring(waiting + 1);
  for (uint64_t i = 0; i < waiting; ++i) ring.push(i);
  uint64_t next = 0;
  for (auto _ : state) {
    ring.push(++next);
    benchmark::DoNotOptimize(ring.pop());
  }
  state.SetItemsProcessed(state.iterations());
}
BENCHMARK(ring_push_pop)->Arg(0)->Arg(63)->Arg(1023);

}  // namespace
