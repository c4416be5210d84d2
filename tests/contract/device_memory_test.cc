// The engine with device memory: moved by those lanes that can, never touched by the processor, with no checksum.
#include <array>

#include "contract/fixture.h"

#ifdef HAUL_CONTRACT_RDMA

#include "contract/verbs/device_memory.h"
#include "engine/codec.h"
#include "rdma/rdma_transport.h"

namespace haul::contract {
namespace {

constexpr size_t bytes = 300'000;

verbs::FabricOptions with_dma_buf(bool proves_reads = true) {
  verbs::FabricOptions options;
  options.dma_buf = true;
  options.proves_reads = proves_reads;
  return options;
}

rdma::Options exporting(verbs::Cards& cards) {
  rdma::Options options;
  options.export_device_memory = cards.exporter();
  return options;
}

/// A world whose devices take memory of cards.
struct World {
  explicit World(bool proves_reads = true) : harness(1, with_dma_buf(proves_reads), exporting(cards)) {}
  verbs::Cards cards;
  RdmaHarness harness;
};

/// Memory on a card, filled, and registered.
struct OnCard {
  OnCard(World& world, Node& node, uint64_t seed) : memory(world.cards.allocate(bytes)) {
    fill_pattern(memory.seen(), seed);
    auto registered = node->register_memory(memory.addresses(), MemoryKind::device);
    INFO(registered.status().to_string());
    REQUIRE(registered.ok());
    buffer = std::move(registered).value();
  }
  verbs::DeviceMemory& memory;
  Buffer buffer;
};

PeerOptions asking(uint32_t lanes, TransportPolicy policy = {}) {
  PeerOptions options;
  options.lanes = lanes;
  options.policy = std::move(policy);
  return options;
}

TEST_CASE("device memory is put and got, from and to either kind, unseen by the processor", "[rdma][device_memory]") {
  const auto lanes = GENERATE(1U, 3U);
  World world(GENERATE(true, false));
  Pair pair = world.harness.connected_pair(asking(lanes));
  OnCard card_a(world, pair.a, 1);
  OnCard card_b(world, pair.b, 2);
  const Buffer host_a = allocate_filled(pair.a, bytes, 3);
  const Buffer host_b = allocate_filled(pair.b, bytes, 4);
  const RemoteBuffer card = grant(pair.to_a, card_b.buffer.slice());
  const RemoteBuffer host = grant(pair.to_a, host_b.slice());

  finish_ok(world.harness, pair.to_b.put(card_a.buffer.slice(), card.slice()));
  CHECK(same(card_b.memory.seen(), card_a.memory.seen()));
  finish_ok(world.harness, pair.to_b.put(host_a.slice(), card.slice()));
  CHECK(same(card_b.memory.seen(), host_a.bytes()));
  finish_ok(world.harness, pair.to_b.put(card_a.buffer.slice(), host.slice()));
  CHECK(same(host_b.bytes(), card_a.memory.seen()));
  fill_pattern(card_b.memory.seen(), 5);
  finish_ok(world.harness, pair.to_b.get(card_a.buffer.slice(), card.slice()));
  CHECK(same(card_a.memory.seen(), card_b.memory.seen()));
  fill_pattern(card_b.memory.seen(), 6);
  finish_ok(world.harness, pair.to_b.get(host_a.slice(), card.slice()));
  CHECK(same(host_a.bytes(), card_b.memory.seen()));
  fill_pattern(host_b.bytes(), 7);
  finish_ok(world.harness, pair.to_b.get(card_a.buffer.slice(), host.slice()));
  CHECK(same(card_a.memory.seen(), host_b.bytes()));
  CHECK(pair.a->stats().checksum_failures + pair.b->stats().checksum_failures == 0);
}

TEST_CASE("pieces of both kinds go in one batch, with a notification behind them", "[rdma][device_memory]") {
  World world;
  Pair pair = world.harness.connected_pair(asking(2));
  OnCard card_a(world, pair.a, 1);
  OnCard card_b(world, pair.b, 2);
  const Buffer host_a = allocate_filled(pair.a, bytes, 3);
  const Buffer host_b = allocate_filled(pair.b, bytes, 4);
  const RemoteBuffer card = grant(pair.to_a, card_b.buffer.slice());
  const RemoteBuffer host = grant(pair.to_a, host_b.slice());
  pair.b.inbox.on_message = [&](Peer, const Message&) {
    CHECK(same(card_b.memory.seen(), host_a.bytes()));
    CHECK(same(host_b.bytes(), card_a.memory.seen()));
  };
  const std::array<Piece, 2> pieces{Piece{card_a.buffer.slice(), host.slice()}, Piece{host_a.slice(), card.slice()}};
  TransferOptions options;
  options.notify = bytes_of("all there");
  finish_ok(world.harness, pair.to_b.put_batch(pieces, std::move(options)));
  REQUIRE(world.harness.run([&] { return pair.b.inbox.letters.size() == 1; }));
}

TEST_CASE("host memory keeps its checksums beside device memory", "[rdma][device_memory]") {
  std::string logged;  // outlives the engines
  World world;
  EngineOptions options = world.harness.options();
  options.log_level = LogLevel::warning;
  options.log = [&logged](const LogRecord& record) { logged += record.text; };
  Node& a = world.harness.start("a", options);
  Node& b = world.harness.start("b");
  Pair pair = world.harness.connect(a, b, asking(1));
  OnCard card_a(world, a, 1);
  CHECK_THAT(logged, Catch::Contains("device memory, ours or a peer's, is moved without CRC32C"));
  CHECK_THAT(a->explain(), Catch::Contains("crc32c per operation, but none of device memory"));
  const Buffer host_a = allocate_filled(a, bytes, 3);
  const Buffer host_b = allocate(b, bytes);
  const RemoteBuffer host = grant(pair.to_a, host_b.slice());
  world.harness.corrupt_wire(1);
  finish_ok(world.harness, pair.to_b.put(card_a.buffer.slice(), host.slice()));  // nobody can tell
  CHECK_FALSE(same(host_b.bytes(), card_a.memory.seen()));
  CHECK(b->stats().checksum_failures == 0);
  CHECK(finish(world.harness, pair.to_b.put(host_a.slice(), host.slice())).code() == StatusCode::corrupt);
  world.harness.corrupt_wire(0);
}

TEST_CASE("device memory that no transport can hold is refused, naming the remedy", "[rdma][device_memory]") {
  RdmaHarness harness;  // without Options::export_device_memory
  Node& a = harness.start("a");
  verbs::Cards cards;
  const auto registered = a->register_memory(cards.allocate(bytes).addresses(), MemoryKind::device);
  CHECK(registered.status().code() == StatusCode::unsupported);
  CHECK_THAT(std::string(registered.status().message()),
             Catch::Contains("no transport of this engine can hold device memory") &&
                 Catch::Contains("rdma::Options::export_device_memory"));
}

TEST_CASE("a peer without memory of cards puts to and gets from that of others", "[rdma][device_memory]") {
  World world;
  std::vector<std::unique_ptr<Transport>> transports;
  transports.push_back(rdma::RdmaTransport::make(world.harness.fabric().make_verbs("a"), {}).value());
  transports.push_back(world.harness.make_control_transport("a"));
  Node& a = world.harness.start("a", world.harness.options(), std::move(transports));
  Node& b = world.harness.start("b");
  Pair pair = world.harness.connect(a, b, asking(1));
  OnCard card_b(world, b, 2);
  const Buffer host_a = allocate_filled(a, bytes, 3);
  CHECK_THAT(a->explain(), !Catch::Contains("none of device memory"));
  const RemoteBuffer card = grant(pair.to_a, card_b.buffer.slice());
  finish_ok(world.harness, pair.to_b.put(host_a.slice(), card.slice()));
  CHECK_THAT(a->explain(), Catch::Contains("none of device memory"));
  CHECK(same(card_b.memory.seen(), host_a.bytes()));
  fill_pattern(card_b.memory.seen(), 6);
  finish_ok(world.harness, pair.to_b.get(host_a.slice(), card.slice()));
  CHECK(same(card_b.memory.seen(), host_a.bytes()));
}

TEST_CASE("without a lane that can move device memory neither grants nor transfers of it begin", "[rdma][device_memory]") {
  World world;
  Pair pair = world.harness.connected_pair(asking(1, {{}, {}, {"rdma"}}));
  OnCard card_a(world, pair.a, 1);
  OnCard card_b(world, pair.b, 2);
  const Buffer host_b = allocate(pair.b, bytes);
  const auto refused = pair.to_a.grant(card_b.buffer.slice(), Rights::read_write);
  CHECK(refused.status().code() == StatusCode::unavailable);
  CHECK_THAT(std::string(refused.status().message()), Catch::Contains("--transport rdma"));
  const RemoteBuffer host = grant(pair.to_a, host_b.slice());
  const TimePoint start = world.harness.clock().now();
  CHECK(finish(world.harness, pair.to_b.put(card_a.buffer.slice(), host.slice())).code() == StatusCode::unavailable);
  CHECK(finish(world.harness, pair.to_b.get(card_a.buffer.slice(), host.slice())).code() == StatusCode::unavailable);
  CHECK(world.harness.clock().now() - start < 10ms);
}

TEST_CASE("transfers of device memory wait for a lane that was lost, others don't", "[rdma][device_memory]") {
  const bool comes_back = GENERATE(true, false);
  const bool remote = GENERATE(false, true);  // the device memory is the peer's
  World world;
  Pair pair = world.harness.connected_pair(asking(1));
  OnCard card_a(world, pair.a, 1);
  OnCard card_b(world, pair.b, 2);
  const Buffer host_a = allocate_filled(pair.a, bytes, 3);
  const Buffer host_b = allocate(pair.b, bytes);
  const RemoteBuffer card = grant(pair.to_a, card_b.buffer.slice());
  const RemoteBuffer host = grant(pair.to_a, host_b.slice());
  // Its operations are under way when the lane goes.
  world.harness.fabric().hold("a", true);
  const Transfer of_card =
      remote ? pair.to_b.put(host_a.slice(), card.slice()) : pair.to_b.put(card_a.buffer.slice(), host.slice());
  world.harness.run_for(10ms);
  world.harness.fabric().hold("a", false);
  world.harness.fabric().partition("a", "b");
  world.harness.fabric().break_queue_pairs("a");
  world.harness.fabric().break_queue_pairs("b");
  world.harness.run_for(50ms);
  finish_ok(world.harness, pair.to_b.put(host_a.slice(), host.slice()));
  CHECK_FALSE(of_card.done());
  if (comes_back) {
    world.harness.fabric().heal("a", "b");
    finish_ok(world.harness, of_card);
    CHECK(same(remote ? card_b.memory.seen() : host_b.bytes(), remote ? host_a.bytes() : card_a.memory.seen()));
    return;
  }
  const TimePoint start = world.harness.clock().now();
  CHECK(finish(world.harness, of_card).code() == StatusCode::unavailable);
  CHECK(world.harness.clock().now() - start < 3s);
  CHECK(pair.a.inbox.closed.empty());
}

TEST_CASE("device memory that the device has no windows for is not granted, and no lane suffers", "[rdma][device_memory]") {
  verbs::Cards cards;
  rdma::Options options = exporting(cards);
  options.rights_by = rdma::RightsBy::windows;
  RdmaHarness harness(1, with_dma_buf(), options);
  Pair pair = harness.connected_pair(asking(2));
  const auto memory = pair.b->register_memory(cards.allocate(bytes).addresses(), MemoryKind::device);
  REQUIRE(memory.ok());
  CHECK(pair.to_a.grant(memory.value().slice(), Rights::read).status().code() == StatusCode::unsupported);
  harness.run_for(100ms);
  CHECK(pair.to_b.stats().lanes.size() == 3);
}

TEST_CASE("device memory is not granted to a peer that does not know of it", "[rdma][device_memory]") {
  World world;
  Node& b = world.harness.start("b");
  OnCard card_b(world, b, 2);
  const auto old = world.harness.make_control_transport("old");
  const auto now = [&] { return world.harness.clock().now(); };
  ConnectOptions options;
  options.address = b.address;
  const ConnectionId connection = old->open(options, now()).value().connection;
  REQUIRE(old->join(connection, {}, now()).ok());
  bool connected = false;
  const auto poll = [&] {
    std::array<Event, 64> events;
    const size_t count = old->poll(now(), NextPoll::when_woken, events);
    for (size_t i = 0; i < count; ++i) connected = connected || events[i].kind == Event::Kind::connected;
  };
  REQUIRE(world.harness.run([&] { return poll(), connected; }));
  engine::Hello hello{.features = 0, .max_message_bytes = 8192, .max_lanes = 1, .name = "old", .library_version = "0"};
  REQUIRE(old->send(connection, engine::encode(hello), now()));
  REQUIRE(world.harness.run([&] { return poll(), b.inbox.arrived.size() == 1; }));
  const auto granted = b.inbox.arrived[0].grant(card_b.buffer.slice(), Rights::read);
  CHECK(granted.status().code() == StatusCode::unsupported);
  CHECK_THAT(std::string(granted.status().message()), Catch::Contains("upgrade"));
}

}  // namespace
}  // namespace haul::contract

#endif
