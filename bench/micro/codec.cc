// The field codec that every wire format here is written with: a header of common shape, out and in.
#include <benchmark/benchmark.h>

#include <array>

#include "base/bytes.h"

namespace {

constexpr size_t header_bytes = 40;
using Header = std::array<std::byte, header_bytes>;

void write_header(Header& out, uint64_t id) {
  haul::base::ByteWriter writer(out);
  writer.put(uint8_t{3});
  writer.put(uint8_t{0});
  writer.put(uint16_t{7});
  writer.put(uint32_t{1 << 20});
  writer.put(id);
  writer.put(id * 4096);
  writer.put(id ^ 0x5555);
  writer.put(uint32_t{0xe3069283});
  writer.put(uint32_t{0});
  benchmark::DoNotOptimize(writer.ok());
}

void codec_write(benchmark::State& state) {
  Header header{};
  uint64_t id = 0;
  for (auto _ : state) {
    write_header(header, ++id);
    benchmark::ClobberMemory();
  }
  state.SetItemsProcessed(state.iterations());
}
BENCHMARK(codec_write);

void codec_read(benchmark::State& state) {
  Header header{};
  write_header(header, 42);
  for (auto _ : state) {
    benchmark::DoNotOptimize(header.data());
    benchmark::ClobberMemory();
    haul::base::ByteReader reader(header);
    const uint64_t sum = uint64_t{reader.get<uint8_t>()} + reader.get<uint8_t>() + reader.get<uint16_t>() +
                         reader.get<uint32_t>() + reader.get<uint64_t>() + reader.get<uint64_t>() + reader.get<uint64_t>() +
                         reader.get<uint32_t>() + reader.get<uint32_t>();
    benchmark::DoNotOptimize(sum);
    benchmark::DoNotOptimize(reader.finished());
  }
  state.SetItemsProcessed(state.iterations());
}
BENCHMARK(codec_read);

}  // namespace
