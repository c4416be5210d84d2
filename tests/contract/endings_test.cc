// Contract: every transfer ends exactly once, in bounded time, and afterwards its memory is quiet.
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

  explicit Scene(const Backend& backend, PeerOptions options = {})
      : made(backend.make()), pair(harness.connected_pair(std::move(options))) {
    // Until this has come the grant's announcement may be on its way: some cases let b stand still from here on.
    REQUIRE(pair.to_a.send(bytes_of("granted")).ok());
    REQUIRE(harness.run([this] { return !pair.a.inbox.letters.empty(); }));
  }
  Transfer start(bool is_put, TransferOptions options = {}) {
    return is_put ? pair.to_b.put(local.slice(), remote.slice(), std::move(options))
                  : pair.to_b.get(local.slice(), remote.slice(), std::move(options));
  }
  /// The longest that the loss of a silent peer may take to notice, with room for the machine.
  Duration notice() const { return 2 * harness.options().peer_timeout + 1s; }
};

BACKEND_TEST_CASE("a cancel ends the transfer, and its memory is quiet then", "[contract][endings]") {
  PeerOptions peer_options;
  peer_options.lanes = 2;
  Scene scene(backend, peer_options);
  for (int round = 0; round < 40; ++round) {
    const bool is_put = round % 2 == 0;
    CAPTURE(round, is_put);
    fill_pattern(scene.local.bytes(), static_cast<uint64_t>(round));
    Ends ends;
    TransferOptions options;
    options.on_done = ends.counter();
    Transfer transfer = scene.start(is_put, std::move(options));
    run_rounds(scene.harness, scene.harness.random().below(25));
    transfer.cancel();
    transfer.cancel();
    const Status status = finish(scene.harness, transfer);
    INFO(status.to_string());
    CHECK(is_one_of(status, {StatusCode::ok, StatusCode::cancelled}));
    // From here on both sides' memory may be reused: late bytes would show.
    std::fill(scene.local.bytes().begin(), scene.local.bytes().end(), std::byte{0xaa});
    std::fill(scene.target.bytes().begin(), scene.target.bytes().end(), std::byte{0xbb});
    scene.harness.run_for(4ms);
    CHECK(all_bytes_are(scene.local.bytes(), std::byte{0xaa}));
    CHECK(all_bytes_are(scene.target.bytes(), std::byte{0xbb}));
    // On a busy machine these milliseconds may be over before the engine had a turn.
    REQUIRE(scene.harness.run([&] { return !ends.results.empty(); }));
    CHECK(ends.results.size() == 1);
  }
  CHECK(scene.pair.a.inbox.closed.empty());
  scene.harness.run_for(10ms);
  CHECK(scene.pair.a.record->operations_outstanding == 0);
  finish_ok(scene.harness, scene.start(true));
  CHECK(same(scene.local.bytes(), scene.target.bytes()));
}

BACKEND_TEST_CASE("cancelling what is over changes nothing", "[contract][endings]") {
  Scene scene(backend);
  Transfer put = scene.start(true);
  finish_ok(scene.harness, put);
  put.cancel();
  scene.harness.run_for(2ms);
  CHECK(put.status().ok());
  Transfer none;
  CHECK_FALSE(none.valid());
}

BACKEND_TEST_CASE("a callback may cancel, and start another transfer", "[contract][endings]") {
  Scene scene(backend);
  Transfer other = scene.start(true);
  Transfer next;
  TransferOptions options;
  options.priority = 255;
  options.on_done = [&](const TransferResult&) {
    other.cancel();
    next = scene.start(false);
  };
  const Transfer small = scene.pair.to_b.put(scene.local.slice(0, 100), scene.remote.slice(0, 100), std::move(options));
  finish_ok(scene.harness, small);
  REQUIRE(scene.harness.run([&] { return next.valid(); }));
  CHECK(is_one_of(finish(scene.harness, other), {StatusCode::ok, StatusCode::cancelled}));
  finish_ok(scene.harness, next);
}

BACKEND_TEST_CASE("a deadline that is kept does no harm", "[contract][endings]") {
  Scene scene(backend);
  TransferOptions options;
  options.timeout = 20s;
  finish_ok(scene.harness, scene.start(true, options));
}

