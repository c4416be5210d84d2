// Writes, reads and messages over the tcp transport: content, sizes, refusals, back-pressure, cancel.
#include <fmt/format.h>

#include <algorithm>

#include "base/crc32c.h"
#include "tcp_support.h"

using namespace haul;
using namespace haul::tcp::test;
using haul::tcp::Io;
using haul::tcp::Options;

namespace {

bool equal(std::span<const std::byte> a, std::span<const std::byte> b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end());
}

Options zero_copy_always() {
  Options options = options_for(Io::uring);
  options.zero_copy = haul::tcp::ZeroCopy::always;
  return options;
}

void write_and_read(Pair& pair, uint32_t length, uint64_t offset) {
  INFO("length " << length << " offset " << offset);
  Memory source(pair.a, length + 64, length);
  Memory target(pair.b, length + 128, length + 1);
  Memory back(pair.a, length + 64, length + 2);
  const LocalGrant grant = grant_all(pair.b, pair.at_b, target);
  const std::span<const std::byte> sent(source.data.data() + offset, length);

  Operation write = operation(Op::write, 1, source, offset, grant.remote, offset + 3, length);
  write.crc32c = base::crc32c(sent);
  const std::vector<std::byte> before = target.data;
  pair.a.seen.clear();
  pair.b.seen.clear();
  REQUIRE(pair.a.transport->post(pair.at_a, {&write, 1}, Side::now()) == 1);
  REQUIRE(pair.run_until([&] { return pair.a.completed(1) != nullptr; }));
  CHECK(pair.a.completed(1)->status.to_string() == "ok");
  const Seen* landed = pair.b.find(Event::Kind::landed);
  REQUIRE(landed != nullptr);
  CHECK(landed->tag == 1001);
  CHECK(landed->place == target.data.data() + offset + 3);
  CHECK(landed->crc32c == write.crc32c);
  CHECK(equal(landed->payload, sent));
  CHECK(equal(std::span(target.data).first(offset + 3), std::span(before).first(offset + 3)));
  CHECK(equal(std::span(target.data).subspan(offset + 3 + length), std::span(before).subspan(offset + 3 + length)));

  Operation read = operation(Op::read, 2, back, offset, grant.remote, offset + 3, length);
  read.crc32c = 0;
  REQUIRE(pair.a.transport->post(pair.at_a, {&read, 1}, Side::now()) == 1);
  REQUIRE(pair.run_until([&] { return pair.a.completed(2) != nullptr; }));
  CHECK(pair.a.completed(2)->status.ok());
  CHECK(pair.a.completed(2)->crc32c == base::crc32c(sent));
  CHECK(equal({back.data.data() + offset, length}, sent));
  pair.b.transport->revoke(pair.at_b, grant.id, Side::now());
  REQUIRE(pair.run_until([&] { return pair.b.find(Event::Kind::revoked, grant.id) != nullptr; }));
}

}  // namespace

TEST_CASE("tcp: writes and reads carry every byte to its place", "[tcp]") {
  const Io io = GENERATE(from_range(haul::test::ways_of_io()));
  Pair pair(io);
  const std::vector<uint32_t> sizes = {
      1, 2, 63, 64, 255, 256, 4096, 16383, 16384, 16385, 65535, 65536, 1U << 20, (1U << 20) + 1, 3U << 20, 4U << 20};
  for (const uint32_t size : sizes) write_and_read(pair, size, size % 61);
}

TEST_CASE("tcp: many operations of mixed sizes at once", "[tcp]") {
  const Io io = GENERATE(from_range(haul::test::ways_of_io()));
  Pair pair(io);
  constexpr size_t space = 8U << 20;
  Memory source(pair.a, space, 1);
  Memory target(pair.b, space, 2);
  const LocalGrant grant = grant_all(pair.b, pair.at_b, target);
  base::Random random(3);
  std::vector<Operation> operations;
  uint64_t offset = 0;
  while (offset < space) {
    const uint64_t wanted = random.chance(0.1) ? 1 + random.below(1U << 20) : 1 + random.below(4096);
    const auto length = static_cast<uint32_t>(std::min<uint64_t>(wanted, space - offset));
    operations.push_back(operation(Op::write, operations.size(), source, offset, grant.remote, offset, length));
    offset += length;
  }
  std::span<const Operation> left(operations);
  REQUIRE(pair.run_until([&] {
    left = left.subspan(pair.a.transport->post(pair.at_a, left, Side::now()));
    return pair.a.count(Event::Kind::completed) == operations.size();
  }));
  CHECK(target.data == source.data);
  for (const Seen& event : pair.a.seen) CHECK(event.status.ok());
}

