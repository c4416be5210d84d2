// Peers that break the tcp framing, stall, or exceed their credit; revokes while bytes are on their way; random bytes.
#include <sys/socket.h>

#include <algorithm>
#include <cstring>

#include "tcp/receiver.h"
#include "tcp/send_batch.h"
#include "tcp_support.h"

using namespace haul;
using namespace haul::tcp::test;
using haul::tcp::Io;
namespace wire = haul::tcp::wire;

namespace {

wire::Key key_of(const LocalGrant& grant) {
  wire::Key key{};
  std::memcpy(key.data(), grant.remote.data.data(), key.size());
  return key;
}

/// A transport with one peer, which is a raw socket past its preface, and a grant for it.
struct Victim {
  explicit Victim(Io io) : side(options_for(io)) {
    auto bound = side.transport->listen({"127.0.0.1", 0});
    REQUIRE(bound.ok());
    address = *bound;
    raw.emplace(RawSocket::connect_to(address));
    raw->send(normal_preface());
    REQUIRE(run({&side}, [&] { return side.find(Event::Kind::accepted) && raw->readable(); }));
    REQUIRE(raw->receive(wire::preface_bytes).size() == wire::preface_bytes);
    connection = side.find(Event::Kind::accepted)->connection;
    memory.emplace(side, size_t{1} << 20, 1);
    grant = grant_all(side, connection, *memory);
  }

  wire::FrameHeader write_header(uint32_t length, uint64_t sequence = 0, uint64_t offset = 0) const {
    wire::FrameHeader header;
    header.type = wire::FrameType::write;
    header.body_bytes = length;
    header.key = key_of(grant);
    header.offset = offset;
    header.sequence = sequence;
    return header;
  }
  Status closed() {
    REQUIRE(run({&side}, [&] { return side.find(Event::Kind::closed) != nullptr; }));
    return side.find(Event::Kind::closed)->status;
  }
  void still_serves() {
    Side other(options_for(Io::epoll));
    auto end = other.transport->open({.address = address}, Side::now());
    REQUIRE(other.transport->join(end->connection, {}, Side::now()).ok());
    CHECK(run({&side, &other}, [&] { return other.find(Event::Kind::connected) != nullptr; }));
  }

  Side side;
  Address address;
  std::optional<RawSocket> raw;
  ConnectionId connection = 0;
  std::optional<Memory> memory;
  LocalGrant grant;
};

/// A bundle with these records.
std::vector<std::byte> bundle_of(const std::vector<std::pair<wire::Record, std::vector<std::byte>>>& records,
                                 uint64_t sequence) {
  tcp::SendBatch batch;
  batch.next_sequence = sequence;
  for (const auto& [record, payload] : records) REQUIRE(batch.record(record, payload, true));
  batch.finish();
  std::vector<std::byte> bytes;
  for (const iovec& part : batch.pending()) {
    const auto* data = static_cast<const std::byte*>(part.iov_base);
    bytes.insert(bytes.end(), data, data + part.iov_len);
  }
  return bytes;
}

}  // namespace

TEST_CASE("tcp wire: what is encoded decodes alike", "[tcp]") {
  wire::Preface preface = normal_preface();
  preface.kind = wire::PrefaceKind::lane;
  preface.token[3] = std::byte{7};
  std::array<std::byte, wire::preface_bytes> raw{};
  wire::encode(preface, raw);
  auto decoded = wire::decode_preface(raw);
  REQUIRE(decoded.ok());
  CHECK(decoded->kind == preface.kind);
  CHECK(decoded->token == preface.token);
  CHECK(decoded->max_payload_bytes == preface.max_payload_bytes);
  CHECK(decoded->max_message_bytes == preface.max_message_bytes);
  CHECK(decoded->credits == preface.credits);
  for (size_t i = 0; i < raw.size(); ++i) {
    raw[i] ^= std::byte{0x40};
    CHECK_FALSE(wire::decode_preface(raw).ok());
    raw[i] ^= std::byte{0x40};
  }

  wire::FrameHeader header;
  header.type = wire::FrameType::write;
  header.has_crc = true;
  header.body_bytes = 12345;
  header.key[15] = std::byte{9};
  header.offset = 1ULL << 40;
  header.tag = 77;
  header.sequence = 88;
  header.crc = 0xdeadbeef;
  wire::encode(header, raw);
  auto again = wire::decode_header(raw);
  REQUIRE(again.ok());
  CHECK(again->type == header.type);
  CHECK(again->has_crc);
  CHECK(again->body_bytes == header.body_bytes);
  CHECK(again->key == header.key);
  CHECK(again->offset == header.offset);
  CHECK(again->tag == header.tag);
  CHECK(again->sequence == header.sequence);
  CHECK(again->crc == header.crc);
  for (size_t i = 0; i < raw.size(); ++i) {
    raw[i] ^= std::byte{0x01};
    CHECK_FALSE(wire::decode_header(raw).ok());
    raw[i] ^= std::byte{0x01};
  }
}

