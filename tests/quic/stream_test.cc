// Records through a stream, however packets cut it; which bytes arrived; pieces in flight.
#include "quic/stream.h"

#include <catch2/catch.hpp>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "base/random.h"
#include "quic/coverage.h"
#include "quic/pieces.h"

namespace haul::quic {
namespace {

std::vector<std::byte> pattern(size_t bytes, uint64_t seed) {
  std::vector<std::byte> made(bytes);
  base::Random(seed).fill(made);
  return made;
}

TEST_CASE("records come out as they went in, whatever the cuts", "[quic]") {
  base::Random random(1);
  for (int round = 0; round < 20; ++round) {
    StreamSender sender;
    std::vector<std::vector<std::byte>> sent;
    for (uint64_t i = 0; i < 60; ++i) {
      sent.push_back(pattern(1 + random.below(3000), i));
      sender.put({.type = wire::RecordType::message, .length = static_cast<uint32_t>(sent.back().size())}, sent.back());
    }
    RecordReader reader(4096);
    std::vector<std::vector<std::byte>> received;
    const auto on_record = [&](const wire::Record& record, std::span<const std::byte> payload) {
      CHECK(record.type == wire::RecordType::message);
      received.emplace_back(payload.begin(), payload.end());
      return Status();
    };
    uint64_t offset = 0;
    while (sender.has_unsent()) {
      const auto some = sender.unsent().first(std::min<size_t>(sender.unsent().size(), 1 + random.below(1400)));
      REQUIRE(reader.take(some, on_record).ok());
      sender.sent(some.size());
      offset += some.size();
      if (random.chance(0.3)) sender.acknowledged(offset);
    }
    CHECK(received == sent);
    sender.acknowledged(offset);
    CHECK(sender.all_acknowledged());
    CHECK(sender.held_bytes() == 0);
  }
}

TEST_CASE("what is sent stays where it is until it is acknowledged", "[quic]") {
  StreamSender sender;
  const auto message = pattern(100, 1);
  sender.put({.type = wire::RecordType::message, .length = 100}, message);
  const auto first = sender.unsent();
  const std::vector<std::byte> before(first.begin(), first.end());
  sender.sent(first.size());
  for (int i = 0; i < 1000; ++i) sender.put({.type = wire::RecordType::message, .length = 100}, message);
  CHECK(std::equal(before.begin(), before.end(), first.begin()));
}

TEST_CASE("acknowledgements of what was never sent, and old ones, change nothing", "[quic]") {
  StreamSender sender;
  sender.put({.type = wire::RecordType::message, .length = 4}, pattern(4, 1));
  sender.sent(6);
  sender.acknowledged(7);
  CHECK(sender.held_bytes() == 12);
  sender.acknowledged(5);
  sender.acknowledged(3);
  CHECK(sender.held_bytes() == 7);
}

TEST_CASE("a record above the limit, or of no type, ends the stream", "[quic]") {
  const auto nothing = [](const wire::Record&, std::span<const std::byte>) { return Status(); };
  std::vector<std::byte> head(wire::Record::head_bytes);
  wire::encode({.type = wire::RecordType::message, .length = 101}, head);
  CHECK(RecordReader(100).take(head, nothing).code() == StatusCode::protocol);
  CHECK(RecordReader(101).take(head, nothing).ok());
  head[0] = std::byte{200};
  CHECK(RecordReader(101).take(head, nothing).code() == StatusCode::protocol);
}

TEST_CASE("coverage agrees with a set of numbers", "[quic]") {
  base::Random random(7);
  for (int round = 0; round < 200; ++round) {
    constexpr uint64_t size = 60;
    const uint64_t base = random.below(100);
    Coverage coverage;
    std::set<uint64_t> model;
    for (int step = 0; step < 60; ++step) {
      const uint64_t begin = base + random.below(size);
      const uint64_t end = std::min(base + size, begin + 1 + random.below(8));
      coverage.add(begin, end);
      for (uint64_t i = begin; i < end; ++i) model.insert(i);
      REQUIRE(coverage.covers(base, base + size) == (model.size() == size));
      REQUIRE(coverage.within(base, base + size));
      REQUIRE(coverage.within(*model.begin(), *model.rbegin() + 1));
      REQUIRE_FALSE(coverage.within(*model.begin() + 1, base + size));
      REQUIRE_FALSE(coverage.within(base, *model.rbegin()));
    }
  }
}

TEST_CASE("the fate of a piece is told once", "[quic]") {
  PieceLedger ledger;
  for (uint32_t i = 0; i < 5; ++i) ledger.sent({.reply = false, .sequence = i, .offset = 0, .length = 1}, {});
  CHECK(ledger.next_number() == 5);
  CHECK_FALSE(ledger.finish(5).has_value());
  REQUIRE(ledger.finish(3).has_value());
  CHECK_FALSE(ledger.finish(3).has_value());
  for (const uint64_t number : {0U, 1U, 2U, 4U}) {
    const auto entry = ledger.finish(number);
    REQUIRE(entry.has_value());
    CHECK(entry->id.sequence == number);
  }
  CHECK_FALSE(ledger.finish(0).has_value());
  CHECK(ledger.next_number() == 5);
}

congestion::SentPacket sent_at(int64_t at_ns) {
  congestion::SentPacket packet;
  packet.sent_at = TimePoint(Duration(at_ns));
  return packet;
}

TEST_CASE("pieces that later ones have overtaken long ago are given up, and others are not", "[quic]") {
  PieceLedger ledger;
  for (uint32_t i = 0; i < 8; ++i) ledger.sent({.reply = false, .sequence = i, .offset = 0, .length = 1}, sent_at(i));
  const auto given_up = [&](int64_t until_ns) {
    std::vector<uint64_t> numbers;
    while (const auto entry = ledger.give_up_overtaken(TimePoint(Duration(until_ns)))) numbers.push_back(entry->id.sequence);
    return numbers;
  };
  CHECK_FALSE(ledger.overtaken());
  CHECK(given_up(100).empty());
  REQUIRE(ledger.acknowledged(3).has_value());
  REQUIRE(ledger.acknowledged(4).has_value());
  CHECK(ledger.overtaken());
  CHECK(given_up(1) == std::vector<uint64_t>{0, 1});
  CHECK_FALSE(ledger.acknowledged(1).has_value());  // too late: it is on its way again
  CHECK(given_up(100) == std::vector<uint64_t>{2});
  CHECK_FALSE(ledger.overtaken());
  CHECK_FALSE(ledger.give_up_oldest(TimePoint(Duration(4))).has_value());
  CHECK(ledger.give_up_oldest(TimePoint(Duration(5)))->id.sequence == 5);
  CHECK_FALSE(ledger.acknowledged(99).has_value());  // never sent: overtakes nothing
  CHECK(given_up(100).empty());
  REQUIRE(ledger.acknowledged(7).has_value());
  CHECK(given_up(100) == std::vector<uint64_t>{6});
  CHECK(given_up(100).empty());
  CHECK_FALSE(ledger.give_up_oldest(TimePoint(Duration(100))).has_value());
}

}  // namespace
}  // namespace haul::quic
