// Two ends of operations without any network between: pieces reordered, doubled and lost by chance.
#pragma once

#include <algorithm>
#include <catch2/catch.hpp>
#include <deque>
#include <memory>
#include <vector>

#include "base/random.h"
#include "quic/inbound.h"
#include "quic/outbound.h"
#include "quic/region.h"

namespace haul::quic::test {

inline constexpr size_t piece_bytes = 500;

inline Capabilities small_capabilities() {
  Capabilities capabilities;
  capabilities.max_operations = 64;
  capabilities.max_operation_bytes = 100'000;
  return capabilities;
}

struct Side {
  Capabilities capabilities = small_capabilities();
  Options options;
  Context context;
  Outbound outbound{context, 1};
  Inbound inbound{context, 1};
  StreamSender stream;
  RecordReader reader{16384};
  Status broken;
  bool answers = true;

  Side() {
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
  Side x;
  Side y;
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
  static void move_stream(Side& from, Side& to) {
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
  void deliver(std::deque<Flying>& way, Side& to, From& from) {
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

/// A piece as a hostile peer may put it together; its payload is zeros.
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

}  // namespace haul::quic::test