TEST_CASE("tcp: broken frames close the connection as protocol errors", "[tcp]") {
  Victim victim(GENERATE(from_range(haul::test::ways_of_io())));
  SECTION("a damaged header") {
    std::array<std::byte, wire::header_bytes> raw{};
    wire::encode(victim.write_header(100), raw);
    raw[20] ^= std::byte{1};
    victim.raw->send(raw);
  }
  SECTION("operation numbers with a gap") { victim.raw->send(victim.write_header(100, 1)); }
  SECTION("a write above the announced size") { victim.raw->send(victim.write_header((4U << 20) + 1)); }
  SECTION("an answer to nothing") {
    victim.raw->send(bundle_of({{wire::Record{.type = wire::RecordType::answers, .length = 1}, {}}}, 0));
  }
  SECTION("data that was not asked for") {
    wire::FrameHeader header;
    header.type = wire::FrameType::read_data;
    header.body_bytes = 10;
    victim.raw->send(header);
  }
  SECTION("a record that is longer than its bundle") {
    auto bytes = bundle_of({{wire::Record{.type = wire::RecordType::message, .length = 5}, std::vector<std::byte>(5)}}, 0);
    bytes[wire::header_bytes + 4] = std::byte{6};
    victim.raw->send(bytes);
  }
  SECTION("a bundle above its size") {
    wire::FrameHeader header;
    header.body_bytes = wire::max_bundle_bytes + 1;
    victim.raw->send(header);
  }
  SECTION("more unanswered operations than there is credit") {
    victim.side.answers = false;
    constexpr uint64_t count = 5000;
    for (uint64_t sequence = 0; sequence < count; ++sequence) {
      const wire::Record record{.type = wire::RecordType::write, .length = 1, .key = key_of(victim.grant)};
      if (!victim.raw->send(bundle_of({{record, std::vector<std::byte>(1)}}, sequence))) break;
      victim.side.step();
    }
  }
  const Status status = victim.closed();
  CHECK(status.code() == StatusCode::protocol);
  CHECK(status.message().find("127.0.0.1") != std::string_view::npos);
  victim.still_serves();
}

TEST_CASE("tcp: a frame that is cut off is a lost peer", "[tcp]") {
  Victim victim(GENERATE(from_range(haul::test::ways_of_io())));
  victim.raw->send(victim.write_header(100000));
  victim.raw->send(std::vector<std::byte>(50000));
  victim.raw->close();
  CHECK(victim.closed().code() == StatusCode::peer_lost);
  CHECK(victim.side.count(Event::Kind::landed) == 0);
}

TEST_CASE("tcp: a revoke while a stalled peer's bytes are awaited", "[tcp]") {
  Victim victim(GENERATE(from_range(haul::test::ways_of_io())));
  constexpr uint32_t length = 500000;
  constexpr uint32_t before = 200000;
  std::vector<std::byte> payload(length, std::byte{0xaa});
  victim.raw->send(victim.write_header(length));
  victim.raw->send(std::span(payload).first(before));
  REQUIRE(run({&victim.side}, [&] { return victim.memory->data[before - 1] == std::byte{0xaa}; }));
  for (int i = 0; i < 10; ++i) victim.side.step();

  victim.side.transport->revoke(victim.connection, victim.grant.id, Side::now());
  REQUIRE(run({&victim.side}, [&] { return victim.side.find(Event::Kind::revoked, victim.grant.id) != nullptr; }));
  const std::vector<std::byte> at_revoke = victim.memory->data;
  victim.raw->send(std::span(payload).subspan(before));
  REQUIRE(run({&victim.side}, [&] { return victim.raw->readable(); }));
  CHECK(victim.memory->data == at_revoke);
  CHECK(victim.side.count(Event::Kind::landed) == 0);

  const auto answer = victim.raw->receive(wire::header_bytes + wire::Record::answers_bytes);
  REQUIRE(answer.size() == wire::header_bytes + wire::Record::answers_bytes);
  wire::Record record;
  std::span<const std::byte> none;
  REQUIRE(wire::RecordReader(std::span(answer).subspan(wire::header_bytes)).next(record, none).ok());
  CHECK(record.type == wire::RecordType::answers);
  CHECK(record.code == static_cast<uint16_t>(StatusCode::refused));
  CHECK(record.length == 1);

  // The stream goes on behind the discarded payload.
  const LocalGrant fresh = grant_all(victim.side, victim.connection, *victim.memory);
  wire::FrameHeader header = victim.write_header(20000, 1);
  header.key = key_of(fresh);
  victim.raw->send(header);
  victim.raw->send(std::span(payload).first(20000));
  REQUIRE(run({&victim.side}, [&] { return victim.side.count(Event::Kind::landed) == 1; }));
}