BACKEND_TEST_CASE("a deadline that passes ends the transfer and leaves the peer usable", "[contract][endings]") {
  Scene scene(backend);
  // More than can be under way at once, so that some of it is not when the deadline passes.
  const uint64_t large_size = 48'000'000;
  const Buffer large = allocate(scene.pair.a, large_size);
  const Buffer large_target = allocate(scene.pair.b, large_size);
  const RemoteBuffer large_remote = grant(scene.pair.to_a, large_target.slice());
  TransferOptions options;
  options.timeout = 0ns;
  const Status status = finish(scene.harness, scene.pair.to_b.put(large.slice(), large_remote.slice(), options));
  CHECK(status.code() == StatusCode::timed_out);
  CHECK_FALSE(status.message().empty());
  std::fill(large_target.bytes().begin(), large_target.bytes().end(), std::byte{0xbb});
  scene.harness.run_for(4ms);
  CHECK(all_bytes_are(large_target.bytes(), std::byte{0xbb}));
  finish_ok(scene.harness, scene.start(true));
}

BACKEND_TEST_CASE("a deadline is kept although the peer does not answer", "[contract][endings]") {
  Scene scene(backend);
  TransferOptions options;
  options.timeout = 200ms;
  scene.pair.b.stalled = true;
  const Transfer put = scene.start(true, options);
  const Transfer get = scene.start(false, options);
  REQUIRE(scene.harness.run([&] { return put.done() && get.done(); }, scene.notice()));
  INFO(put.status().to_string());
  // One-sided reads need nobody at the other end.
  const bool one_sided = scene.harness.abilities().transport == "onesided";
  CHECK((is_one_of(put.status(), {StatusCode::timed_out, StatusCode::peer_lost}) || (one_sided && put.status().ok())));
  CHECK((is_one_of(get.status(), {StatusCode::timed_out, StatusCode::peer_lost}) || (one_sided && get.status().ok())));
}

BACKEND_TEST_CASE("a peer whose engine stands still is noticed", "[contract][endings]") {
  Scene scene(backend);
  scene.pair.b.stalled = true;
  Ends ends;
  TransferOptions options;
  options.on_done = ends.counter();
  const Transfer put = scene.start(true, std::move(options));
  scene.harness.run_for(10ms);
  if (!put.done()) CHECK_FALSE(put.waiting_for().empty());
  REQUIRE(scene.harness.run([&] { return put.done() && !scene.pair.a.inbox.closed.empty(); }, scene.notice()));
  INFO(put.status().to_string());
  const bool one_sided = scene.harness.abilities().transport == "onesided";
  CHECK((put.status().code() == StatusCode::peer_lost || (one_sided && put.status().ok())));
  CHECK(ends.results.size() == 1);
  REQUIRE(scene.pair.a.inbox.closed.size() == 1);
  CHECK(scene.pair.a.inbox.closed[0].second.code() == StatusCode::peer_lost);
  CHECK(scene.pair.to_b.state() == PeerState::closed);
  CHECK(scene.start(true).status().code() == StatusCode::peer_lost);
  CHECK(scene.pair.to_b.send(bytes_of("hello")).code() == StatusCode::peer_lost);
  // The one that slept finds out too, and reports the loss of its own.
  scene.pair.b.stalled = false;
  REQUIRE(scene.harness.run([&] { return !scene.pair.b.inbox.closed.empty(); }, scene.notice()));
}

BACKEND_TEST_CASE("an idle peer that goes silent is noticed by both sides", "[contract][endings]") {
  Scene scene(backend);
  if (skip_unless(scene.harness.abilities().silences, "silencing a link")) return;
  scene.harness.silence("a", "b");
  REQUIRE(scene.harness.run([&] { return !scene.pair.a.inbox.closed.empty() && !scene.pair.b.inbox.closed.empty(); },
                            scene.notice()));
  CHECK(scene.pair.a.inbox.closed[0].second.code() == StatusCode::peer_lost);
  CHECK(scene.pair.b.inbox.closed[0].second.code() == StatusCode::peer_lost);
}

BACKEND_TEST_CASE("a silence shorter than the time-outs is survived", "[contract][endings]") {
  Scene scene(backend);
  if (skip_unless(scene.harness.abilities().silences, "silencing a link")) return;
  const Transfer put = scene.start(true);
  run_rounds(scene.harness, 5);
  scene.harness.silence("a", "b");
  scene.harness.run_for(300ms);
  scene.harness.heal("a", "b");
  finish_ok(scene.harness, put);
  CHECK(same(scene.local.bytes(), scene.target.bytes()));
}

