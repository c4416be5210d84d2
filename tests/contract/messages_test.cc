// Contract: messages come in order, whole and once; a notification comes after all of its transfer, and only then.
#include "contract/fixture.h"

namespace haul::contract {
namespace {

constexpr uint64_t KiB = 1024;

BACKEND_TEST_CASE("messages come in order, whole and once", "[contract][messages]") {
  const auto made = backend.make();
  Harness& harness = *made;
  Pair pair = harness.connected_pair();
  std::vector<std::vector<std::byte>> sent;
  for (uint64_t i = 0; i < 300; ++i) {
    std::vector<std::byte> message(1 + harness.random().below(8192));
    fill_pattern(message, i);
    Status status(StatusCode::busy, "");
    REQUIRE(harness.run([&] {
      status = pair.to_b.send(message);
      return status.code() != StatusCode::busy;
    }));
    INFO(status.to_string());
    REQUIRE(status.ok());
    sent.push_back(std::move(message));
  }
  REQUIRE(harness.run([&] { return pair.b.inbox.letters.size() >= sent.size(); }));
  harness.run_for(5ms);
  REQUIRE(pair.b.inbox.letters.size() == sent.size());
  for (size_t i = 0; i < sent.size(); ++i) {
    REQUIRE(pair.b.inbox.letters[i].payload == sent[i]);
    REQUIRE_FALSE(pair.b.inbox.letters[i].notification);
    REQUIRE(pair.b.inbox.letters[i].peer == pair.to_a.id());
  }
}

BACKEND_TEST_CASE("messages of a wrong size are invalid", "[contract][messages]") {
  const auto made = backend.make();
  Harness& harness = *made;
  Pair pair = harness.connected_pair();
  const std::vector<std::byte> long_message(harness.options().max_message_bytes + 1);
  CHECK(pair.to_b.send(long_message).code() == StatusCode::invalid);
  CHECK(pair.to_b.send(std::span(long_message).first(long_message.size() - 1)).ok());
  REQUIRE(harness.run([&] { return pair.b.inbox.letters.size() == 1; }));
  CHECK(pair.to_b.send({}).ok());  // nothing to say is a message too
  REQUIRE(harness.run([&] { return pair.b.inbox.letters.size() == 2; }));
  CHECK(pair.b.inbox.letters[1].payload.empty());
}

BACKEND_TEST_CASE("a full send queue answers busy and loses nothing", "[contract][messages]") {
  const auto made = backend.make();
  Harness& harness = *made;
  EngineOptions options = harness.options();
  options.max_queued_messages = 16;
  Pair pair = harness.connect(harness.start("a", options), harness.start("b"));
  const std::vector<std::byte> message(8000, std::byte{7});
  size_t accepted = 0;
  Status status;
  while (accepted < 100'000 && (status = pair.to_b.send(message)).ok()) ++accepted;
  CHECK(status.code() == StatusCode::busy);
  REQUIRE(harness.run([&] { return pair.b.inbox.letters.size() == accepted; }));
  CHECK(pair.to_b.send(message).ok());
  REQUIRE(harness.run([&] { return pair.b.inbox.letters.size() == accepted + 1; }));
}

BACKEND_TEST_CASE("a reply may be sent from the callback", "[contract][messages]") {
  const auto made = backend.make();
  Harness& harness = *made;
  Pair pair = harness.connected_pair();
  pair.b.inbox.on_message = [](Peer from, const Message& message) { CHECK(from.send(message.payload).ok()); };
  REQUIRE(pair.to_b.send(bytes_of("echo")).ok());
  REQUIRE(harness.run([&] { return !pair.a.inbox.letters.empty(); }));
  CHECK(text_of(pair.a.inbox.letters[0].payload) == "echo");
}

/// Checks the whole target whenever a notification is being delivered.
struct Watch {
  const Buffer& target;
  std::vector<std::byte> expected = {};
  int complete = 0;
  int incomplete = 0;
  std::vector<std::string> texts = {};

  void on(const Message& message) {
    if (!message.notification) return;
    texts.push_back(text_of(message.payload));
    ++(same(target.bytes(), expected) ? complete : incomplete);
  }
};

void check_notified_put(const Backend& backend, uint32_t lanes, size_t count, uint64_t slot_bytes, Integrity integrity) {
  CAPTURE(lanes, count, slot_bytes);
  const auto made = backend.make();
  Harness& harness = *made;
  EngineOptions options = harness.options();
  options.integrity = integrity;
  PeerOptions peer_options;
  peer_options.lanes = lanes;
  Pair pair = harness.connect(harness.start("a", options), harness.start("b", options), peer_options);
  const Buffer target = allocate(pair.b, count * slot_bytes);
  const RemoteBuffer remote = grant(pair.to_a, target.slice());
  Watch watch{target};
  pair.b.inbox.on_message = [&watch](Peer, const Message& message) { watch.on(message); };
  for (uint64_t round = 0; round < 4; ++round) {
    const Buffer source = allocate_filled(pair.a, count * slot_bytes, round);
    watch.expected = copy_of(source);
    std::vector<Piece> pieces;
    for (size_t i = 0; i < count; ++i)
      pieces.push_back({source.slice(i * slot_bytes, slot_bytes), remote.slice(i * slot_bytes, slot_bytes)});
    TransferOptions transfer_options;
    transfer_options.notify = bytes_of("placed");
    const Transfer put = pair.to_b.put_batch(pieces, transfer_options);
    finish_ok(harness, put);
    REQUIRE(harness.run([&] { return watch.texts.size() > round; }));
  }
  harness.run_for(5ms);
  CHECK(watch.complete == 4);
  CHECK(watch.incomplete == 0);
  CHECK(watch.texts == std::vector<std::string>(4, "placed"));
}

BACKEND_TEST_CASE("a notification comes after all is placed", "[contract][messages]") {
  check_notified_put(backend, 1, 1, 3'000'000, Integrity::crc32c);
  check_notified_put(backend, 1, 2000, 900, Integrity::crc32c);
  check_notified_put(backend, 1, 1, 3'000'000, Integrity::off);
}

BACKEND_TEST_CASE("a notification comes after all is placed, over several lanes", "[contract][messages]") {
  check_notified_put(backend, 4, 1, 3'000'000, Integrity::crc32c);
  check_notified_put(backend, 4, 2000, 900, Integrity::crc32c);
  check_notified_put(backend, 3, 500, 17 * KiB, Integrity::crc32c);
  check_notified_put(backend, 4, 2000, 900, Integrity::off);
}

BACKEND_TEST_CASE("a transfer of nothing notifies too", "[contract][messages]") {
  const auto made = backend.make();
  Harness& harness = *made;
  Pair pair = harness.connected_pair();
  const Buffer source = allocate(pair.a, 1);
  const Buffer target = allocate(pair.b, 1);
  const RemoteBuffer remote = grant(pair.to_a, target.slice());
  TransferOptions options;
  options.notify = bytes_of("nothing");
  finish_ok(harness, pair.to_b.put(source.slice(0, 0), remote.slice(0, 0), options));
  finish_ok(harness, pair.to_b.put_batch({}, options));
  REQUIRE(harness.run([&] { return pair.b.inbox.letters.size() == 2; }));
  CHECK(pair.b.inbox.letters[1].notification);
  options.notify = std::span<const std::byte>();
  finish_ok(harness, pair.to_b.put_batch({}, options));
  REQUIRE(harness.run([&] { return pair.b.inbox.letters.size() == 3; }));
  CHECK(pair.b.inbox.letters[2].notification);
  CHECK(pair.b.inbox.letters[2].payload.empty());
}

BACKEND_TEST_CASE("many notified transfers are each told once", "[contract][messages]") {
  const auto made = backend.make();
  Harness& harness = *made;
  PeerOptions peer_options;
  peer_options.lanes = 3;
  Pair pair = harness.connected_pair(peer_options);
  constexpr uint64_t count = 200;
  constexpr uint64_t slot_bytes = 20 * KiB;
  const Buffer source = allocate_filled(pair.a, count * slot_bytes, 1);
  const Buffer target = allocate(pair.b, count * slot_bytes);
  const RemoteBuffer remote = grant(pair.to_a, target.slice());
  std::vector<int> told(count, 0);
  int wrong = 0;
  pair.b.inbox.on_message = [&](Peer, const Message& message) {
    const uint64_t i = std::to_integer<uint64_t>(message.payload[0]);
    ++told.at(i);
    wrong += static_cast<int>(
        !same(target.bytes().subspan(i * slot_bytes, slot_bytes), source.bytes().subspan(i * slot_bytes, slot_bytes)));
  };
  std::vector<Transfer> puts;
  for (uint64_t i = 0; i < count; ++i) {
    const auto number = static_cast<std::byte>(i);
    TransferOptions options;
    options.notify = std::span(&number, 1);
    puts.push_back(pair.to_b.put(source.slice(i * slot_bytes, slot_bytes), remote.slice(i * slot_bytes, slot_bytes), options));
  }
  for (const Transfer& put : puts) finish_ok(harness, put);
  REQUIRE(harness.run([&] { return pair.b.inbox.letters.size() == count; }));
  harness.run_for(5ms);
  CHECK(wrong == 0);
  CHECK(told == std::vector<int>(count, 1));
}

BACKEND_TEST_CASE("a transfer that did not end ok does not notify", "[contract][messages]") {
  const auto made = backend.make();
  Harness& harness = *made;
  Pair pair = harness.connected_pair();
  const Buffer source = allocate_filled(pair.a, 4'000'000, 1);
  const Buffer target = allocate(pair.b, 4'000'000);
  const RemoteBuffer remote = grant(pair.to_a, target.slice());
  for (uint64_t round = 0; round < 20; ++round) {
    TransferOptions options;
    options.notify = bytes_of("placed");
    Transfer put = pair.to_b.put(source.slice(), remote.slice(), options);
    run_rounds(harness, harness.random().below(20));
    const size_t before = pair.b.inbox.letters.size();
    put.cancel();
    const Status status = finish(harness, put);
    if (status.ok()) {
      CHECK(harness.run([&] { return pair.b.inbox.letters.size() == 1; }));
    } else {
      harness.run_for(5ms);
      CHECK(before == 0);
      CHECK(pair.b.inbox.letters.empty());
    }
    pair.b.inbox.letters.clear();
  }
}

BACKEND_TEST_CASE("wrong notifications are invalid", "[contract][messages]") {
  const auto made = backend.make();
  Harness& harness = *made;
  Pair pair = harness.connected_pair();
  const Buffer source = allocate(pair.a, 10);
  const Buffer target = allocate(pair.b, 10);
  const RemoteBuffer remote = grant(pair.to_a, target.slice());
  const std::vector<std::byte> long_message(harness.options().max_message_bytes + 1);
  TransferOptions options;
  options.notify = long_message;
  CHECK(finish(harness, pair.to_b.put(source.slice(), remote.slice(), options)).code() == StatusCode::invalid);
  options.notify = bytes_of("a get tells nobody");
  CHECK(finish(harness, pair.to_b.get(source.slice(), remote.slice(), options)).code() == StatusCode::invalid);
  CHECK(pair.b.inbox.letters.empty());
}

}  // namespace
}  // namespace haul::contract
