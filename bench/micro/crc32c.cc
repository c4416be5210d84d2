// CRC32C over sizes from a small frame to a large operation, from a working set that no cache holds.
#include "base/crc32c.h"

#include <benchmark/benchmark.h>

#include <vector>

#include "base/random.h"

namespace {

void crc32c(benchmark::State& state) {
  const auto block_bytes = static_cast<size_t>(state.range(0));
  std::vector<std::byte> memory(size_t{64} << 20);
  haul::base::Random(1).fill(memory);
  size_t offset = 0;
  for (auto _ : state) {
    benchmark::DoNotOptimize(haul::base::crc32c(std::span(memory).subspan(offset, block_bytes)));
    offset = offset + 2 * block_bytes > memory.size() ? 0 : offset + block_bytes;
  }
  state.SetBytesProcessed(state.iterations() * state.range(0));
}
BENCHMARK(crc32c)->Arg(64)->Arg(1 << 10)->Arg(16 << 10)->Arg(64 << 10)->Arg(1 << 20);

}  // namespace