BACKEND_TEST_CASE("a crashed peer is noticed, and what it held is quiet", "[contract][endings]") {
  Scene scene(backend);
  if (skip_unless(scene.harness.abilities().crashes, "crashing a node")) return;
  const Transfer put = scene.start(true);
  const Transfer get = scene.start(false);
  run_rounds(scene.harness, 8);
  scene.harness.crash("b");
  scene.pair.b.stalled = true;
  REQUIRE(scene.harness.run([&] { return put.done() && get.done() && !scene.pair.a.inbox.closed.empty(); }, scene.notice()));
  CHECK(is_one_of(put.status(), {StatusCode::peer_lost, StatusCode::ok}));
  CHECK(is_one_of(get.status(), {StatusCode::peer_lost, StatusCode::ok}));
  CHECK(scene.pair.a.inbox.closed.size() == 1);
}

enum class Departure : uint8_t { engine_destroyed, closed_by_a, aborted_by_a, closed_by_b, aborted_by_b };

void check_departure(const Backend& backend, Departure departure, uint64_t rounds) {
  CAPTURE(static_cast<int>(departure), rounds);
  PeerOptions peer_options;
  peer_options.lanes = 2;
  Scene scene(backend, peer_options);
  std::vector<int> ended(12, 0);
  std::vector<Transfer> transfers;
  for (size_t i = 0; i < ended.size(); ++i) {
    TransferOptions options;
    options.on_done = [&ended, i](const TransferResult&) { ++ended[i]; };
    const uint64_t at = i * 100'000;
    transfers.push_back(i % 3 == 0
                            ? scene.pair.to_b.get(scene.local.slice(at, 100'000), scene.remote.slice(at, 100'000), options)
                            : scene.pair.to_b.put(scene.local.slice(at, 100'000), scene.remote.slice(at, 100'000), options));
  }
  run_rounds(scene.harness, rounds);
  switch (departure) {
    case Departure::engine_destroyed: scene.harness.stop(scene.pair.b); break;
    case Departure::closed_by_a: scene.pair.to_b.close(true); break;
    case Departure::aborted_by_a: scene.pair.to_b.close(false); break;
    case Departure::closed_by_b: scene.pair.to_a.close(true); break;
    case Departure::aborted_by_b: scene.pair.to_a.close(false); break;
  }
  REQUIRE(scene.harness.run([&] { return !scene.pair.a.inbox.closed.empty(); }, scene.notice() + 5s));
  // Ended before on_peer_closed came, as promised; callbacks too.
  CHECK(ended == std::vector<int>(ended.size(), 1));
  std::fill(scene.local.bytes().begin(), scene.local.bytes().end(), std::byte{0xaa});
  scene.harness.run_for(5ms);
  CHECK(all_bytes_are(scene.local.bytes(), std::byte{0xaa}));
  for (const Transfer& transfer : transfers) {
    INFO(transfer.status().to_string());
    CHECK(is_one_of(transfer.status(), {StatusCode::ok, StatusCode::peer_lost}));
    if (departure == Departure::closed_by_a) CHECK(transfer.status().ok());
  }
  CHECK(scene.pair.a.inbox.closed.size() == 1);
  CHECK(scene.pair.to_b.state() == PeerState::closed);
  if (scene.pair.b.engine) {
    REQUIRE(scene.harness.run([&] { return !scene.pair.b.inbox.closed.empty(); }, scene.notice()));
    CHECK(scene.pair.b.inbox.closed.size() == 1);
  }
}

BACKEND_TEST_CASE("whenever a peer leaves, every transfer ends exactly once", "[contract][endings]") {
  base::Random random(99);
  for (int round = 0; round < 20; ++round) check_departure(backend, static_cast<Departure>(round % 5), random.below(30));
}

BACKEND_TEST_CASE("an engine destroyed with transfers under way calls nobody", "[contract][endings]") {
  Scene scene(backend);
  Ends ends;
  TransferOptions options;
  options.on_done = ends.counter();
  const Transfer put = scene.start(true, options);
  const Transfer get = scene.start(false, options);
  run_rounds(scene.harness, 3);
  const size_t before = ends.results.size();
  scene.harness.stop(scene.pair.a);
  CHECK(ends.results.size() == before);
  CHECK(put.done());
  CHECK(get.done());
  REQUIRE(scene.harness.run([&] { return !scene.pair.b.inbox.closed.empty(); }, scene.notice()));
}

