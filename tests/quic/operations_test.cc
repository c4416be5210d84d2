// Operations between two ends without any network: pieces reordered, doubled and lost, cancellations, hostile pieces.
#include <algorithm>
#include <catch2/catch.hpp>
#include <deque>
#include <memory>
#include <vector>

#include "base/crc32c.h"
#include "base/random.h"
#include "quic/inbound.h"
#include "quic/outbound.h"
#include "quic/region.h"

namespace haul::quic {
namespace {

constexpr size_t piece_bytes = 500;

Capabilities small_capabilities() {
  Capabilities capabilities;
  capabilities.max_operations = 64;
  capabilities.max_operation_bytes = 100'000;
  return capabilities;
}

struct End {
  Capabilities capabilities = small_capabilities();
  Options options;
  Context context;
  Outbound outbound{context, 1};
  Inbound inbound{context, 1};
  StreamSender stream;
  RecordReader reader{16384};
  Status broken;
  bool answers = true;

  End() {
    context.options = &options;
    context.capabilities = &capabilities;
    wire::Record hello{.type = wire::RecordType::hello};
    hello.credits = 64;
    hello.max_payload_bytes = 100'000;
    outbound.set_peer(hello);
  }
  Status take(std::span<const std::byte> bytes) {
    return reader.take(bytes, [this](const wire::Record& record, std::span<const std::byte> payload) -> Status {
      switch (record.type) {
        case wire::RecordType::write: return inbound.write(record, payload);
        case wire::RecordType::read: return inbound.read(record);
        case wire::RecordType::cancel: return inbound.cancel(record);
        case wire::RecordType::read_data: return outbound.read_data(record, payload);
        case wire::RecordType::answers: return outbound.answered(record.sequence, record.length, record.code);
        default: return {};
      }
    });
  }
  Status take_piece(std::span<const std::byte> bytes) {
    const auto piece = wire::decode_piece(bytes);
    if (!piece.ok()) return piece.status();
    return piece->write ? inbound.piece(*piece) : outbound.piece(*piece);
  }
  std::vector<Event> take_events() {
    auto events = std::exchange(context.events, {});
    for (const Event& event : events) {
      if (event.kind == Event::Kind::landed && answers) inbound.answer(event.id, StatusCode::ok);
    }
    return events;
  }
};

struct Flying {
  PieceId id;
  std::vector<std::byte> bytes;
};

/// x asks, y owns.
struct Scene {
  base::Random random;
  End x;
  End y;
  std::vector<std::byte> source = std::vector<std::byte>(200'000);
  std::vector<std::byte> target = std::vector<std::byte>(200'000);
  Region local{source};
  LocalGrant granted = y.inbound.grant(target, Rights::read_write).value();
  std::deque<Flying> to_y;
  std::deque<Flying> to_x;
  std::vector<Event> at_x;
  std::vector<Event> at_y;

  explicit Scene(uint64_t seed) : random(seed) { random.fill(source); }

  Operation operation(Op op, uint64_t id, uint64_t offset, uint32_t length) {
    Operation made;
    made.op = op;
    made.id = id;
    made.local = &local;
    made.local_offset = offset;
    made.remote = &granted.remote;
    made.remote_offset = offset;
    made.length = length;
    return made;
  }
  void post(const Operation& operation) { REQUIRE(x.outbound.post(std::span(&operation, 1)) == 1); }

  template <typename From>
  void fly(From& from, std::deque<Flying>& to) {
    while (auto piece = from.next_piece(piece_bytes)) put(*piece, to);
  }
  static void put(const OutgoingPiece& piece, std::deque<Flying>& to) {
    Flying flying{.id = piece.id, .bytes = std::vector<std::byte>(wire::Piece::header_bytes(piece.header.write))};
    wire::encode(piece.header, flying.bytes);
    flying.bytes.insert(flying.bytes.end(), piece.header.payload.begin(), piece.header.payload.end());
    to.push_back(std::move(flying));
  }
  static void move_stream(End& from, End& to) {
    while (from.stream.has_unsent()) {
      const auto bytes = from.stream.unsent();
      const Status status = to.take(bytes);
      INFO(status.to_string());
      REQUIRE(status.ok());
      from.stream.sent(bytes.size());
    }
  }
  /// One of the pieces under way, chosen by chance: arrives, arrives twice, or is lost and sent again.
  template <typename From>
  void deliver(std::deque<Flying>& way, End& to, From& from) {
    if (way.empty()) return;
    const size_t place = random.below(way.size());
    const Flying flying = way[place];
    way.erase(way.begin() + static_cast<ptrdiff_t>(place));
    if (random.chance(0.2)) {
      if (auto again = from.piece_again(flying.id)) put(*again, way);
      return;
    }
    REQUIRE(to.take_piece(flying.bytes).ok());
    if (random.chance(0.2)) REQUIRE(to.take_piece(flying.bytes).ok());
    if constexpr (std::is_same_v<From, Inbound>) from.piece_arrived(flying.id);
  }
  void step() {
    x.outbound.frame(x.stream);
    y.inbound.frame(y.stream);
    fly(x.outbound, to_y);
    fly(y.inbound, to_x);
    if (random.chance(0.3)) move_stream(x, y);
    if (random.chance(0.3)) move_stream(y, x);
    for (int i = 0; i < 8; ++i) {
      deliver(to_y, y, x.outbound);
      deliver(to_x, x, y.inbound);
    }
    for (Event& event : x.take_events()) at_x.push_back(std::move(event));
    for (Event& event : y.take_events()) at_y.push_back(std::move(event));
  }
  size_t completed() const {
    return static_cast<size_t>(
        std::count_if(at_x.begin(), at_x.end(), [](const Event& event) { return event.kind == Event::Kind::completed; }));
  }
  std::optional<Status> outcome(uint64_t id) const {
    for (const Event& event : at_x) {
      if (event.kind == Event::Kind::completed && event.id == id) return event.status;
    }
    return {};
  }
};

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

struct PieceOf {
  std::vector<std::byte> bytes;
  PieceOf(bool write, uint64_t sequence, wire::Key key, uint64_t offset, size_t length) {
    wire::Piece piece;
    piece.write = write;
    piece.sequence = static_cast<uint32_t>(sequence & wire::Piece::sequence_mask);
    piece.key = key;
    piece.offset = offset;
    bytes.resize(wire::Piece::header_bytes(write) + length);
    wire::encode(piece, bytes);
  }
};

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
  SECTION("beyond the credits") { CHECK(broken(scene.y.take_piece(PieceOf(true, 64, key, 0, 2).bytes))); }
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
