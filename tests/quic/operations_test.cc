// Operations between two ends without any network: pieces reordered, doubled and lost, cancellations, hostile pieces.
#include <algorithm>
#include <catch2/catch.hpp>
#include <vector>

#include "base/crc32c.h"
#include "quic/scene.h"

namespace haul::quic {
namespace {

using test::PieceOf;
using test::Scene;

TEST_CASE("writes and reads are whole, however their pieces travel", "[quic]") {
  for (uint64_t seed = 1; seed <= 30; ++seed) {
    CAPTURE(seed);
    Scene scene(seed);
    std::vector<Operation> all;
    for (uint64_t i = 0; i < 12; ++i) {
      const auto length = static_cast<uint32_t>(i % 3 == 0 ? 1 + scene.random.below(1024) : 1025 + scene.random.below(9000));
      all.push_back(scene.operation(i % 2 == 0 ? Op::write : Op::read, i, i * 12'000, length));
      if (all.back().op == Op::read) {
        all.back().crc32c = 0;
        scene.random.fill(std::span(scene.target).subspan(i * 12'000, length));
      }
      scene.post(all.back());
    }
    for (int i = 0; i < 5000 && scene.completed() < all.size(); ++i) scene.step();
    REQUIRE(scene.completed() == all.size());
    for (const Operation& each : all) {
      CHECK(scene.outcome(each.id)->ok());
      const auto here = std::span(scene.source).subspan(each.local_offset, each.length);
      CHECK(std::equal(here.begin(), here.end(), scene.target.begin() + static_cast<ptrdiff_t>(each.remote_offset)));
    }
    for (const Event& event : scene.at_x) {
      if (all[event.id].op == Op::write) continue;
      CHECK(event.crc32c == base::crc32c(std::span(scene.target).subspan(all[event.id].remote_offset, all[event.id].length)));
    }
    // What is still under way changes nothing, and leaves nothing behind.
    for (int i = 0; i < 200; ++i) scene.step();
    CHECK(scene.completed() == all.size());
    CHECK(scene.x.outbound.idle());
    CHECK(scene.y.inbound.idle());
    CHECK(scene.x.outbound.unsent_bytes() == 0);
  }
}

TEST_CASE("after a cancellation nothing of an operation is placed any more", "[quic]") {
  for (uint64_t seed = 1; seed <= 30; ++seed) {
    CAPTURE(seed);
    Scene scene(seed);
    for (uint64_t i = 0; i < 8; ++i) scene.post(scene.operation(i % 2 == 0 ? Op::write : Op::read, i, i * 12'000, 9000));
    for (uint64_t i = scene.random.below(12); i > 0; --i) scene.step();
    for (uint64_t i = 0; i < 8; ++i) scene.x.outbound.cancel(i);
    for (int i = 0; i < 3000 && scene.completed() < 8; ++i) scene.step();
    REQUIRE(scene.completed() == 8);
    for (uint64_t i = 0; i < 8; ++i) {
      const StatusCode code = scene.outcome(i)->code();
      CHECK((code == StatusCode::ok || code == StatusCode::cancelled));
    }
    const auto source = scene.source;
    const auto target = scene.target;
    for (int i = 0; i < 200; ++i) scene.step();
    CHECK(scene.source == source);
    CHECK(scene.target == target);
    CHECK(scene.completed() == 8);
    CHECK(scene.y.inbound.idle());
  }
}

TEST_CASE("a revoked grant refuses at once, and what was on its way lands nowhere", "[quic]") {
  Scene scene(3);
  scene.post(scene.operation(Op::write, 0, 0, 9000));
  scene.post(scene.operation(Op::read, 1, 20'000, 9000));
  scene.step();
  scene.y.inbound.revoke(scene.granted.id);
  const auto target = scene.target;
  for (int i = 0; i < 1000 && scene.completed() < 2; ++i) scene.step();
  CHECK(scene.target == target);
  REQUIRE(scene.completed() == 2);
  CHECK(scene.outcome(0)->code() == StatusCode::refused);
  CHECK(scene.y.inbound.misuse().ok());
}

TEST_CASE("pieces of what nobody granted land nowhere, and are noticed", "[quic]") {
  Scene scene(1);
  const auto key = static_cast<wire::Key>(scene.granted.id);
  const auto target = scene.target;
  SECTION("another key") { CHECK(scene.y.take_piece(PieceOf(true, 0, key ^ 1U, 0, 10).bytes).ok()); }
  SECTION("beyond its end") { CHECK(scene.y.take_piece(PieceOf(true, 0, key, scene.target.size() - 9, 10).bytes).ok()); }
  CHECK(scene.target == target);
  CHECK(scene.y.inbound.misuse().code() == StatusCode::refused);
}

TEST_CASE("pieces that break the protocol end the connection", "[quic]") {
  Scene scene(1);
  const auto key = static_cast<wire::Key>(scene.granted.id);
  const wire::Record write{.type = wire::RecordType::write, .length = 2000, .key = key, .offset = 1000};
  const auto broken = [](const Status& status) { return status.code() == StatusCode::protocol; };
  SECTION("outside of an operation that is known") {
    REQUIRE(scene.y.inbound.write(write, {}).ok());
    CHECK(broken(scene.y.take_piece(PieceOf(true, 0, key, 2999, 2).bytes)));
  }
  SECTION("outside of an operation that is told of later") {
    REQUIRE(scene.y.take_piece(PieceOf(true, 0, key, 999, 2).bytes).ok());
    CHECK(broken(scene.y.inbound.write(write, {})));
  }
  SECTION("of one operation under two grants") {
    const auto other = scene.y.inbound.grant(scene.target, Rights::read_write).value();
    REQUIRE(scene.y.take_piece(PieceOf(true, 0, key, 1000, 2).bytes).ok());
    CHECK(broken(scene.y.take_piece(PieceOf(true, 0, static_cast<wire::Key>(other.id), 1002, 2).bytes)));
  }
  SECTION("beyond the credits, of which those of reads come back before their owner knows it") {
    CHECK_FALSE(broken(scene.y.take_piece(PieceOf(true, 127, key, 0, 2).bytes)));
    CHECK(broken(scene.y.take_piece(PieceOf(true, 128, key, 0, 2).bytes)));
  }
  SECTION("for a read that was never asked for") { CHECK(broken(scene.x.take_piece(PieceOf(false, 0, 0, 0, 2).bytes))); }
  SECTION("beyond what was read") {
    scene.post(scene.operation(Op::read, 0, 0, 2000));
    scene.x.outbound.frame(scene.x.stream);
    CHECK(broken(scene.x.take_piece(PieceOf(false, 0, 0, 1999, 2).bytes)));
  }
  SECTION("payload for a write of ours") {
    scene.post(scene.operation(Op::write, 0, 0, 2000));
    scene.x.outbound.frame(scene.x.stream);
    CHECK(broken(scene.x.take_piece(PieceOf(false, 0, 0, 0, 2).bytes)));
  }
}

TEST_CASE("answers that nobody waits for end the connection", "[quic]") {
  Scene scene(1);
  scene.post(scene.operation(Op::write, 0, 0, 2000));
  scene.post(scene.operation(Op::read, 1, 0, 2000));
  scene.x.outbound.frame(scene.x.stream);
  const auto code = [](StatusCode status) { return static_cast<uint16_t>(status); };
  CHECK(scene.x.outbound.answered(2, 1, code(StatusCode::ok)).code() == StatusCode::protocol);
  CHECK(scene.x.outbound.answered(0, 3, code(StatusCode::ok)).code() == StatusCode::protocol);
  CHECK(scene.x.outbound.answered(1, 1, code(StatusCode::ok)).code() == StatusCode::protocol);  // a read, without data
  CHECK(scene.x.outbound.answered(0, 1, 999).code() == StatusCode::protocol);
  REQUIRE(scene.x.outbound.answered(0, 1, code(StatusCode::ok)).ok());
  CHECK(scene.x.outbound.answered(0, 1, code(StatusCode::ok)).code() == StatusCode::protocol);
}

}  // namespace
}  // namespace haul::quic
