// Codecs, out and in: the fields that every wire format here is written with, the engine's messages, the framing of tcp.
#include "engine/codec.h"

#include <benchmark/benchmark.h>

#include <array>
#include <vector>

#include "base/bytes.h"
#ifdef HAUL_BENCH_TCP
#include "tcp/wire.h"
#endif

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

// What an engine sends most: a notification, and the announcement of a grant over four lanes.

haul::engine::Control notification() {
  static const std::array<std::byte, 64> payload{};
  return haul::engine::Notify{12, 300, payload};
}

haul::engine::Control announcement() {
  haul::engine::GrantMade made{77, uint64_t{1} << 40, haul::Rights::read_write, {}};
  for (uint32_t lane = 0; lane < 4; ++lane) {
    haul::engine::GrantRegion& region = made.regions.emplace_back();
    region.lane = lane;
    region.region.size = 16;
  }
  return made;
}

void engine_encode(benchmark::State& state, const haul::engine::Control& message) {
  for (auto _ : state) benchmark::DoNotOptimize(haul::engine::encode(message));
  state.SetItemsProcessed(state.iterations());
}
BENCHMARK_CAPTURE(engine_encode, notify, notification());
BENCHMARK_CAPTURE(engine_encode, grant, announcement());

void engine_decode(benchmark::State& state, const haul::engine::Control& message) {
  const std::vector<std::byte> bytes = haul::engine::encode(message);
  for (auto _ : state) benchmark::DoNotOptimize(haul::engine::decode(bytes));
  state.SetItemsProcessed(state.iterations());
}
BENCHMARK_CAPTURE(engine_decode, notify, notification());
BENCHMARK_CAPTURE(engine_decode, grant, announcement());

#ifdef HAUL_BENCH_TCP

namespace wire = haul::tcp::wire;

// The header of a large write, with the check sum over itself.
constexpr wire::FrameHeader large_write{
    .type = wire::FrameType::write, .has_crc = true, .body_bytes = 1U << 20, .offset = 4096, .tag = 7, .sequence = 9, .crc = 1};

void tcp_header_encode(benchmark::State& state) {
  std::array<std::byte, wire::header_bytes> bytes{};
  for (auto _ : state) {
    wire::encode(large_write, bytes);
    benchmark::ClobberMemory();
  }
  state.SetItemsProcessed(state.iterations());
}
BENCHMARK(tcp_header_encode);

void tcp_header_decode(benchmark::State& state) {
  std::array<std::byte, wire::header_bytes> bytes{};
  wire::encode(large_write, bytes);
  for (auto _ : state) benchmark::DoNotOptimize(wire::decode_header(bytes));
  state.SetItemsProcessed(state.iterations());
}
BENCHMARK(tcp_header_decode);

// A bundle of small writes; the payload is stepped over.
constexpr size_t bundled_records = 32;
constexpr size_t bundled_payload_bytes = 1024;

constexpr size_t bundled_bytes = wire::Record::write_bytes + bundled_payload_bytes;

void fill_bundle(std::span<std::byte> bytes) {
  for (size_t i = 0; i < bundled_records; ++i) {
    wire::Record record;
    record.type = wire::RecordType::write;
    record.has_crc = true;
    record.length = bundled_payload_bytes;
    record.offset = i * bundled_payload_bytes;
    record.tag = i;
    wire::encode(record, bytes.subspan(i * bundled_bytes, wire::Record::write_bytes));
  }
}

void tcp_records_encode(benchmark::State& state) {
  std::vector<std::byte> bytes(bundled_records * bundled_bytes);
  for (auto _ : state) {
    fill_bundle(bytes);
    benchmark::ClobberMemory();
  }
  state.SetItemsProcessed(state.iterations() * static_cast<int64_t>(bundled_records));
}
BENCHMARK(tcp_records_encode);

void tcp_records_decode(benchmark::State& state) {
  std::vector<std::byte> bytes(bundled_records * bundled_bytes);
  fill_bundle(bytes);
  for (auto _ : state) {
    wire::RecordReader reader(bytes);
    wire::Record record;
    std::span<const std::byte> payload;
    while (!reader.finished() && reader.next(record, payload).ok()) benchmark::DoNotOptimize(record);
    if (!reader.finished()) state.SkipWithError("the bundle does not decode");
  }
  state.SetItemsProcessed(state.iterations() * static_cast<int64_t>(bundled_records));
}
BENCHMARK(tcp_records_decode);

#endif

}  // namespace