TEST_CASE("tcp: 256 scattered small writes are few frames and few answers", "[tcp]") {
  const Io io = GENERATE(from_range(haul::test::ways_of_io()));
  Pair pair(io);
  constexpr uint32_t piece = 1024;
  constexpr size_t pieces = 256;
  Memory source(pair.a, pieces * piece * 2, 1);
  Memory target(pair.b, pieces * piece * 2, 2);
  const LocalGrant grant = grant_all(pair.b, pair.at_b, target);
  std::vector<Operation> operations;
  for (size_t i = 0; i < pieces; ++i)
    operations.push_back(operation(Op::write, i, source, i * 2 * piece, grant.remote, i * 2 * piece, piece));
  const uint64_t before_a = pair.a.transport->sample(pair.at_a).bytes_received;
  const uint64_t before_b = pair.b.transport->sample(pair.at_b).bytes_received;
  REQUIRE(pair.a.transport->post(pair.at_a, operations, Side::now()) == pieces);
  REQUIRE(pair.run_until([&] { return pair.a.count(Event::Kind::completed) == pieces; }));
  for (size_t i = 0; i < pieces; ++i) {
    const std::span<const std::byte> from(source.data.data() + i * 2 * piece, piece);
    CHECK(equal({target.data.data() + i * 2 * piece, piece}, from));
  }
  // What arrived: the kernel may have sent some of it twice.
  const uint64_t sent_a = pair.b.transport->sample(pair.at_b).bytes_received - before_b;
  const uint64_t sent_b = pair.a.transport->sample(pair.at_a).bytes_received - before_a;
  constexpr size_t bundles = 5;
  CHECK(sent_a <= pieces * (piece + tcp::wire::Record::write_bytes) + bundles * tcp::wire::header_bytes);
  CHECK(sent_b <= 2048);
}

TEST_CASE("tcp: messages arrive whole and in order", "[tcp]") {
  const Io io = GENERATE(from_range(haul::test::ways_of_io()));
  Pair pair(io);
  base::Random random(7);
  std::vector<std::vector<std::byte>> sent;
  for (size_t i = 0; i < 300; ++i) {
    const uint64_t size = i % 50 == 0 ? pair.a.transport->capabilities().max_message_bytes : 1 + random.below(700);
    random.fill(sent.emplace_back(size));
  }
  size_t next = 0;
  bool refused = false;
  REQUIRE(pair.run_until([&] {
    while (next < sent.size() && pair.a.transport->send(pair.at_a, sent[next], Side::now())) ++next;
    refused = refused || next < sent.size();
    return pair.b.count(Event::Kind::message) == sent.size();
  }));
  size_t index = 0;
  for (const Seen& event : pair.b.seen) {
    if (event.kind == Event::Kind::message) CHECK(equal(event.payload, sent[index++]));
  }
}

TEST_CASE("tcp: a span of one event delivers all of them, messages unharmed", "[tcp]") {
  const Io io = GENERATE(from_range(haul::test::ways_of_io()));
  Pair pair(io);
  std::vector<std::vector<std::byte>> sent;
  base::Random random(9);
  for (size_t i = 0; i < 40; ++i) {
    random.fill(sent.emplace_back(16384));
    while (!pair.a.transport->send(pair.at_a, sent.back(), Side::now())) {
      Event event;
      pair.a.transport->poll(Side::now(), NextPoll::when_woken, {&event, 1});
      if (pair.b.transport->poll(Side::now(), NextPoll::when_woken, {&event, 1}) == 1 && event.kind == Event::Kind::message) {
        pair.b.seen.push_back({event.kind, 0, 0, 0, {event.payload.begin(), event.payload.end()}, nullptr, {}, {}});
      }
    }
  }
  REQUIRE(run({&pair.a}, [&] {
    Event event;
    if (pair.b.transport->poll(Side::now(), NextPoll::when_woken, {&event, 1}) == 1 && event.kind == Event::Kind::message) {
      pair.b.seen.push_back({event.kind, 0, 0, 0, {event.payload.begin(), event.payload.end()}, nullptr, {}, {}});
    }
    return pair.b.count(Event::Kind::message) == sent.size();
  }));
  size_t index = 0;
  for (const Seen& event : pair.b.seen) {
    if (event.kind == Event::Kind::message) CHECK(equal(event.payload, sent[index++]));
  }
}

