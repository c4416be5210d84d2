// What a peer that was let in may make this side keep, and what leaves through grants that are gone.
#include <algorithm>
#include <catch2/catch.hpp>
#include <vector>

#include "quic/limits.h"
#include "quic/scene.h"

namespace haul::quic {
namespace {

using test::PieceOf;
using test::Scene;

size_t count(const std::vector<Event>& events, Event::Kind kind) {
  return static_cast<size_t>(
      std::count_if(events.begin(), events.end(), [&](const Event& event) { return event.kind == kind; }));
}

TEST_CASE("single bytes with gaps between take a bounded amount of memory", "[quic]") {
  Scene scene(1);
  const bool writes = GENERATE(true, false);
  CAPTURE(writes);
  const auto key = static_cast<wire::Key>(scene.granted.id);
  auto& side = writes ? scene.y : scene.x;
  constexpr uint64_t operations = 4;
  for (uint64_t i = 0; !writes && i < operations; ++i) scene.post(scene.operation(Op::read, i, 0, 100'000));
  scene.x.outbound.frame(scene.x.stream);
  Status status;
  size_t placed = 0;
  for (uint64_t sequence = 0; sequence < operations; ++sequence) {
    for (uint64_t offset = 0; offset < 100'000 && status.ok(); offset += 2, ++placed) {
      status = side.take_piece(PieceOf(writes, sequence, key, offset, 1).bytes);
    }
  }
  CHECK(status.code() == StatusCode::protocol);
  CHECK(placed <= max_runs_apart + operations + 1);
}

TEST_CASE("gaps of operations that are over do not count", "[quic]") {
  Scene scene(1);
  const auto key = static_cast<wire::Key>(scene.granted.id);
  constexpr uint32_t length = 400;
  const uint64_t operations = 2 * max_runs_apart / (length / 2);
  for (uint64_t i = 0; i < operations; ++i) {
    for (uint64_t offset = 0; offset < length; offset += 2) {
      REQUIRE(scene.y.take_piece(PieceOf(true, i, key, offset, 1).bytes).ok());
    }
    REQUIRE(scene.y.inbound.write({.type = wire::RecordType::write, .length = length, .key = key, .sequence = i}, {}).ok());
    for (uint64_t offset = 1; offset < length; offset += 2) {
      REQUIRE(scene.y.take_piece(PieceOf(true, i, key, offset, 1).bytes).ok());
    }
    REQUIRE(count(scene.y.take_events(), Event::Kind::landed) == 1);
    scene.y.inbound.frame(scene.y.stream);
    const size_t unsent = scene.y.stream.unsent().size();
    scene.y.stream.sent(unsent);
    scene.y.stream.acknowledged(scene.y.stream.end());
  }
}

TEST_CASE("cancellations of what is over are not answered without end", "[quic]") {
  Scene scene(1);
  const auto key = static_cast<wire::Key>(scene.granted.id);
  REQUIRE(scene.y.inbound.read({.type = wire::RecordType::read, .length = 10, .key = key}).ok());
  scene.y.inbound.frame(scene.y.stream);
  const wire::Record cancel{.type = wire::RecordType::cancel, .code = 1};
  Status status;
  size_t answered = 0;
  for (; status.ok() && answered < 10'000; ++answered) status = scene.y.inbound.cancel(cancel);
  CHECK(status.code() == StatusCode::protocol);
  CHECK(answered >= 2 * scene.y.capabilities.max_operations);
  CHECK(answered <= 4 * scene.y.capabilities.max_operations);
}

TEST_CASE("a grant is not gone while what was read through it may be sent again", "[quic]") {
  Scene scene(1);
  const auto key = static_cast<wire::Key>(scene.granted.id);
  const auto other = scene.y.inbound.grant(scene.target, Rights::read).value();
  auto& stream = scene.y.stream;
  REQUIRE(scene.y.inbound.read({.type = wire::RecordType::read, .length = 10, .key = key, .sequence = 0}).ok());
  scene.y.inbound.frame(stream);
  const uint64_t end_of_data = stream.end();
  const wire::Record of_other{
      .type = wire::RecordType::read, .length = 10, .key = static_cast<wire::Key>(other.id), .sequence = 1};
  REQUIRE(scene.y.inbound.read(of_other).ok());
  scene.y.inbound.frame(stream);
  stream.sent(stream.unsent().size());

  scene.y.inbound.revoke(scene.granted.id);
  CHECK(count(scene.y.take_events(), Event::Kind::revoked) == 0);
  stream.acknowledged(end_of_data - 1);
  scene.y.inbound.acknowledged(stream.acknowledged_to());
  CHECK(count(scene.y.take_events(), Event::Kind::revoked) == 0);
  stream.acknowledged(end_of_data);
  scene.y.inbound.acknowledged(stream.acknowledged_to());
  const auto events = scene.y.take_events();
  REQUIRE(count(events, Event::Kind::revoked) == 1);
  CHECK(events.front().id == scene.granted.id);

  stream.acknowledged(stream.end());
  scene.y.inbound.acknowledged(stream.acknowledged_to());
  scene.y.inbound.revoke(other.id);  // all of it arrived: at once
  CHECK(count(scene.y.take_events(), Event::Kind::revoked) == 1);
}

}  // namespace
}  // namespace haul::quic
