// Contract below the engine: operations and messages.
#include <algorithm>
#include <array>
#include <catch2/catch.hpp>

#include "base/crc32c.h"
#include "contract/transport_rig.h"

namespace haul::contract {
namespace {

using namespace std::chrono_literals;

constexpr size_t arena_bytes = 2'000'000;
constexpr auto untouched = std::byte{0xee};

/// A connection with memory at both ends; y's is granted to x.
struct Scene {
  std::unique_ptr<Harness> made;
  Harness& harness = *made;
  Rig rig{harness};
  Rig::Link link = rig.connect();
  const MemoryRegion& local = rig.region(rig.x, arena_bytes, 1);
  const MemoryRegion& target = rig.region(rig.y, arena_bytes, 2);
  LocalGrant granted = rig.grant(rig.y, link.at_y, target);

  explicit Scene(const Backend& backend) : made(backend.make()) {}
  Operation operation(Op op, uint64_t local_offset, uint64_t remote_offset, uint64_t length) {
    Operation result;
    result.op = op;
    result.id = rig.next_id();
    result.local = &local;
    result.local_offset = local_offset;
    result.remote = &granted.remote;
    result.remote_offset = remote_offset;
    result.length = static_cast<uint32_t>(length);
    if (op == Op::write) result.crc32c = base::crc32c(local.bytes().subspan(local_offset, result.length));
    return result;
  }
  /// `count` operations in slots of their own.
  std::vector<Operation> operations(Op op, size_t count, uint64_t length) {
    std::vector<Operation> all;
    for (size_t i = 0; i < count; ++i) all.push_back(operation(op, i * length, (count - 1 - i) * length, length));
    return all;
  }
  bool all_completed(std::span<const Operation> all) {
    return rig.run([&] { return rig.x.count(Event::Kind::completed) >= all.size(); });
  }
  std::span<std::byte> local_of(const Operation& operation) const {
    return local.bytes().subspan(operation.local_offset, operation.length);
  }
  std::span<std::byte> target_of(const Operation& operation) const {
    return target.bytes().subspan(operation.remote_offset, operation.length);
  }
  bool moved(const Operation& operation) const {
    const auto here = local_of(operation);
    return std::equal(here.begin(), here.end(), target_of(operation).begin());
  }
};

BACKEND_TEST_CASE("a write or read that completed ok is there", "[contract][transport]") {
  Scene scene(backend);
  const uint64_t most = scene.rig.capabilities().max_operation_bytes;
  for (const uint64_t length : {uint64_t{1}, uint64_t{100}, uint64_t{16383}, uint64_t{16384}, uint64_t{70001}, most}) {
    if (length > most || length + 20 > arena_bytes) continue;
    CAPTURE(length);
    std::fill(scene.target.bytes().begin(), scene.target.bytes().end(), untouched);
    const Operation write = scene.operation(Op::write, 3, 7, length);
    REQUIRE(scene.rig.finish(scene.rig.x, scene.link.at_x, write).ok());
    CHECK(scene.moved(write));
    CHECK(all_bytes_are(scene.target.bytes().first(7), untouched));
    CHECK(all_bytes_are(scene.target.bytes().subspan(7 + length, 10), untouched));
    fill_pattern(scene.target.bytes(), length);
    const Operation read = scene.operation(Op::read, 11, 5, length);
    REQUIRE(scene.rig.finish(scene.rig.x, scene.link.at_x, read).ok());
    CHECK(scene.moved(read));
  }
}

BACKEND_TEST_CASE("many operations complete once each, with what they moved", "[contract][transport]") {
  Scene scene(backend);
  int not_there = 0;
  const auto writes = scene.operations(Op::write, 1000, 900);
  scene.rig.x.on_event = [&](const Event& event) {
    if (event.kind != Event::Kind::completed) return;
    const auto it = std::find_if(writes.begin(), writes.end(), [&](const Operation& each) { return each.id == event.id; });
    not_there += static_cast<int>(it != writes.end() && !scene.moved(*it));
  };
  scene.rig.post_all(scene.rig.x, scene.link.at_x, writes);
  REQUIRE(scene.all_completed(writes));
  for (const Operation& write : writes) REQUIRE(scene.rig.x.completed(write.id).value().ok());
  CHECK(not_there == 0);
  fill_pattern(scene.target.bytes(), 77);
  scene.rig.x.on_event = nullptr;
  scene.rig.x.seen.clear();
  const auto reads = scene.operations(Op::read, 1000, 900);
  scene.rig.post_all(scene.rig.x, scene.link.at_x, reads);
  REQUIRE(scene.all_completed(reads));
  for (const Operation& read : reads) {
    REQUIRE(scene.rig.x.completed(read.id).value().ok());
    REQUIRE(scene.moved(read));
  }
  scene.rig.run_for(5ms);
  CHECK(scene.rig.x.count(Event::Kind::completed) == reads.size());
}

BACKEND_TEST_CASE("a span of one event loses nothing", "[contract][transport]") {
  Scene scene(backend);
  scene.rig.x.events_a_poll = 1;
  scene.rig.y.events_a_poll = 1;
  const auto writes = scene.operations(Op::write, 300, 2000);
  const std::array<std::byte, 1> message{};
  for (int i = 0; i < 20; ++i) REQUIRE(scene.rig.x.transport->send(scene.link.at_x, message, scene.rig.now()));
  scene.rig.post_all(scene.rig.x, scene.link.at_x, writes);
  REQUIRE(scene.all_completed(writes));
  REQUIRE(scene.rig.run([&] { return scene.rig.y.count(Event::Kind::message) == 20; }));
  for (const Operation& write : writes) REQUIRE(scene.moved(write));
}

BACKEND_TEST_CASE("landings carry the tag, the bytes and the checksum", "[contract][transport]") {
  Scene scene(backend);
  if (skip_unless(scene.rig.capabilities().reports_landed, "landings that are told")) return;
  Operation write = scene.operation(Op::write, 10, 20, 30'000);
  write.tag = 0x1122334455667788;
  std::optional<Event> landed;
  std::vector<std::byte> shown;
  scene.rig.y.on_event = [&](const Event& event) {
    if (event.kind != Event::Kind::landed) return;
    landed = event;
    shown.assign(event.payload.begin(), event.payload.end());
  };
  REQUIRE(scene.rig.finish(scene.rig.x, scene.link.at_x, write).ok());
  REQUIRE(landed.has_value());
  CHECK(landed->tag == write.tag);
  CHECK(landed->payload.data() == scene.target.bytes().data() + 20);
  CHECK(shown.size() == write.length);
  CHECK(landed->crc32c == write.crc32c);
}

BACKEND_TEST_CASE("a write ends as its landing was answered, and not before", "[contract][transport]") {
  Scene scene(backend);
  if (skip_unless(scene.rig.capabilities().reports_landed, "landings that are answered")) return;
  for (const uint64_t length : {100U, 50'000U}) {
    scene.rig.y.answers = false;
    std::optional<Event> landed;
    scene.rig.y.on_event = [&](const Event& event) {
      if (event.kind == Event::Kind::landed) landed = event;
    };
    const Operation write = scene.operation(Op::write, 0, 0, length);
    scene.rig.post_all(scene.rig.x, scene.link.at_x, std::span(&write, 1));
    REQUIRE(scene.rig.run([&] { return landed.has_value(); }));
    scene.rig.run_for(5ms);
    CHECK_FALSE(scene.rig.x.completed(write.id).has_value());
    scene.rig.y.transport->answer(landed->connection, landed->id, Status(StatusCode::corrupt, "does not match"),
                                  scene.rig.now());
    REQUIRE(scene.rig.run([&] { return scene.rig.x.completed(write.id).has_value(); }));
    CHECK(scene.rig.x.completed(write.id)->code() == StatusCode::corrupt);
  }
}

BACKEND_TEST_CASE("a read brings the owner's checksum where it is carried", "[contract][transport]") {
  Scene scene(backend);
  if (skip_unless(scene.rig.capabilities().carries_checksums, "checksums that are carried")) return;
  for (const uint64_t length : {100U, 50'000U}) {
    Operation read = scene.operation(Op::read, 0, 0, length);
    read.crc32c = 0;
    std::optional<uint32_t> told;
    scene.rig.x.on_event = [&](const Event& event) {
      if (event.kind == Event::Kind::completed) told = event.crc32c;
    };
    REQUIRE(scene.rig.finish(scene.rig.x, scene.link.at_x, read).ok());
    CHECK(told == base::crc32c(scene.target_of(read)));
  }
}

BACKEND_TEST_CASE("messages keep order, size and content in both directions", "[contract][transport]") {
  Scene scene(backend);
  std::vector<std::vector<std::byte>> sent;
  const auto writes = scene.operations(Op::write, 200, 5000);
  scene.rig.post_all(scene.rig.x, scene.link.at_x, std::span(writes).first(100));
  for (uint64_t i = 0; i < 150; ++i) {
    const uint64_t length = i == 7 ? scene.rig.capabilities().max_message_bytes : 1 + scene.harness.random().below(3000);
    sent.emplace_back(length);
    fill_pattern(sent.back(), i);
    REQUIRE(scene.rig.run([&] { return scene.rig.x.transport->send(scene.link.at_x, sent.back(), scene.rig.now()); }));
    REQUIRE(scene.rig.run([&] { return scene.rig.y.transport->send(scene.link.at_y, sent.back(), scene.rig.now()); }));
  }
  scene.rig.post_all(scene.rig.x, scene.link.at_x, std::span(writes).subspan(100));
  REQUIRE(scene.all_completed(writes));
  REQUIRE(scene.rig.run(
      [&] { return scene.rig.y.messages().size() == sent.size() && scene.rig.x.messages().size() == sent.size(); }));
  CHECK(scene.rig.y.messages() == sent);
  CHECK(scene.rig.x.messages() == sent);
}

BACKEND_TEST_CASE("back-pressure refuses for a while and loses nothing", "[contract][transport]") {
  Scene scene(backend);
  const size_t count = 5UL * scene.rig.capabilities().max_operations;
  const std::vector<Operation> writes = scene.operations(Op::write, count, 8);
  size_t taken = 0;
  for (size_t last = 1; last > 0; taken += last) {
    last = scene.rig.x.transport->post(scene.link.at_x, std::span(writes).subspan(taken), scene.rig.now());
    REQUIRE(taken + last <= count);
  }
  CHECK(taken <= scene.rig.capabilities().max_operations);
  const size_t before = scene.rig.x.seen.size();
  REQUIRE(scene.rig.run([&] {
    return std::any_of(scene.rig.x.seen.begin() + static_cast<ptrdiff_t>(before), scene.rig.x.seen.end(),
                       [](const End::Seen& each) {
                         return each.event.kind == Event::Kind::completed || each.event.kind == Event::Kind::writable;
                       });
  }));
  scene.rig.post_all(scene.rig.x, scene.link.at_x, std::span(writes).subspan(taken));
  REQUIRE(scene.all_completed(writes));
  for (const Operation& write : writes) REQUIRE(scene.moved(write));

  const std::vector<std::byte> message(scene.rig.capabilities().max_message_bytes, std::byte{1});
  size_t sent = 0;
  while (sent < 1'000'000 && scene.rig.x.transport->send(scene.link.at_x, message, scene.rig.now())) ++sent;
  REQUIRE(sent < 1'000'000);
  const size_t writable = scene.rig.x.count(Event::Kind::writable);
  REQUIRE(scene.rig.run([&] { return scene.rig.x.count(Event::Kind::writable) > writable; }));
  REQUIRE(scene.rig.run([&] { return scene.rig.y.messages().size() == sent; }));
  CHECK(scene.rig.x.transport->send(scene.link.at_x, message, scene.rig.now()));
}

BACKEND_TEST_CASE("a cancelled operation completes once, and is quiet then", "[contract][transport]") {
  Scene scene(backend);
  for (int round = 0; round < 25; ++round) {
    const Op op = round % 2 == 0 ? Op::write : Op::read;
    CAPTURE(round);
    scene.rig.x.seen.clear();
    std::fill(scene.target.bytes().begin(), scene.target.bytes().end(), untouched);
    fill_pattern(scene.local.bytes(), static_cast<uint64_t>(round));
    const auto all = scene.operations(op, 20, 60'000);
    scene.rig.post_all(scene.rig.x, scene.link.at_x, std::span(all).first(10));
    scene.rig.post_all(scene.rig.x, scene.link.at_x, std::span(all).subspan(10));
    uint64_t rounds = scene.harness.random().below(10);
    scene.rig.run([&] { return rounds-- == 0; });
    for (const Operation& each : all) scene.rig.x.transport->cancel(scene.link.at_x, each.id, scene.rig.now());
    REQUIRE(scene.all_completed(all));
    const std::vector<std::byte> after(scene.target.bytes().begin(), scene.target.bytes().end());
    for (const Operation& each : all) {
      const Status status = scene.rig.x.completed(each.id).value();
      INFO(status.to_string());
      CHECK((status.ok() || status.code() == StatusCode::cancelled));
      if (status.ok()) CHECK(scene.moved(each));
    }
    std::fill(scene.local.bytes().begin(), scene.local.bytes().end(), std::byte{0xaa});
    scene.rig.run_for(3ms);
    CHECK(all_bytes_are(scene.local.bytes(), std::byte{0xaa}));
    CHECK(std::equal(after.begin(), after.end(), scene.target.bytes().begin()));
    CHECK(scene.rig.x.count(Event::Kind::completed) == all.size());
  }
}

BACKEND_TEST_CASE("operations that are wrong in themselves complete as invalid", "[contract][transport]") {
  Scene scene(backend);
  const uint32_t most = scene.rig.capabilities().max_operation_bytes;
  const auto wrong = [&](uint64_t local_offset, uint32_t length) {
    Operation operation = scene.operation(Op::write, 0, 0, 1);
    operation.local_offset = local_offset;
    operation.length = length;
    return operation;
  };
  for (Operation operation :
       {wrong(0, 0), wrong(0, most + 1), wrong(arena_bytes, 1), wrong(arena_bytes - 9, 10), wrong(UINT64_MAX, 2)}) {
    for (const Op op : {Op::write, Op::read}) {
      operation.op = op;
      operation.id = scene.rig.next_id();
      CAPTURE(operation.local_offset, operation.length);
      CHECK(scene.rig.finish(scene.rig.x, scene.link.at_x, operation).code() == StatusCode::invalid);
    }
  }
  CHECK(scene.rig.finish(scene.rig.x, scene.link.at_x, scene.operation(Op::write, 0, 0, 1000)).ok());
}

}  // namespace
}  // namespace haul::contract