TEST_CASE("tcp: what no grant allows is refused and touches nothing", "[tcp]") {
  const Io io = GENERATE(from_range(haul::test::ways_of_io()));
  const uint32_t length = GENERATE(100U, 100000U);
  const int number = GENERATE(0, 1, 2, 3, 4, 5, 6);
  CAPTURE(number);
  Pair pair(io);
  Memory local(pair.a, 200000, 1);
  Memory target(pair.b, 150000, 2);
  const std::vector<std::byte> before = target.data;
  const LocalGrant writable = grant_all(pair.b, pair.at_b, target, Rights::write);
  const LocalGrant readable = grant_all(pair.b, pair.at_b, target, Rights::read);
  RemoteRegion forged = writable.remote;
  forged.data[15] ^= std::byte{1};
  const std::vector<Operation> wrong = {
      operation(Op::write, 9, local, 0, forged, 0, length),
      operation(Op::write, 9, local, 0, readable.remote, 0, length),
      operation(Op::read, 9, local, 0, writable.remote, 0, length),
      operation(Op::write, 9, local, 0, writable.remote, 150000 - length + 1, length),
      operation(Op::write, 9, local, 0, writable.remote, ~uint64_t{0} - 10, length),
      operation(Op::read, 9, local, 0, readable.remote, ~uint64_t{0} - length + 1, length),
      operation(Op::write, 9, local, 0, writable.remote, 0, length),
  };
  const bool revoked = number == 6;  // what was on its way is not the peer's fault
  if (revoked) pair.b.transport->revoke(pair.at_b, writable.id, Side::now());
  REQUIRE(pair.a.transport->post(pair.at_a, {&wrong[static_cast<size_t>(number)], 1}, Side::now()) == 1);
  REQUIRE(pair.run_until([&] { return pair.a.completed(9) != nullptr; }));
  CHECK(pair.a.completed(9)->status.code() == StatusCode::refused);
  CHECK(pair.b.count(Event::Kind::landed) == 0);
  CHECK(target.data == before);
  if (revoked) {
    CHECK(pair.b.find(Event::Kind::revoked, writable.id) != nullptr);
    write_and_read(pair, length, 1);  // the connection still works
    return;
  }
  REQUIRE(pair.run_until([&] { return pair.b.count(Event::Kind::closed) == 1; }));
  for (const auto& seen : pair.b.seen) {
    if (seen.kind == Event::Kind::closed) CHECK(seen.status.code() == StatusCode::refused);
  }
}

TEST_CASE("tcp: operations that are wrong in themselves complete as invalid", "[tcp]") {
  Pair pair(GENERATE(from_range(haul::test::ways_of_io())));
  Memory local(pair.a, 1000, 1);
  Memory target(pair.b, 1000, 2);
  const LocalGrant grant = grant_all(pair.b, pair.at_b, target);
  RemoteRegion foreign = grant.remote;
  foreign.size = 12;
  const std::vector<Operation> wrong = {
      operation(Op::write, 0, local, 0, grant.remote, 0, 0), operation(Op::write, 1, local, 1, grant.remote, 0, 1000),
      operation(Op::read, 2, local, ~uint64_t{0}, grant.remote, 0, 2), operation(Op::write, 3, local, 0, foreign, 0, 10),
      operation(Op::write, 4, local, 0, grant.remote, 0, (4U << 20) + 1)};
  REQUIRE(pair.a.transport->post(pair.at_a, wrong, Side::now()) == wrong.size());
  REQUIRE(pair.run_until([&] { return pair.a.count(Event::Kind::completed) == wrong.size(); }));
  for (uint64_t id = 0; id < wrong.size(); ++id) CHECK(pair.a.completed(id)->status.code() == StatusCode::invalid);
}