TEST_CASE("tcp: a revoke while a read's reply is being sent", "[tcp]") {
  Victim victim(GENERATE(from_range(haul::test::ways_of_io())));
  constexpr uint32_t length = 1U << 20;
  std::vector<std::pair<wire::Record, std::vector<std::byte>>> reads;
  constexpr size_t count = 32;
  for (size_t i = 0; i < count; ++i) {
    reads.push_back({wire::Record{.type = wire::RecordType::read, .length = length, .key = key_of(victim.grant)}, {}});
  }
  victim.raw->send(bundle_of(reads, 0));
  for (int i = 0; i < 100; ++i) victim.side.step();  // the socket is full now, since nobody reads
  victim.side.transport->revoke(victim.connection, victim.grant.id, Side::now());
  CHECK(victim.side.count(Event::Kind::revoked) == 0);

  // Read on: whole replies, then refusals for the rest, and `revoked` once the last reply left.
  size_t replies = 0;
  size_t refused = 0;
  while (replies + refused < count) {
    REQUIRE(run({&victim.side}, [&] { return victim.raw->readable(); }));
    std::vector<std::byte> header;
    while (header.size() < wire::header_bytes) {
      victim.side.step();
      if (!victim.raw->readable()) continue;
      const auto more = victim.raw->receive(1);
      REQUIRE(more.size() == 1);
      header.insert(header.end(), more.begin(), more.end());
    }
    auto frame = wire::decode_header(std::span(header).first<wire::header_bytes>());
    REQUIRE(frame.ok());
    std::vector<std::byte> body;
    while (body.size() < frame->body_bytes) {
      victim.side.step();
      if (!victim.raw->readable()) continue;
      const auto more = victim.raw->receive(std::min<size_t>(4096, frame->body_bytes - body.size()));
      body.insert(body.end(), more.begin(), more.end());
    }
    if (frame->type == wire::FrameType::read_data) {
      ++replies;
      CHECK(body == victim.memory->data);
      continue;
    }
    wire::RecordReader reader(body);
    while (!reader.finished()) {
      wire::Record record;
      std::span<const std::byte> none;
      REQUIRE(reader.next(record, none).ok());
      CHECK(record.code == static_cast<uint16_t>(StatusCode::refused));
      refused += record.length;
    }
  }
  CHECK(refused > 0);
  CHECK(run({&victim.side}, [&] { return victim.side.count(Event::Kind::revoked) == 1; }));
}

TEST_CASE("tcp: a connection that ends revokes without events", "[tcp]") {
  Victim victim(GENERATE(from_range(haul::test::ways_of_io())));
  victim.raw->send(victim.write_header(100000));
  victim.raw->send(std::vector<std::byte>(1000));
  for (int i = 0; i < 10; ++i) victim.side.step();
  victim.side.transport->close(victim.connection, CloseMode::abort, Side::now());
  CHECK(victim.closed().ok());
  CHECK(victim.side.count(Event::Kind::revoked) == 0);
  CHECK(victim.raw->ended());
}

