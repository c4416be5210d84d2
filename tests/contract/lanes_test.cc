// Contract: several lanes, lanes that die, corruption, priorities.
#include "contract/fixture.h"

namespace haul::contract {
namespace {

constexpr uint64_t size = 3'000'000;

struct Scene {
  std::unique_ptr<Harness> made;
  Harness& harness = *made;
  Pair pair;
  Buffer local = allocate_filled(pair.a, size, 1);
  Buffer target = allocate(pair.b, size);
  RemoteBuffer remote = grant(pair.to_a, target.slice());

  explicit Scene(const Backend& backend, uint32_t lanes = 1, Integrity integrity = Integrity::crc32c)
      : made(backend.make()), pair(make_pair(harness, lanes, integrity)) {}

  static Pair make_pair(Harness& harness, uint32_t lanes, Integrity integrity) {
    EngineOptions options = harness.options();
    options.integrity = integrity;
    PeerOptions peer_options;
    peer_options.lanes = lanes;
    Node& a = harness.start("a", options);
    return harness.connect(a, harness.start("b", options), peer_options);
  }
  bool all_lanes_ready(size_t lanes) {
    return harness.run(
        [&] { return pair.a.record->connections.size() == lanes && pair.b.record->connections.size() == lanes; });
  }
};

BACKEND_TEST_CASE("transfers work over one lane and many", "[contract][lanes]") {
  for (const uint32_t lanes : {1U, 2U, 3U, 8U}) {
    CAPTURE(lanes);
    Scene scene(backend, lanes);
    REQUIRE(scene.all_lanes_ready(lanes));
    const size_t all = lanes + (scene.harness.abilities().control_apart ? 1 : 0);
    CHECK(scene.pair.to_b.stats().lanes.size() == all);
    CHECK(scene.pair.to_a.stats().lanes.size() == all);
    finish_ok(scene.harness, scene.pair.to_b.put(scene.local.slice(), scene.remote.slice()));
    CHECK(same(scene.local.bytes(), scene.target.bytes()));
    const Buffer back = allocate(scene.pair.a, size);
    finish_ok(scene.harness, scene.pair.to_b.get(back.slice(), scene.remote.slice()));
    CHECK(same(back.bytes(), scene.target.bytes()));
  }
}

BACKEND_TEST_CASE("a grant made before and after the lanes works on all", "[contract][lanes]") {
  Scene scene(backend, 4);
  finish_ok(scene.harness, scene.pair.to_b.put(scene.local.slice(), scene.remote.slice()));
  REQUIRE(scene.all_lanes_ready(4));
  const Buffer other = allocate(scene.pair.b, size);
  const RemoteBuffer late = grant(scene.pair.to_a, other.slice());
  finish_ok(scene.harness, scene.pair.to_b.put(scene.local.slice(), late.slice()));
  finish_ok(scene.harness, scene.pair.to_b.put(scene.local.slice(), scene.remote.slice()));
  CHECK(same(scene.local.bytes(), other.bytes()));
  CHECK(same(scene.local.bytes(), scene.target.bytes()));
}

/// Which side's end of which lane is cut: the last made is one that carries data only.
Status put_while_a_lane_dies(Scene& scene, bool at_sender, bool last_lane, uint64_t rounds) {
  const Transfer put = scene.pair.to_b.put(scene.local.slice(), scene.remote.slice());
  run_rounds(scene.harness, rounds);
  TransportRecord& record = *(at_sender ? scene.pair.a : scene.pair.b).record;
  record.to_kill.push_back(last_lane ? *record.connections.rbegin() : *record.connections.begin());
  return finish(scene.harness, put);
}

BACKEND_TEST_CASE("a lane that dies takes no transfer with it", "[contract][lanes]") {
  for (uint64_t round = 0; round < 10; ++round) {
    CAPTURE(round);
    Scene scene(backend, 3);
    REQUIRE(scene.all_lanes_ready(3));
    const Status status = put_while_a_lane_dies(scene, round % 2 == 0, true, round * 2);
    INFO(status.to_string());
    CHECK(status.ok());
    CHECK(same(scene.local.bytes(), scene.target.bytes()));
    CHECK(scene.pair.a.inbox.closed.empty());
    finish_ok(scene.harness, scene.pair.to_b.get(scene.local.slice(), scene.remote.slice()));
  }
}

BACKEND_TEST_CASE("whichever lane dies, transfers end once and tell the truth", "[contract][lanes]") {
  for (uint64_t round = 0; round < 10; ++round) {
    CAPTURE(round);
    Scene scene(backend, 2);
    REQUIRE(scene.all_lanes_ready(2));
    const Status status = put_while_a_lane_dies(scene, round % 2 == 0, round % 4 < 2, round);
    INFO(status.to_string());
    CHECK(is_one_of(status, {StatusCode::ok, StatusCode::peer_lost}));
    if (status.ok()) CHECK(same(scene.local.bytes(), scene.target.bytes()));
  }
}

BACKEND_TEST_CASE("the only lane dying is the loss of the peer, at both ends", "[contract][lanes]") {
  Scene scene(backend, 1);
  if (skip_unless(!scene.harness.abilities().control_apart, "that the first lane is of this backend")) return;
  const Status status = put_while_a_lane_dies(scene, true, true, 3);
  CHECK(is_one_of(status, {StatusCode::ok, StatusCode::peer_lost}));
  REQUIRE(scene.harness.run([&] { return !scene.pair.a.inbox.closed.empty() && !scene.pair.b.inbox.closed.empty(); }));
  CHECK(scene.pair.a.inbox.closed[0].second.code() == StatusCode::peer_lost);
  CHECK(scene.pair.b.inbox.closed[0].second.code() == StatusCode::peer_lost);
}

BACKEND_TEST_CASE("worn lanes are replaced under a transfer, also the first", "[contract][lanes]") {
  if (skip_unless(!backend.make()->abilities().control_apart, "lanes of its own that wear out")) return;
  for (const uint32_t lanes : {1U, 3U}) {
    CAPTURE(lanes);
    Scene scene(backend, lanes);
    REQUIRE(scene.all_lanes_ready(lanes));
    size_t said = 0;
    const auto say = [&] {
      for (const Peer& peer : {scene.pair.to_b, scene.pair.to_a}) {
        Peer to = peer;
        REQUIRE(to.send(bytes_of(std::to_string(said))).ok());
      }
      ++said;
    };
    for (uint64_t wear = 0; wear < 3; ++wear) {
      const uint32_t first = scene.pair.to_b.stats().lanes.at(0).lane;
      const Transfer put = scene.pair.to_b.put(scene.local.slice(), scene.remote.slice());
      say();
      run_rounds(scene.harness, wear * 3);
      for (const Node* node : {&scene.pair.a, &scene.pair.b}) {
        node->record->to_age.assign(node->record->connections.begin(), node->record->connections.end());
      }
      for (int i = 0; i < 10; ++i) {
        say();
        run_rounds(scene.harness, 1);
      }
      finish_ok(scene.harness, put);
      CHECK(same(scene.local.bytes(), scene.target.bytes()));
      REQUIRE(scene.harness.run([&] {
        const auto now = scene.pair.to_b.stats().lanes;
        return now.size() == lanes && now.at(0).lane >= first + lanes && scene.pair.to_a.stats().lanes.size() == lanes;
      }));
    }
    for (const Node* node : {&scene.pair.a, &scene.pair.b}) {
      REQUIRE(scene.harness.run([&] { return node->inbox.letters.size() == said; }));
      for (size_t i = 0; i < said; ++i) CHECK(text_of(node->inbox.letters[i].payload) == std::to_string(i));
      CHECK(node->inbox.closed.empty());
    }
    finish_ok(scene.harness, scene.pair.to_b.get(scene.local.slice(), scene.remote.slice()));
  }
}

BACKEND_TEST_CASE("integrity can be switched off, and is said to be", "[contract][lanes]") {
  Scene scene(backend, 2, Integrity::off);
  finish_ok(scene.harness, scene.pair.to_b.put(scene.local.slice(), scene.remote.slice()));
  CHECK(same(scene.local.bytes(), scene.target.bytes()));
  finish_ok(scene.harness, scene.pair.to_b.get(scene.local.slice(), scene.remote.slice()));
  CHECK_THAT(scene.pair.a->explain(), Catch::Contains("integrity", Catch::CaseSensitive::No) && Catch::Contains("off"));
  Scene with(backend, 1);
  CHECK_THAT(with.pair.a->explain(), Catch::Contains("crc32c", Catch::CaseSensitive::No));
}

BACKEND_TEST_CASE("a corrupted payload is sent again", "[contract][lanes]") {
  Scene scene(backend, 2);
  const bool lands = scene.harness.abilities().transport != "onesided";
  // Writes are checked where they land; reads where they come back.
  if (lands) {
    scene.pair.b.record->corruptions_left = 2;
    finish_ok(scene.harness, scene.pair.to_b.put(scene.local.slice(), scene.remote.slice()));
    CHECK(scene.pair.b.record->corruptions_done == 2);
    CHECK(same(scene.local.bytes(), scene.target.bytes()));
    CHECK(scene.pair.b->stats().checksum_failures >= 2);
    CHECK(scene.pair.a->stats().operations_retried >= 1);
  }
  const Buffer back = allocate(scene.pair.a, size);
  const auto expected = copy_of(scene.target);
  scene.pair.a.record->corruptions_left = 2;
  finish_ok(scene.harness, scene.pair.to_b.get(back.slice(), scene.remote.slice()));
  CHECK(scene.pair.a.record->corruptions_done == 2);
  CHECK(same(back.bytes(), expected));
  CHECK(scene.pair.a->stats().checksum_failures >= 2);
}

BACKEND_TEST_CASE("what stays corrupt is never delivered as ok", "[contract][lanes]") {
  Scene scene(backend, 1);
  const bool lands = scene.harness.abilities().transport != "onesided";
  if (lands) {
    scene.pair.b.record->corruptions_left = UINT32_MAX;
    TransferOptions options;
    options.notify = bytes_of("placed");
    const Status status = finish(scene.harness, scene.pair.to_b.put(scene.local.slice(), scene.remote.slice(), options));
    CHECK(status.code() == StatusCode::corrupt);
    CHECK_FALSE(status.message().empty());
    scene.harness.run_for(5ms);
    CHECK(scene.pair.b.inbox.letters.empty());
    scene.pair.b.record->corruptions_left = 0;
  }
  scene.pair.a.record->corruptions_left = UINT32_MAX;
  const Status got = finish(scene.harness, scene.pair.to_b.get(scene.local.slice(), scene.remote.slice()));
  CHECK(got.code() == StatusCode::corrupt);
  scene.pair.a.record->corruptions_left = 0;
  fill_pattern(scene.local.bytes(), 9);
  finish_ok(scene.harness, scene.pair.to_b.put(scene.local.slice(), scene.remote.slice()));
  CHECK(same(scene.local.bytes(), scene.target.bytes()));
}

BACKEND_TEST_CASE("a wire that flips bits delivers right bytes or says corrupt", "[contract][lanes]") {
  Scene scene(backend, 2);
  if (skip_unless(scene.harness.abilities().corrupts_wire, "corrupting the wire")) return;
  for (int round = 0; round < 6; ++round) {
    CAPTURE(round);
    scene.harness.corrupt_wire(round % 2 == 0 ? 0.02 : 0.3);
    fill_pattern(scene.local.bytes(), static_cast<uint64_t>(round));
    const Status put = finish(scene.harness, scene.pair.to_b.put(scene.local.slice(), scene.remote.slice()));
    scene.harness.corrupt_wire(0);
    INFO(put.to_string());
    if (put.code() == StatusCode::peer_lost || put.code() == StatusCode::protocol) return;  // its headers were hit
    CHECK(is_one_of(put, {StatusCode::ok, StatusCode::corrupt}));
    if (put.ok()) CHECK(same(scene.local.bytes(), scene.target.bytes()));
  }
}

TEST_CASE("a few corrupted one-sided operations are repeated", "[contract][lanes]") {
  Scene scene(backend_of<OneSidedHarness>("OneSidedHarness"), 2);
  onesided::Fabric& fabric = dynamic_cast<OneSidedHarness&>(scene.harness).fabric();
  fabric.corrupt_operations(3);
  finish_ok(scene.harness, scene.pair.to_b.put(scene.local.slice(), scene.remote.slice()));
  CHECK(fabric.corrupt_left() == 0);
  CHECK(same(scene.local.bytes(), scene.target.bytes()));
  CHECK(scene.pair.a->stats().operations_retried >= 1);
}

BACKEND_TEST_CASE("a transfer of high priority overtakes", "[contract][lanes]") {
  Scene scene(backend, 1);
  const Buffer large = allocate_filled(scene.pair.a, 16'000'000, 5);
  const Buffer large_target = allocate(scene.pair.b, 16'000'000);
  const RemoteBuffer large_remote = grant(scene.pair.to_a, large_target.slice());
  std::vector<int> order;
  const auto options = [&order](int number, uint8_t priority) {
    TransferOptions result;
    result.priority = priority;
    result.on_done = [&order, number](const TransferResult&) { order.push_back(number); };
    return result;
  };
  const Transfer low = scene.pair.to_b.put(large.slice(), large_remote.slice(), options(1, 1));
  run_rounds(scene.harness, 2);
  const Transfer high = scene.pair.to_b.put(scene.local.slice(0, 100'000), scene.remote.slice(0, 100'000), options(2, 255));
  finish_ok(scene.harness, low);
  finish_ok(scene.harness, high);
  REQUIRE(scene.harness.run([&] { return order.size() == 2; }));
  CHECK(order == std::vector<int>{2, 1});
}

BACKEND_TEST_CASE("transfers of one priority share in turn", "[contract][lanes]") {
  Scene scene(backend, 1);
  const Buffer large = allocate_filled(scene.pair.a, 16'000'000, 5);
  const Buffer large_target = allocate(scene.pair.b, 16'000'000);
  const RemoteBuffer large_remote = grant(scene.pair.to_a, large_target.slice());
  const Transfer first = scene.pair.to_b.put(large.slice(), large_remote.slice());
  const Transfer second = scene.pair.to_b.put(scene.local.slice(), scene.remote.slice());
  finish_ok(scene.harness, second);
  CHECK_FALSE(first.done());
  finish_ok(scene.harness, first);
  CHECK(same(large.bytes(), large_target.bytes()));
}

}  // namespace
}  // namespace haul::contract