TEST_CASE("tcp: an answer other than ok reaches the writer", "[tcp]") {
  Pair pair(GENERATE(from_range(haul::test::ways_of_io())));
  Memory local(pair.a, 100000, 1);
  Memory target(pair.b, 100000, 2);
  const LocalGrant grant = grant_all(pair.b, pair.at_b, target);
  pair.b.answer = Status(StatusCode::corrupt, "the checksum does not match");
  const std::vector<Operation> operations = {operation(Op::write, 0, local, 0, grant.remote, 0, 10),
                                             operation(Op::write, 1, local, 0, grant.remote, 0, 100000)};
  REQUIRE(pair.a.transport->post(pair.at_a, operations, Side::now()) == 2);
  REQUIRE(pair.run_until([&] { return pair.a.count(Event::Kind::completed) == 2; }));
  CHECK(pair.a.completed(0)->status.code() == StatusCode::corrupt);
  CHECK(pair.a.completed(1)->status.code() == StatusCode::corrupt);
}

TEST_CASE("tcp: answers may come in any order", "[tcp]") {
  Pair pair(GENERATE(from_range(haul::test::ways_of_io())));
  Memory local(pair.a, 1000, 1);
  Memory target(pair.b, 1000, 2);
  const LocalGrant grant = grant_all(pair.b, pair.at_b, target);
  pair.b.answers = false;
  std::vector<Operation> operations;
  for (uint64_t id = 0; id < 10; ++id)
    operations.push_back(operation(Op::write, id, local, id * 10, grant.remote, id * 10, 10));
  REQUIRE(pair.a.transport->post(pair.at_a, operations, Side::now()) == 10);
  REQUIRE(pair.run_until([&] { return pair.b.count(Event::Kind::landed) == 10; }));
  std::vector<uint64_t> ids;
  for (const Seen& event : pair.b.seen) {
    if (event.kind == Event::Kind::landed) ids.push_back(event.id);
  }
  for (const size_t index : {3U, 4U, 9U, 1U, 0U, 2U, 8U, 7U, 6U, 5U})
    pair.b.transport->answer(pair.at_b, ids[index], {}, Side::now());
  pair.b.transport->answer(pair.at_b, ids[0], {}, Side::now());  // a second answer means nothing
  pair.b.transport->answer(pair.at_b, 12345, {}, Side::now());
  REQUIRE(pair.run_until([&] { return pair.a.count(Event::Kind::completed) == 10; }));
  CHECK(target.data[99] == local.data[99]);
}

TEST_CASE("tcp: back-pressure is bounded and ends", "[tcp]") {
  Pair pair(GENERATE(from_range(haul::test::ways_of_io())));
  constexpr uint32_t piece = 1U << 20;
  Memory local(pair.a, piece, 1);
  Memory target(pair.b, piece, 2);
  const LocalGrant grant = grant_all(pair.b, pair.at_b, target);
  const std::vector<Operation> many(64, operation(Op::write, 5, local, 0, grant.remote, 0, piece));
  const size_t taken = pair.a.transport->post(pair.at_a, many, Side::now());
  CHECK(taken >= 1);
  CHECK(taken <= 8);
  // And, for a moment, what the kernel sent before.
  const uint64_t unsent = pair.a.transport->sample(pair.at_a).bytes_unsent;
  CHECK(unsent >= taken * piece);
  CHECK(unsent < (taken + 1) * piece);
  REQUIRE(
      pair.run_until([&] { return pair.a.count(Event::Kind::writable) > 0 && pair.a.count(Event::Kind::completed) == taken; }));
  CHECK(pair.a.transport->post(pair.at_a, std::span(many).first(1), Side::now()) == 1);
  REQUIRE(pair.run_until([&] { return pair.a.count(Event::Kind::completed) == taken + 1; }));

  SECTION("a window holds posts back") {
    pair.a.transport->set_limits(pair.at_a, {.window_bytes = 2 * piece, .rate_bytes_s = {}});
    CHECK(pair.a.transport->post(pair.at_a, many, Side::now()) == 2);
    REQUIRE(pair.run_until([&] { return pair.a.count(Event::Kind::completed) == taken + 3; }));
  }
  SECTION("small operations are limited in number") {
    pair.b.answers = false;
    const std::vector<Operation> small(5000, operation(Op::write, 6, local, 0, grant.remote, 0, 1));
    size_t posted = 0;
    const size_t limit = pair.a.transport->capabilities().max_operations;
    REQUIRE(pair.run_until([&] {
      posted += pair.a.transport->post(pair.at_a, std::span(small).subspan(posted), Side::now());
      return pair.b.count(Event::Kind::landed) == taken + 1 + limit;
    }));
    CHECK(posted == limit);
  }
}

