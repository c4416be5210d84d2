// Notifications of four bytes behind puts of one operation without a checksum: where a backend can, the write carries them.
#include <cstring>

#include "contract/fixture.h"
#ifdef HAUL_CONTRACT_RDMA
#include "contract/rdma_wire.h"
#endif

namespace haul::contract {
namespace {

std::array<std::byte, 4> four_bytes(uint32_t number) {
  std::array<std::byte, 4> bytes;
  std::memcpy(bytes.data(), &number, bytes.size());
  return bytes;
}

/// Puts, each into a place of its own and with its number as notification, that check when they are told of.
struct Numbered {
  static constexpr uint32_t places = 32;
  static constexpr uint64_t place_bytes = 20'000;

  std::unique_ptr<Harness> made;
  Harness& harness = *made;
  Pair pair;
  Buffer local = allocate(pair.a, places* place_bytes);
  Buffer target = allocate(pair.b, places* place_bytes);
  RemoteBuffer remote = grant(pair.to_a, target.slice());
  std::vector<int> told;
  size_t wrong = 0;
  std::vector<uint64_t> lengths;
  std::vector<Transfer> puts;

  Numbered(const Backend& backend, uint32_t lanes) : made(backend.make()), pair(make_pair(lanes)) {
    // Some cases let b stand still from here on: the grant's announcement must have come.
    REQUIRE(pair.to_a.send(bytes_of("granted")).ok());
    REQUIRE(harness.run([this] { return !pair.a.inbox.letters.empty(); }));
    pair.b.inbox.on_message = [this](Peer, const Message& message) { on_told(message); };
  }
  Pair make_pair(uint32_t lanes) {
    EngineOptions options = harness.options();
    options.integrity = Integrity::off;
    PeerOptions peer_options;
    peer_options.lanes = lanes;
    Node& a = harness.start("a", options);
    return harness.connect(a, harness.start("b", options), peer_options);
  }
  std::span<std::byte> place(Buffer& buffer, uint32_t number) const {
    return buffer.bytes().subspan(number % places * place_bytes, lengths[number]);
  }
  void put(uint64_t length) {
    const auto number = static_cast<uint32_t>(puts.size());
    lengths.push_back(length);
    told.push_back(0);
    fill_pattern(place(local, number), number);
    TransferOptions options;
    const auto bytes = four_bytes(number);
    options.notify = bytes;
    const uint64_t offset = number % places * place_bytes;
    puts.push_back(pair.to_b.put(local.slice(offset, length), remote.slice(offset, length), options));
  }
  void on_told(const Message& message) {
    uint32_t number = 0;
    if (!message.notification || message.payload.size() != sizeof(number)) return void(++wrong);
    std::memcpy(&number, message.payload.data(), sizeof(number));
    if (number >= told.size()) return void(++wrong);
    ++told[number];
    std::vector<std::byte> expected(lengths[number]);
    fill_pattern(expected, number);
    if (!same(place(target, number), expected)) ++wrong;
  }
  bool all_told() const {
    return std::all_of(told.begin(), told.end(), [](int times) { return times > 0; });
  }
  void check_each_once() {
    for (const Transfer& put : puts) finish_ok(harness, put);
    REQUIRE(harness.run([this] { return all_told(); }));
    harness.run_for(20ms);
    CHECK(std::all_of(told.begin(), told.end(), [](int times) { return times == 1; }));
    CHECK(wrong == 0);
  }
};

BACKEND_TEST_CASE("a notification of four bytes comes once, after its write is placed", "[contract][messages]") {
  Numbered numbered(backend, 2);
  base::Random random(7);
  for (int round = 0; round < 10; ++round) {
    for (uint32_t i = 0; i < Numbered::places; ++i) numbered.put(1 + random.below(Numbered::place_bytes));
    numbered.check_each_once();
  }
}

BACKEND_TEST_CASE("lanes that die take no notification of four bytes with them, and double none", "[contract][lanes]") {
  base::Random random(11);
  for (int round = 0; round < 12; ++round) {
    CAPTURE(round);
    Numbered numbered(backend, 3);
    for (uint32_t i = 0; i < Numbered::places; ++i) numbered.put(1 + random.below(Numbered::place_bytes));
    run_rounds(numbered.harness, random.below(20));
    TransportRecord& record = *(round % 2 == 0 ? numbered.pair.a : numbered.pair.b).record;
    record.to_kill.push_back(*record.connections.rbegin());
    numbered.check_each_once();
  }
}

BACKEND_TEST_CASE("who closes behind a notification of four bytes has it delivered", "[contract][messages]") {
  for (uint64_t rounds = 0; rounds < 12; rounds += 3) {
    CAPTURE(rounds);
    Numbered numbered(backend, 2);
    for (uint32_t i = 0; i < Numbered::places; ++i) numbered.put(3000);
    run_rounds(numbered.harness, rounds);
    numbered.pair.to_b.close();
    REQUIRE(numbered.harness.run([&] { return !numbered.pair.b.inbox.closed.empty(); }));
    CHECK(numbered.pair.b.inbox.closed[0].second.ok());
    for (const Transfer& put : numbered.puts) CHECK(put.status().ok());
    CHECK(numbered.all_told());
  }
}

#ifdef HAUL_CONTRACT_RDMA

TEST_CASE("what was placed but not heard of when the lane died is told by another way", "[rdma]") {
  Numbered numbered(backend_of<RdmaHarness>("rdma"), 1);
  numbered.pair.b.stalled = true;  // its device goes on
  for (uint32_t i = 0; i < 8; ++i) numbered.put(1000);
  for (const Transfer& put : numbered.puts) finish_ok(numbered.harness, put);
  CHECK_FALSE(numbered.all_told());
  TransportRecord& record = *numbered.pair.b.record;
  record.to_kill.push_back(*record.connections.rbegin());
  numbered.pair.b.stalled = false;
  numbered.check_each_once();
}

TEST_CASE("writes that the peer's device acknowledges alone are no sign of its life", "[rdma]") {
  Numbered numbered(backend_of<RdmaHarness>("rdma"), 1);
  numbered.pair.b.stalled = true;
  const TimePoint start = numbered.harness.clock().now();
  while (numbered.pair.a.inbox.closed.empty() && numbered.harness.clock().now() - start < 10s) {
    if (numbered.puts.size() < 28) numbered.put(1000);  // as many as it has receives for
    numbered.harness.run_for(100ms);
  }
  REQUIRE(numbered.pair.a.inbox.closed.size() == 1);
  CHECK(numbered.harness.clock().now() - start < 2500ms);  // while they went on
  CHECK_THAT(std::string(numbered.pair.a.inbox.closed[0].second.message()), Catch::Contains("no sign of life"));
}

TEST_CASE("an immediate comes with its bytes in place, and takes no answer", "[rdma]") {
  Wire wire;
  Operation write = wire.write(100, 5000);
  write.immediate = four_bytes(0x01020304);
  CHECK(wire.rig.finish(wire.rig.x, wire.link.at_x, write).ok());
  REQUIRE(wire.rig.run([&] { return wire.rig.y.count(Event::Kind::immediate) == 1; }));
  CHECK(wire.rig.y.count(Event::Kind::landed) == 0);
  const auto seen = std::find_if(wire.rig.y.seen.begin(), wire.rig.y.seen.end(),
                                 [](const End::Seen& each) { return each.event.kind == Event::Kind::immediate; });
  CHECK(same(seen->payload, four_bytes(0x01020304)));
  CHECK(seen->event.tag == 5000);
  CHECK(same(wire.target.bytes().subspan(100, 5000), wire.local.bytes().subspan(100, 5000)));
}

TEST_CASE("only a write without a checksum carries an immediate", "[rdma]") {
  Wire wire;
  Operation checked = wire.write(0, 10);
  checked.immediate = four_bytes(1);
  checked.crc32c = 5;
  CHECK(wire.rig.finish(wire.rig.x, wire.link.at_x, checked).code() == StatusCode::invalid);
  Operation read = wire.write(0, 10);
  read.op = Op::read;
  read.immediate = four_bytes(1);
  CHECK(wire.rig.finish(wire.rig.x, wire.link.at_x, read).code() == StatusCode::invalid);
  CHECK(wire.rig.y.count(Event::Kind::immediate) == 0);
}

// Each takes a receive of the peer: a peer that does not look gets no more than it has receives.
TEST_CASE("immediates wait for the peer's receives, in order, among messages", "[rdma]") {
  Wire wire;
  constexpr uint32_t count = 200;
  std::vector<Operation> writes;
  for (uint32_t i = 0; i < count; ++i) {
    writes.push_back(wire.write(i * 100, 100));
    writes.back().immediate = four_bytes(i);
  }
  wire.rig.post_all(wire.rig.x, wire.link.at_x, writes);
  for (uint32_t i = 0; i < 20; ++i) REQUIRE(wire.rig.x.transport->send(wire.link.at_x, four_bytes(i), wire.rig.now()));
  REQUIRE(wire.rig.run([&] { return wire.rig.y.count(Event::Kind::immediate) == count; }));
  REQUIRE(wire.rig.run([&] { return wire.rig.y.messages().size() == 20; }));
  uint32_t next = 0;
  for (const End::Seen& each : wire.rig.y.seen) {
    if (each.event.kind == Event::Kind::immediate) CHECK(same(each.payload, four_bytes(next++)));
  }
  for (const Operation& write : writes) CHECK(wire.rig.x.completed(write.id).value().ok());
}

#endif

}  // namespace
}  // namespace haul::contract
