// Contract: bytes arrive as they were, and only where they should.
#include "contract/fixture.h"

namespace haul::contract {
namespace {

constexpr uint64_t KiB = 1024;
constexpr uint64_t MiB = 1024 * KiB;
constexpr auto untouched = std::byte{0xee};
constexpr uint64_t sizes[] = {0, 1, 15, 16 * KiB - 1, 16 * KiB, 64 * KiB + 1, MiB, 5 * MiB + 3};

BACKEND_TEST_CASE("a put of any size and alignment arrives, and touches nothing else", "[contract][transfers]") {
  const auto made = backend.make();
  Harness& harness = *made;
  Pair pair = harness.connected_pair();
  const Buffer source = allocate_filled(pair.a, 5 * MiB + 100, 1);
  const Buffer target = allocate(pair.b, 5 * MiB + 100);
  const RemoteBuffer remote = grant(pair.to_a, target.slice(), Rights::write);
  for (const uint64_t size : sizes) {
    const uint64_t from = harness.random().below(60);
    const uint64_t to = 1 + harness.random().below(60);
    CAPTURE(size, from, to);
    std::fill(target.bytes().begin(), target.bytes().end(), untouched);
    Ends ends;
    TransferOptions options;
    options.on_done = ends.counter();
    const Transfer put = pair.to_b.put(source.slice(from, size), remote.slice(to, size), std::move(options));
    CHECK(put.progress().bytes_total == size);
    finish_ok(harness, put);
    CHECK(put.progress().bytes_done == size);
    CHECK(put.progress().operations_outstanding == 0);
    CHECK(put.waiting_for().empty());
    REQUIRE(harness.run([&] { return !ends.results.empty(); }));
    CHECK(ends.results.size() == 1);
    CHECK(ends.results[0].bytes == size);
    CHECK(same(target.bytes().subspan(to, size), source.bytes().subspan(from, size)));
    CHECK(all_bytes_are(target.bytes().first(to), untouched));
    CHECK(all_bytes_are(target.bytes().subspan(to + size), untouched));
  }
}

BACKEND_TEST_CASE("a get of any size and alignment arrives, and touches nothing else", "[contract][transfers]") {
  const auto made = backend.make();
  Harness& harness = *made;
  Pair pair = harness.connected_pair();
  const Buffer source = allocate_filled(pair.b, 5 * MiB + 100, 2);
  const Buffer target = allocate(pair.a, 5 * MiB + 100);
  const RemoteBuffer remote = grant(pair.to_a, source.slice(), Rights::read);
  for (const uint64_t size : sizes) {
    const uint64_t from = harness.random().below(60);
    const uint64_t to = 1 + harness.random().below(60);
    CAPTURE(size, from, to);
    std::fill(target.bytes().begin(), target.bytes().end(), untouched);
    const Transfer get = pair.to_b.get(target.slice(to, size), remote.slice(from, size));
    finish_ok(harness, get);
    CHECK(get.progress().bytes_done == size);
    CHECK(same(target.bytes().subspan(to, size), source.bytes().subspan(from, size)));
    CHECK(all_bytes_are(target.bytes().first(to), untouched));
    CHECK(all_bytes_are(target.bytes().subspan(to + size), untouched));
  }
}

BACKEND_TEST_CASE("a huge put and get arrive", "[contract][transfers][huge]") {
  const auto made = backend.make();
  Harness& harness = *made;
  Pair pair = harness.connected_pair();
  const uint64_t size = 64 * MiB;
  const Buffer source = allocate_filled(pair.a, size, 3);
  const Buffer target = allocate(pair.b, size);
  const RemoteBuffer remote = grant(pair.to_a, target.slice());
  finish_ok(harness, pair.to_b.put(source.slice(), remote.slice()));
  CHECK(same(source.bytes(), target.bytes()));
  const Buffer back = allocate(pair.a, size);
  finish_ok(harness, pair.to_b.get(back.slice(), remote.slice()));
  CHECK(same(back.bytes(), target.bytes()));
}

struct Scattered {
  std::vector<Piece> pieces;
  uint64_t bytes = 0;
};

/// Pieces of random small sizes at random places: of the local buffer anywhere, of the remote one each in a slot of its own.
Scattered scatter(base::Random& random, size_t count, const Buffer& local, const RemoteBuffer& remote, uint64_t slot_bytes) {
  Scattered result;
  for (size_t i = 0; i < count; ++i) {
    const uint64_t length = random.below(slot_bytes + 1);
    result.pieces.push_back({local.slice(i * slot_bytes, length), remote.slice((count - 1 - i) * slot_bytes, length)});
    result.bytes += length;
  }
  return result;
}

BACKEND_TEST_CASE("a batch of thousands of descriptors arrives", "[contract][transfers]") {
  const auto made = backend.make();
  Harness& harness = *made;
  Pair pair = harness.connected_pair();
  constexpr size_t count = 3000;
  constexpr uint64_t slot_bytes = 700;
  const Buffer local = allocate_filled(pair.a, count * slot_bytes, 4);
  const Buffer target = allocate(pair.b, count * slot_bytes);
  std::fill(target.bytes().begin(), target.bytes().end(), untouched);
  const RemoteBuffer remote = grant(pair.to_a, target.slice());
  const Scattered scattered = scatter(harness.random(), count, local, remote, slot_bytes);
  const Transfer put = pair.to_b.put_batch(scattered.pieces);
  CHECK(put.progress().bytes_total == scattered.bytes);
  finish_ok(harness, put);
  std::vector<std::byte> expected(target.size(), untouched);
  for (const Piece& piece : scattered.pieces) {
    const auto from = local.bytes().subspan(piece.local.offset, piece.local.length);
    std::copy(from.begin(), from.end(), expected.begin() + static_cast<ptrdiff_t>(piece.remote.offset));
  }
  CHECK(same(target.bytes(), expected));

  const Buffer back = allocate(pair.a, count * slot_bytes);
  std::vector<Piece> gets = scattered.pieces;
  for (Piece& piece : gets) piece.local.buffer = &back;
  finish_ok(harness, pair.to_b.get_batch(gets));
  for (const Piece& piece : gets) {
    REQUIRE(same(back.bytes().subspan(piece.local.offset, piece.local.length),
                 local.bytes().subspan(piece.local.offset, piece.local.length)));
  }
}

BACKEND_TEST_CASE("an empty batch and a batch of nothing but empty pieces end ok", "[contract][transfers]") {
  const auto made = backend.make();
  Harness& harness = *made;
  Pair pair = harness.connected_pair();
  const Buffer local = allocate(pair.a, 10);
  const Buffer target = allocate(pair.b, 10);
  const RemoteBuffer remote = grant(pair.to_a, target.slice());
  finish_ok(harness, pair.to_b.put_batch({}));
  const std::vector<Piece> pieces(5, Piece{local.slice(10, 0), remote.slice(10, 0)});
  finish_ok(harness, pair.to_b.put_batch(pieces));
  finish_ok(harness, pair.to_b.get_batch(pieces));
}

BACKEND_TEST_CASE("a batch may use several buffers and grants", "[contract][transfers]") {
  const auto made = backend.make();
  Harness& harness = *made;
  Pair pair = harness.connected_pair();
  std::vector<Buffer> locals;
  std::vector<Buffer> targets;
  std::vector<RemoteBuffer> remotes;
  for (uint64_t i = 0; i < 5; ++i) {
    locals.push_back(allocate_filled(pair.a, 100 * KiB + i, 10 + i));
    targets.push_back(allocate(pair.b, 100 * KiB + i));
    remotes.push_back(grant(pair.to_a, targets.back().slice()));
  }
  std::vector<Piece> pieces;
  for (size_t i = 0; i < locals.size(); ++i) pieces.push_back({locals[i].slice(), remotes[i].slice()});
  finish_ok(harness, pair.to_b.put_batch(pieces));
  for (size_t i = 0; i < locals.size(); ++i) CHECK(same(locals[i].bytes(), targets[i].bytes()));
}

BACKEND_TEST_CASE("where pieces overlap each byte is one of theirs", "[contract][transfers]") {
  const auto made = backend.make();
  Harness& harness = *made;
  Pair pair = harness.connected_pair();
  const uint64_t size = 200 * KiB;
  const Buffer first = allocate(pair.a, size);
  const Buffer second = allocate(pair.a, size);
  std::fill(first.bytes().begin(), first.bytes().end(), std::byte{1});
  std::fill(second.bytes().begin(), second.bytes().end(), std::byte{2});
  const Buffer target = allocate(pair.b, size * 3 / 2);
  const RemoteBuffer remote = grant(pair.to_a, target.slice());
  const std::vector<Piece> pieces = {{first.slice(), remote.slice(0, size)}, {second.slice(), remote.slice(size / 2, size)}};
  finish_ok(harness, pair.to_b.put_batch(pieces));
  CHECK(all_bytes_are(target.bytes().first(size / 2), std::byte{1}));
  CHECK(all_bytes_are(target.bytes().subspan(size), std::byte{2}));
  const auto overlap = target.bytes().subspan(size / 2, size / 2);
  CHECK(
      std::all_of(overlap.begin(), overlap.end(), [](std::byte each) { return each == std::byte{1} || each == std::byte{2}; }));
}

BACKEND_TEST_CASE("many transfers in both directions at once", "[contract][transfers]") {
  const auto made = backend.make();
  Harness& harness = *made;
  Pair pair = harness.connected_pair();
  constexpr uint64_t count = 40;
  constexpr uint64_t slot_bytes = 96 * KiB;
  const Buffer at_a = allocate_filled(pair.a, count * slot_bytes, 21);
  const Buffer at_b = allocate_filled(pair.b, count * slot_bytes, 22);
  const Buffer into_a = allocate(pair.a, count * slot_bytes);
  const Buffer into_b = allocate(pair.b, count * slot_bytes);
  const RemoteBuffer put_to = grant(pair.to_a, into_b.slice(), Rights::write);
  const RemoteBuffer get_from = grant(pair.to_b, at_a.slice(), Rights::read);
  const Buffer got_by_b = allocate(pair.b, count * slot_bytes);
  const RemoteBuffer put_back = grant(pair.to_b, into_a.slice(), Rights::write);
  std::vector<Transfer> transfers;
  for (uint64_t i = 0; i < count; ++i) {
    transfers.push_back(pair.to_b.put(at_a.slice(i * slot_bytes, slot_bytes), put_to.slice(i * slot_bytes, slot_bytes)));
    transfers.push_back(pair.to_a.put(at_b.slice(i * slot_bytes, slot_bytes), put_back.slice(i * slot_bytes, slot_bytes)));
    transfers.push_back(pair.to_a.get(got_by_b.slice(i * slot_bytes, slot_bytes), get_from.slice(i * slot_bytes, slot_bytes)));
  }
  for (const Transfer& transfer : transfers) finish_ok(harness, transfer);
  CHECK(same(into_b.bytes(), at_a.bytes()));
  CHECK(same(into_a.bytes(), at_b.bytes()));
  CHECK(same(got_by_b.bytes(), at_a.bytes()));
}

BACKEND_TEST_CASE("memory of the caller can be registered and moved", "[contract][transfers]") {
  std::vector<std::byte> mine(300 * KiB + 7);
  fill_pattern(mine, 30);
  std::vector<std::byte> theirs(mine.size());
  const auto made = backend.make();
  Harness& harness = *made;
  Pair pair = harness.connected_pair();
  const auto local = pair.a->register_memory(mine);
  const auto remote_memory = pair.b->register_memory(theirs);
  REQUIRE(local.ok());
  REQUIRE(remote_memory.ok());
  CHECK(local.value().data() == mine.data());
  const RemoteBuffer remote = grant(pair.to_a, remote_memory.value().slice());
  finish_ok(harness, pair.to_b.put(local.value().slice(), remote.slice()));
  CHECK(same(mine, theirs));
}

BACKEND_TEST_CASE("a handle tells of its own transfer, also when others came and went since", "[contract][transfers]") {
  const auto made = backend.make();
  Harness& harness = *made;
  Pair pair = harness.connected_pair();
  const Buffer source = allocate_filled(pair.a, 4 * KiB, 8);
  const Buffer target = allocate(pair.b, 4 * KiB);
  const RemoteBuffer remote = grant(pair.to_a, target.slice(), Rights::write);
  const Transfer kept = pair.to_b.put(source.slice(0, 100), remote.slice(0, 100));
  const uint64_t id = kept.id();
  finish_ok(harness, kept);
  for (uint64_t size = 1; size < 20; ++size) {
    Ends ends;
    TransferOptions options;
    options.on_done = ends.counter();
    pair.to_b.put(source.slice(0, size), remote.slice(0, size), std::move(options));  // nobody keeps these handles
    REQUIRE(harness.run([&] { return !ends.results.empty(); }));
    CHECK(ends.results[0].status.ok());
    CHECK(ends.results[0].bytes == size);
    CHECK(kept.id() == id);
    CHECK(kept.done());
    CHECK(kept.progress().bytes_total == 100);
  }
  const Transfer refused = pair.to_b.put(source.slice(0, 1), remote.slice(0, 2));
  CHECK(refused.status().code() == StatusCode::invalid);
  CHECK(kept.status().ok());
}

BACKEND_TEST_CASE("progress only grows and never passes the total", "[contract][transfers]") {
  const auto made = backend.make();
  Harness& harness = *made;
  Pair pair = harness.connected_pair();
  const Buffer source = allocate_filled(pair.a, 8 * MiB, 40);
  const Buffer target = allocate(pair.b, 8 * MiB);
  const RemoteBuffer remote = grant(pair.to_a, target.slice());
  const Transfer put = pair.to_b.put(source.slice(), remote.slice());
  uint64_t last = 0;
  bool grew = true;
  const bool over = harness.run([&] {
    const uint64_t now = put.progress().bytes_done;
    grew = grew && now >= last && now <= source.size();
    last = now;
    return put.done();
  });
  REQUIRE(over);
  CHECK(grew);
  CHECK(last == source.size());
}

BACKEND_TEST_CASE("allocated memory is zeroed, and nothing is no buffer", "[contract][transfers]") {
  const auto made = backend.make();
  Harness& harness = *made;
  Node& node = harness.start("a");
  const Buffer buffer = allocate(node, 10000);
  CHECK(all_bytes_are(buffer.bytes(), std::byte{0}));
  CHECK(reinterpret_cast<uintptr_t>(buffer.data()) % 4096 == 0);
  CHECK(node->stats().registered_bytes >= 10000);
  CHECK(node->allocate(0).status().code() == StatusCode::invalid);
  CHECK(is_one_of(node->allocate(UINT64_MAX).status(), {StatusCode::exhausted, StatusCode::invalid}));
}

}  // namespace
}  // namespace haul::contract