TEST_CASE("tcp: what is queued can be cancelled, what is sent finishes", "[tcp]") {
  Pair pair(GENERATE(from_range(haul::test::ways_of_io())));
  constexpr uint32_t piece = 1U << 20;
  Memory local(pair.a, piece, 1);
  Memory target(pair.b, piece, 2);
  const LocalGrant grant = grant_all(pair.b, pair.at_b, target);
  const std::vector<Operation> two = {operation(Op::write, 1, local, 0, grant.remote, 0, piece),
                                      operation(Op::write, 2, local, 0, grant.remote, 0, piece)};
  REQUIRE(pair.a.transport->post(pair.at_a, two, Side::now()) == 2);
  pair.a.transport->cancel(pair.at_a, 2, Side::now());
  REQUIRE(pair.run_until([&] { return pair.a.count(Event::Kind::completed) == 2; }));
  CHECK(pair.a.completed(1)->status.ok());
  CHECK(pair.a.completed(2)->status.code() == StatusCode::cancelled);
  CHECK(pair.b.count(Event::Kind::landed) == 1);

  REQUIRE(pair.a.transport->post(pair.at_a, std::span(two).first(1), Side::now()) == 1);
  pair.a.seen.clear();
  pair.a.step();  // on its way now
  pair.a.transport->cancel(pair.at_a, 1, Side::now());
  REQUIRE(pair.run_until([&] { return pair.a.count(Event::Kind::completed) == 1; }));
  CHECK(pair.a.completed(1)->status.ok());
}

TEST_CASE("tcp: zero-copy sends carry every byte, and give the memory back", "[tcp]") {
  if (haul::test::skip_without_uring()) return;
  Pair pair(zero_copy_always(), zero_copy_always());
  CHECK(pair.a.transport->describe(pair.at_a).find("zero copy on") != std::string::npos);
  for (const uint32_t size : {100U, 20000U, 32768U, 100001U, 1U << 20, 4U << 20}) write_and_read(pair, size, size % 61);

  constexpr uint32_t piece = 300000;
  Memory source(pair.a, piece * 20, 1);
  Memory target(pair.b, piece * 20, 2);
  const LocalGrant grant = grant_all(pair.b, pair.at_b, target);
  std::vector<Operation> operations;
  for (uint64_t id = 0; id < 20; ++id)
    operations.push_back(operation(Op::write, id, source, id * piece, grant.remote, id * piece, piece));
  SECTION("all of it") {
    std::span<const Operation> left(operations);
    pair.a.seen.clear();
    REQUIRE(pair.run_until([&] {
      left = left.subspan(pair.a.transport->post(pair.at_a, left, Side::now()));
      return pair.a.count(Event::Kind::completed) == operations.size();
    }));
    CHECK(target.data == source.data);
    pair.a.transport->close(pair.at_a, CloseMode::drain, Side::now());
    REQUIRE(pair.run_until([&] { return pair.a.find(Event::Kind::closed) && pair.b.find(Event::Kind::closed); }));
    CHECK(pair.b.find(Event::Kind::closed)->status.ok());
  }
  SECTION("an abort with sends that the peer does not take") {
    pair.a.seen.clear();
    const size_t taken = pair.a.transport->post(pair.at_a, operations, Side::now());
    for (int i = 0; i < 20; ++i) pair.a.step();
    pair.a.transport->close(pair.at_a, CloseMode::abort, Side::now());
    REQUIRE(run({&pair.a}, [&] { return pair.a.find(Event::Kind::closed) != nullptr; }));
    CHECK(pair.a.count(Event::Kind::completed) == taken);
  }
}
