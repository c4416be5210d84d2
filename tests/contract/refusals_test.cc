// Contract: what is wrong or not allowed is refused, with a reason, and touches no memory.
#include "contract/fixture.h"

namespace haul::contract {
namespace {

constexpr uint64_t size = 100'000;
constexpr auto untouched = std::byte{0xee};

/// Two engines, with a filled buffer at a and an untouched one at b that a may read and write.
struct Scene {
  std::unique_ptr<Harness> made;
  Harness& harness = *made;
  Pair pair = harness.connected_pair();
  Buffer local = allocate_filled(pair.a, size, 1);
  Buffer target = allocate(pair.b, size);
  std::vector<std::byte> local_before = copy_of(local);
  RemoteBuffer remote = grant(pair.to_a, target.slice());

  explicit Scene(const Backend& backend) : made(backend.make()) {
    std::fill(target.bytes().begin(), target.bytes().end(), untouched);
  }

  bool nothing_changed() {
    harness.run_for(20ms);
    return all_bytes_are(target.bytes(), untouched) && same(local.bytes(), local_before);
  }
};

BACKEND_TEST_CASE("ranges outside the buffers are invalid", "[contract][refusals]") {
  Scene scene(backend);
  const Buffer none;
  const RemoteBuffer no_remote;
  const std::pair<Slice, RemoteSlice> wrong[] = {
      {scene.local.slice(1, size), scene.remote.slice(0, size)},
      {scene.local.slice(size + 1, 0), scene.remote.slice(0, 0)},
      {scene.local.slice(UINT64_MAX, 2), scene.remote.slice(0, 2)},
      {scene.local.slice(2, UINT64_MAX), scene.remote.slice(0, UINT64_MAX)},
      {scene.local.slice(0, size), scene.remote.slice(1, size)},
      {scene.local.slice(0, 1), scene.remote.slice(size, 1)},
      {scene.local.slice(0, 0), scene.remote.slice(size + 1, 0)},
      {scene.local.slice(0, 2), scene.remote.slice(UINT64_MAX, 2)},
      {scene.local.slice(0, 10), scene.remote.slice(0, 11)},
      {Slice{}, scene.remote.slice(0, 10)},
      {Slice{nullptr, 0, 10}, scene.remote.slice(0, 10)},
      {none.slice(0, 10), scene.remote.slice(0, 10)},
      {scene.local.slice(0, 10), RemoteSlice{nullptr, 0, 10}},
      {scene.local.slice(0, 10), no_remote.slice(0, 10)},
  };
  for (size_t i = 0; i < std::size(wrong); ++i) {
    const auto& [local, remote] = wrong[i];
    for (const bool is_put : {true, false}) {
      CAPTURE(i, is_put);
      Ends ends;
      TransferOptions options;
      options.on_done = ends.counter();
      const Transfer transfer = is_put ? scene.pair.to_b.put(local, remote, std::move(options))
                                       : scene.pair.to_b.get(local, remote, std::move(options));
      CHECK(transfer.done());
      INFO(transfer.status().to_string());
      CHECK(is_one_of(transfer.status(), {StatusCode::invalid, StatusCode::refused}));
      CHECK_FALSE(transfer.status().message().empty());
      CHECK(ends.results.empty());
      scene.harness.run([&] { return !ends.results.empty(); });
      CHECK(ends.results.size() == 1);
    }
  }
  CHECK(scene.nothing_changed());
}

BACKEND_TEST_CASE("one wrong piece makes the whole batch invalid", "[contract][refusals]") {
  Scene scene(backend);
  std::vector<Piece> pieces(100, Piece{scene.local.slice(0, 100), scene.remote.slice(0, 100)});
  pieces[70].remote.offset = size - 99;
  const Transfer put = scene.pair.to_b.put_batch(pieces);
  CHECK(put.done());
  CHECK(put.status().code() == StatusCode::invalid);
  const Transfer get = scene.pair.to_b.get_batch(pieces);
  CHECK(get.status().code() == StatusCode::invalid);
  CHECK(scene.nothing_changed());
}

BACKEND_TEST_CASE("a grant outside its buffer is invalid", "[contract][refusals]") {
  Scene scene(backend);
  for (const Slice& slice :
       {scene.target.slice(1, size), scene.target.slice(UINT64_MAX, 2), scene.target.slice(size + 1, 0), Slice{}}) {
    const auto granted = scene.pair.to_a.grant(slice, Rights::read);
    CHECK(granted.status().code() == StatusCode::invalid);
  }
}

BACKEND_TEST_CASE("what a grant does not allow is refused", "[contract][refusals]") {
  Scene scene(backend);
  const RemoteBuffer readable = grant(scene.pair.to_a, scene.target.slice(), Rights::read);
  const RemoteBuffer writable = grant(scene.pair.to_a, scene.target.slice(), Rights::write);
  CHECK(finish(scene.harness, scene.pair.to_b.put(scene.local.slice(), readable.slice())).code() == StatusCode::refused);
  CHECK(finish(scene.harness, scene.pair.to_b.get(scene.local.slice(), writable.slice())).code() == StatusCode::refused);
  CHECK(scene.nothing_changed());
}

/// Grants that a peer made up from one that it has. The owner must not believe them, and may hang up.
BACKEND_TEST_CASE("forged grants are refused by the owner", "[contract][refusals]") {
  const int number = GENERATE(0, 1, 2, 3);
  CAPTURE(number);
  Scene scene(backend);
  const RemoteBuffer real = grant(scene.pair.to_a, scene.target.slice(0, size / 2), Rights::read);
  const uint64_t owner = real.owner_incarnation();
  const uint64_t id = number == 2 ? real.grant_id() + 1000 : real.grant_id();
  const RemoteBuffer forged(owner, id, number == 0 ? real.size() : size, Rights::read_write);
  const Transfer transfer = number == 3 ? scene.pair.to_b.get(scene.local.slice(), forged.slice())
                                        : scene.pair.to_b.put(scene.local.slice(0, 5000), forged.slice(0, 5000));
  const Status status = finish(scene.harness, transfer);
  INFO(status.to_string());
  CHECK(is_one_of(status, {StatusCode::refused, StatusCode::invalid}));
  CHECK(scene.nothing_changed());
}

BACKEND_TEST_CASE("a grant is its peer's alone", "[contract][refusals]") {
  Scene scene(backend);
  Pair other = scene.harness.connect(scene.harness.start("c"), scene.pair.b);
  const Buffer local = allocate_filled(other.a, size, 2);
  const Transfer put = other.to_b.put(local.slice(), scene.remote.slice());
  const Status status = finish(scene.harness, put);
  INFO(status.to_string());
  CHECK(is_one_of(status, {StatusCode::refused, StatusCode::invalid}));
  CHECK(scene.nothing_changed());
  finish_ok(scene.harness, scene.pair.to_b.put(scene.local.slice(), scene.remote.slice()));
}

BACKEND_TEST_CASE("a revoked grant is refused", "[contract][refusals]") {
  Scene scene(backend);
  int revoked = 0;
  REQUIRE(scene.pair.to_a.revoke(scene.remote, [&] { ++revoked; }).ok());
  REQUIRE(scene.harness.run([&] { return revoked > 0; }));
  const Status status = finish(scene.harness, scene.pair.to_b.put(scene.local.slice(), scene.remote.slice()));
  INFO(status.to_string());
  CHECK(status.code() == StatusCode::refused);
  CHECK(scene.nothing_changed());
  CHECK(revoked == 1);
  CHECK(scene.pair.to_a.revoke(scene.remote).code() == StatusCode::invalid);
}

BACKEND_TEST_CASE("an expired grant is refused", "[contract][refusals]") {
  Scene scene(backend);
  GrantOptions options;
  options.expires_after = 300ms;
  const RemoteBuffer brief = grant(scene.pair.to_a, scene.target.slice(), Rights::read_write, options);
  finish_ok(scene.harness, scene.pair.to_b.put(scene.local.slice(), brief.slice()));
  std::fill(scene.target.bytes().begin(), scene.target.bytes().end(), untouched);
  scene.harness.run_for(400ms);
  CHECK(finish(scene.harness, scene.pair.to_b.put(scene.local.slice(), brief.slice())).code() == StatusCode::refused);
  CHECK(finish(scene.harness, scene.pair.to_b.get(scene.local.slice(), brief.slice())).code() == StatusCode::refused);
  CHECK(scene.nothing_changed());
}

BACKEND_TEST_CASE("a grant of an engine that restarted is refused, and said to be stale", "[contract][refusals]") {
  const auto made = backend.make();
  Harness& harness = *made;
  Pair pair = harness.connected_pair();
  const Buffer local = allocate_filled(pair.a, size, 1);
  Buffer target = allocate(pair.b, size);
  const RemoteBuffer old = grant(pair.to_a, target.slice());
  target = Buffer();
  harness.stop(pair.b);
  REQUIRE(harness.run([&] { return !pair.a.inbox.closed.empty(); }));

  Pair again = harness.connect(pair.a, harness.start("b"));
  CHECK(again.b->incarnation() != old.owner_incarnation());
  const Buffer target_again = allocate(again.b, size);
  const RemoteBuffer fresh = grant(again.to_a, target_again.slice());
  const Status status = finish(harness, again.to_b.put(local.slice(), old.slice()));
  INFO(status.to_string());
  CHECK(status.code() == StatusCode::refused);
  CHECK_THAT(std::string(status.message()),
             Catch::Contains("incarnation") || Catch::Contains("restart") || Catch::Contains("stale"));
  CHECK(all_bytes_are(target_again.bytes(), std::byte{0}));
  finish_ok(harness, again.to_b.put(local.slice(), fresh.slice()));
  CHECK(same(local.bytes(), target_again.bytes()));
}

BACKEND_TEST_CASE("a grant survives the journey as bytes", "[contract][refusals]") {
  Scene scene(backend);
  const auto bytes = scene.remote.serialize();
  REQUIRE(scene.pair.to_a.send(bytes).ok());
  REQUIRE(scene.harness.run([&] { return !scene.pair.a.inbox.letters.empty(); }));
  const auto received = RemoteBuffer::deserialize(scene.pair.a.inbox.letters[0].payload);
  REQUIRE(received.ok());
  CHECK(received.value() == scene.remote);
  finish_ok(scene.harness, scene.pair.to_b.put(scene.local.slice(), received.value().slice()));
  CHECK(same(scene.target.bytes(), scene.local.bytes()));
}

BACKEND_TEST_CASE("buffers of another engine are invalid", "[contract][refusals]") {
  Scene scene(backend);
  const Transfer put = scene.pair.to_b.put(scene.target.slice(), scene.remote.slice());
  CHECK(finish(scene.harness, put).code() == StatusCode::invalid);
  CHECK(scene.pair.to_a.grant(scene.local.slice(), Rights::read).status().code() == StatusCode::invalid);
}

}  // namespace
}  // namespace haul::contract