BACKEND_TEST_CASE("a dropped handle lets the transfer go on", "[contract][endings]") {
  Scene scene(backend);
  Ends ends;
  TransferOptions options;
  options.on_done = ends.counter();
  { const Transfer dropped = scene.start(true, std::move(options)); }
  REQUIRE(scene.harness.run([&] { return !ends.results.empty(); }));
  CHECK(ends.results.size() == 1);
  CHECK(ends.results[0].status.ok());
  CHECK(same(scene.local.bytes(), scene.target.bytes()));
}

BACKEND_TEST_CASE("buffers destroyed under a transfer stay until it is over", "[contract][endings]") {
  Scene scene(backend);
  const std::vector<std::byte> expected = copy_of(scene.local);
  const Transfer put = scene.start(true);
  scene.local = Buffer();
  finish_ok(scene.harness, put);
  CHECK(same(scene.target.bytes(), expected));

  scene.local = allocate_filled(scene.pair.a, size, 2);
  const Transfer other = scene.start(true);
  run_rounds(scene.harness, 3);
  scene.target = Buffer();
  const Status status = finish(scene.harness, other);
  INFO(status.to_string());
  CHECK(is_one_of(status, {StatusCode::ok, StatusCode::refused, StatusCode::peer_lost}));
}

BACKEND_TEST_CASE("a grant revoked under a transfer: quiet once told", "[contract][endings]") {
  for (int round = 0; round < 12; ++round) {
    CAPTURE(round);
    Scene scene(backend);
    const Transfer put = scene.start(true);
    const Transfer get = scene.start(false);
    run_rounds(scene.harness, static_cast<uint64_t>(round) * 2);
    bool revoked = false;
    REQUIRE(scene.pair.to_a.revoke(scene.remote, [&] { revoked = true; }).ok());
    REQUIRE(scene.harness.run([&] { return revoked; }));
    std::fill(scene.target.bytes().begin(), scene.target.bytes().end(), std::byte{0xbb});
    const Status put_status = finish(scene.harness, put);
    const Status get_status = finish(scene.harness, get);
    INFO(put_status.to_string() << "; " << get_status.to_string());
    CHECK(is_one_of(put_status, {StatusCode::ok, StatusCode::refused, StatusCode::peer_lost}));
    CHECK(is_one_of(get_status, {StatusCode::ok, StatusCode::refused, StatusCode::peer_lost}));
    scene.harness.run_for(4ms);
    CHECK(all_bytes_are(scene.target.bytes(), std::byte{0xbb}));
  }
}

BACKEND_TEST_CASE("a revocation ends although the peer stands still", "[contract][endings]") {
  Scene scene(backend);
  const Transfer put = scene.start(true);
  run_rounds(scene.harness, 3);
  scene.pair.a.stalled = true;
  bool revoked = false;
  REQUIRE(scene.pair.to_a.revoke(scene.remote, [&] { revoked = true; }).ok());
  REQUIRE(scene.harness.run([&] { return revoked; }, scene.notice()));
  std::fill(scene.target.bytes().begin(), scene.target.bytes().end(), std::byte{0xbb});
  scene.pair.a.stalled = false;
  const Status status = finish(scene.harness, put);
  INFO(status.to_string());
  // What was placed and answered before the revocation may end ok.
  CHECK(is_one_of(status, {StatusCode::ok, StatusCode::refused, StatusCode::peer_lost}));
  scene.harness.run_for(4ms);
  CHECK(all_bytes_are(scene.target.bytes(), std::byte{0xbb}));
}

BACKEND_TEST_CASE("a full engine answers busy", "[contract][endings]") {
  const auto made = backend.make();
  Harness& harness = *made;
  EngineOptions options = harness.options();
  options.max_transfers = 8;
  Pair pair = harness.connect(harness.start("a", options), harness.start("b"));
  const Buffer local = allocate_filled(pair.a, size, 1);
  const Buffer target = allocate(pair.b, size);
  const RemoteBuffer remote = grant(pair.to_a, target.slice());
  std::vector<Transfer> running;
  for (int i = 0; i < 8; ++i) running.push_back(pair.to_b.put(local.slice(), remote.slice()));
  Ends ends;
  TransferOptions late;
  late.on_done = ends.counter();
  const Transfer refused = pair.to_b.put(local.slice(), remote.slice(), std::move(late));
  CHECK(refused.done());
  CHECK(refused.status().code() == StatusCode::busy);
  for (const Transfer& transfer : running) finish_ok(harness, transfer);
  CHECK(ends.results.size() == 1);
  finish_ok(harness, pair.to_b.put(local.slice(), remote.slice()));
}

}  // namespace
}  // namespace haul::contract