TEST_CASE("tcp: random and mutated bytes never harm", "[tcp][fuzz]") {
  const Io io = GENERATE(from_range(haul::test::ways_of_io()));
  base::Random random(GENERATE(1U, 2U, 3U));
  for (int round = 0; round < 10; ++round) {
    Victim victim(io);
    const std::vector<std::byte> beyond(victim.memory->data);
    uint64_t sequence = 0;
    std::vector<std::byte> stream;
    while (stream.size() < 100000) {
      std::array<std::byte, wire::header_bytes> header{};
      if (random.chance(0.3)) {
        const auto length = static_cast<uint32_t>(1 + random.below(40000));
        wire::encode(victim.write_header(length, sequence++, random.below(1U << 20)), header);
        stream.insert(stream.end(), header.begin(), header.end());
        stream.resize(stream.size() + length);
      } else {
        std::vector<std::pair<wire::Record, std::vector<std::byte>>> records;
        const uint64_t first = sequence;
        for (uint64_t i = 1 + random.below(10); i > 0; --i) {
          wire::Record record{.type = static_cast<wire::RecordType>(1 + random.below(2)),
                              .length = static_cast<uint32_t>(1 + random.below(500)),
                              .key = key_of(victim.grant),
                              .offset = random.below(1U << 20)};
          ++sequence;
          records.push_back({record, std::vector<std::byte>(record.type == wire::RecordType::write ? record.length : 0)});
        }
        const auto bundle = bundle_of(records, first);
        stream.insert(stream.end(), bundle.begin(), bundle.end());
      }
    }
    for (uint64_t flips = random.below(4); flips > 0; --flips)
      stream[random.below(stream.size())] ^= static_cast<std::byte>(1 + random.below(255));
    for (size_t at = 0; at < stream.size();) {
      const size_t piece = std::min<size_t>(stream.size() - at, 1 + random.below(20000));
      if (!victim.raw->send(std::span(stream).subspan(at, piece))) break;
      victim.side.step();
      at += piece;
    }
    victim.raw->close();
    victim.closed();
  }
}

namespace {

/// Accepts every frame, into memory of its own, and checks that the receiver keeps its word.
class AnyFrames final : public tcp::FrameHandler {
 public:
  explicit AnyFrames(base::Random& random) : random_(random) {}
  Result<std::byte*> on_payload_begin(const wire::FrameHeader& header) override {
    if (random_.chance(0.3)) return static_cast<std::byte*>(nullptr);
    payload_.assign(header.body_bytes, std::byte{});
    return payload_.data();
  }
  Status on_payload_end(const wire::FrameHeader&) override { return {}; }
  Status on_bundle(const wire::FrameHeader& header, std::span<const std::byte> body) override {
    bool within = body.size() == header.body_bytes;
    wire::RecordReader reader(body);
    while (!reader.finished()) {
      wire::Record record;
      std::span<const std::byte> payload;
      if (!reader.next(record, payload).ok()) break;
      within = within && payload.data() >= body.data() && payload.data() + payload.size() <= body.data() + body.size();
    }
    CHECK(within);
    return {};
  }
  Status on_close() override { return {}; }

 private:
  base::Random& random_;
  std::vector<std::byte> payload_;
};

/// Frames with sealed headers and random content, a few of them damaged, as an endless stream.
class Frames {
 public:
  explicit Frames(base::Random& random) : random_(random) {}
  void take(std::span<std::byte> out) {
    while (!out.empty()) {
      if (next_ == bytes_.size()) refill();
      const size_t step = std::min(out.size(), bytes_.size() - next_);
      std::memcpy(out.data(), bytes_.data() + next_, step);
      next_ += step;
      out = out.subspan(step);
    }
  }
  size_t count() const { return count_; }

 private:
  void refill() {
    wire::FrameHeader header;
    header.type = static_cast<wire::FrameType>(1 + random_.below(4));
    if (header.type != wire::FrameType::close) {
      header.body_bytes = static_cast<uint32_t>(1 + random_.below(random_.chance(0.5) ? 100 : wire::max_bundle_bytes));
    }
    bytes_.resize(wire::header_bytes + header.body_bytes);
    random_.fill(bytes_);
    wire::encode(header, std::span(bytes_).first<wire::header_bytes>());
    if (random_.chance(0.01)) bytes_[random_.below(bytes_.size())] ^= std::byte{0x10};
    next_ = 0;
    ++count_;
  }
  base::Random& random_;
  std::vector<std::byte> bytes_;
  size_t next_ = 0;
  size_t count_ = 0;
};

}  // namespace

TEST_CASE("tcp receiver: any frames in any pieces", "[tcp][fuzz]") {
  base::Random random(GENERATE(range(1U, 11U)));
  AnyFrames handler(random);
  tcp::Receiver receiver(handler);
  Frames frames(random);
  for (uint64_t poll_number = 1; poll_number < 1000; ++poll_number) {
    std::array<iovec, 2> ranges{};
    const size_t count = receiver.plan(ranges, poll_number);
    REQUIRE(count > 0);
    size_t room = 0;
    for (size_t i = 0; i < count; ++i) room += ranges[i].iov_len;
    REQUIRE(room > 0);
    const size_t got = random.chance(0.5) ? room : 1 + random.below(room);
    size_t left = got;
    for (size_t i = 0; i < count; ++i) {
      const size_t part = std::min(left, ranges[i].iov_len);
      frames.take({static_cast<std::byte*>(ranges[i].iov_base), part});
      left -= part;
    }
    if (!receiver.advance(got).ok()) break;
  }
  CHECK(frames.count() > 0);
}
