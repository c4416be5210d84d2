// Lanes belong to who opened the first one; keys that wear out are renewed under way.
#include <fmt/format.h>

#include "puppet.h"

namespace haul::hostile {
namespace {

std::span<const std::byte> bytes_of(std::string_view text) { return std::as_bytes(std::span(text)); }

/// Alice, played by hand, has a peer at bob and his offer of a lane: the token is in her hand.
struct Offer {
  explicit Offer(tcp::Io io) : bob(parties().bob, with_io(io), {}), address(bob.listen()), alice(parties().alice, bob) {
    alice.greet(address);
    alice.send(engine::LaneOpen{1, "tcp", {}});
    REQUIRE(alice.run_until([&] { return alice.find<engine::LaneAccept>() != nullptr; }));
    endpoint = alice.find<engine::LaneAccept>()->endpoint;
  }
  Host bob;
  Address address;
  Puppet alice;
  std::vector<std::byte> endpoint;
};

TEST_CASE("a lane is added by who opened the first one", "[hostile][lanes]") {
  Offer offer(GENERATE(from_range(haul::test::ways_of_io())));
  const ConnectionId lane = offer.alice.join_lane(offer.endpoint, offer.address);
  REQUIRE(offer.alice.run_until([&] { return offer.alice.connected(lane) && offer.bob.arrived[0].stats().lanes.size() == 2; }));
  CHECK_FALSE(offer.bob.told("another identity"));

  SECTION("its token does not serve a second time") {
    const ConnectionId again = offer.alice.join_lane(offer.endpoint, offer.address);
    REQUIRE(offer.alice.run_until([&] { return offer.alice.ended(again); }));
    CHECK_FALSE(offer.alice.connected(again));
    CHECK(offer.bob.told("nobody expects its lane"));
  }
  SECTION("nor with another number in it") {
    auto other = offer.endpoint;
    other[3] ^= std::byte{1};
    const ConnectionId guessed = offer.alice.join_lane(other, offer.address);
    REQUIRE(offer.alice.run_until([&] { return offer.alice.ended(guessed); }));
    CHECK_FALSE(offer.alice.connected(guessed));
  }
  CHECK(offer.bob.arrived[0].stats().lanes.size() == 2);
  CHECK(offer.bob.closed.empty());
}

TEST_CASE("a lane is not added by another identity, although it has the token", "[hostile][lanes]") {
  Offer offer(GENERATE(from_range(haul::test::ways_of_io())));
  Puppet carol(parties().carol, offer.bob);
  const ConnectionId stolen = carol.join_lane(offer.endpoint, offer.address);
  REQUIRE(carol.run_until([&] { return carol.ended(stolen); }));
  CHECK(offer.bob.told("another identity"));
  CHECK(offer.bob.told(parties().carol.fingerprint.to_string()));
  CHECK(offer.bob.arrived[0].stats().lanes.size() == 1);

  // Alice's peer lives on, and gets another lane.
  CHECK(offer.bob.closed.empty());
  offer.alice.send(engine::LaneClosed{1});
  offer.alice.send(engine::LaneOpen{2, "tcp", {}});
  REQUIRE(offer.alice.run_until([&] { return offer.alice.count<engine::LaneAccept>() == 2; }));
  const ConnectionId lane = offer.alice.join_lane(offer.alice.find<engine::LaneAccept>(1)->endpoint, offer.address);
  REQUIRE(offer.alice.run_until([&] { return offer.alice.connected(lane) && offer.bob.arrived[0].stats().lanes.size() == 2; }));
}

TEST_CASE("more lanes than are allowed are refused", "[hostile][lanes]") {
  EngineOptions options;
  options.max_lanes_per_peer = 3;
  Host bob(parties().bob, with_io(tcp::Io::epoll), options);
  const Address address = bob.listen();
  Puppet alice(parties().alice, bob);
  alice.greet(address);
  for (uint32_t lane = 1; lane <= 3; ++lane) alice.send(engine::LaneOpen{lane, "tcp", {}});
  REQUIRE(alice.run_until([&] { return alice.find<engine::LaneRefuse>() != nullptr; }));
  CHECK(alice.count<engine::LaneAccept>() == 2);
  CHECK(alice.find<engine::LaneRefuse>()->lane == 3);
  CHECK_THAT(alice.find<engine::LaneRefuse>()->reason, Catch::Contains("lanes"));
}

/// Two engines whose keys wear out often.
struct Worn {
  Worn(tcp::Io io, Protection protection, uint32_t lanes, uint32_t max_lanes = 64)
      : bob(parties().bob, transport(io), engine(protection, max_lanes)),
        alice(parties().alice, transport(io), engine(protection, max_lanes)) {
    PeerOptions options;
    options.lanes = lanes;
    to_bob = alice.connect(bob.listen(), options);
    REQUIRE(step_until([&] { return alice.decided() && !bob.arrived.empty(); }));
    INFO(alice.ready.to_string());
    REQUIRE(alice.ready.ok());
  }
  static tcp::Options transport(tcp::Io io) {
    tcp::Options options = with_io(io);
    options.renew_keys_after_bytes = 3 << 20;
    return options;
  }
  static EngineOptions engine(Protection protection, uint32_t max_lanes) {
    EngineOptions options;
    options.protection = protection;
    options.max_lanes_per_peer = max_lanes;
    return options;
  }
  bool step_until(const std::function<bool()>& until) { return run({bob.engine.get(), alice.engine.get()}, until); }
  uint32_t first_lane() const { return to_bob.stats().lanes.at(0).lane; }

  Host bob;
  Host alice;
  Peer to_bob;
};

TEST_CASE("keys are renewed under a transfer, also those of the first lane", "[hostile][lanes]") {
  const auto [io, protection, asked_lanes, max_lanes] = GENERATE(table<tcp::Io, Protection, uint32_t, uint32_t>({
      {tcp::Io::uring, Protection::encrypted, 1, 64},
      {tcp::Io::epoll, Protection::encrypted, 3, 64},
      {tcp::Io::uring, Protection::integrity_only, 2, 2},
      {tcp::Io::epoll, Protection::encrypted, 1, 1},
  }));
  if (io == tcp::Io::uring && haul::test::skip_without_uring()) return;
  const uint32_t lanes = asked_lanes;
  Worn worn(io, protection, lanes, max_lanes);
  constexpr uint64_t bytes = 40 << 20;
  const Buffer source = filled(*worn.alice.engine, bytes, 1);
  const Buffer target = filled(*worn.bob.engine, bytes, 2);
  const Buffer back = filled(*worn.alice.engine, bytes, 3);
  const RemoteBuffer remote = worn.bob.arrived[0].grant(target.slice(), Rights::read_write).value();

  // Numbered messages in both directions meanwhile: each comes once, in order.
  size_t sent_to_bob = 0;
  size_t sent_to_alice = 0;
  const auto say_more = [&] {
    if (worn.to_bob.send(bytes_of(fmt::format("{}", sent_to_bob))).ok()) ++sent_to_bob;
    if (worn.bob.arrived[0].send(bytes_of(fmt::format("{}", sent_to_alice))).ok()) ++sent_to_alice;
  };
  TransferOptions options;
  options.notify = bytes_of("placed");
  const Transfer put = worn.to_bob.put(source.slice(), remote.slice(), options);
  REQUIRE(worn.step_until([&] { return say_more(), put.done(); }));
  INFO(put.status().to_string());
  REQUIRE(put.status().ok());
  CHECK(same(source, target));
  const Transfer get = worn.to_bob.get(back.slice(), remote.slice());
  REQUIRE(worn.step_until([&] { return say_more(), get.done(); }));
  INFO(get.status().to_string());
  REQUIRE(get.status().ok());
  CHECK(same(source, back));

  // The lanes of the beginning are gone, on both sides, and as many as were asked for are there.
  REQUIRE(worn.step_until([&] {
    const auto now = worn.to_bob.stats().lanes;
    return now.size() == lanes && worn.bob.arrived[0].stats().lanes.size() == lanes && now.at(0).lane >= lanes;
  }));
  CHECK(worn.alice.told("control messages moved from lane 0"));
  CHECK(worn.bob.told("control messages moved from lane 0"));
  REQUIRE(worn.step_until(
      [&] { return worn.bob.letters.size() == sent_to_bob + 1 && worn.alice.letters.size() == sent_to_alice; }));
  std::erase(worn.bob.letters, "placed");
  for (size_t i = 0; i < sent_to_bob; ++i) REQUIRE(worn.bob.letters[i] == fmt::format("{}", i));
  for (size_t i = 0; i < sent_to_alice; ++i) REQUIRE(worn.alice.letters[i] == fmt::format("{}", i));
  CHECK(worn.alice.closed.empty());
  CHECK(worn.bob.closed.empty());
  worn.to_bob.close();
  REQUIRE(worn.step_until([&] { return !worn.alice.closed.empty() && !worn.bob.closed.empty(); }));
  CHECK(worn.alice.closed[0].ok());
  CHECK(worn.bob.closed[0].ok());
}

TEST_CASE("keys of a peer that only sends messages are renewed", "[hostile][lanes]") {
  Worn worn(GENERATE(from_range(haul::test::ways_of_io())), Protection::encrypted, 1);
  const std::vector<std::byte> message(8192, std::byte{'m'});
  size_t sent = 0;
  REQUIRE(worn.step_until([&] {
    while (sent < 1200 && worn.to_bob.send(message).ok()) ++sent;
    return worn.bob.letters.size() == 1200;
  }));
  REQUIRE(worn.step_until([&] { return worn.to_bob.stats().lanes.size() == 1 && worn.first_lane() > 0; }));
  CHECK(worn.bob.closed.empty());
}

TEST_CASE("a lane that nobody replaces ends before its keys are used up", "[hostile][lanes]") {
  tcp::Options options = with_io(GENERATE(from_range(haul::test::ways_of_io())));
  options.renew_keys_after_bytes = 1 << 20;
  options.kernel_tls = tcp::KernelTls::off;
  tcp::test::Side bob(options);
  tcp::test::Side alice(options);
  REQUIRE(bob.transport->secure(parties().bob.context(), Protection::encrypted).ok());
  REQUIRE(alice.transport->secure(parties().alice.context(), Protection::encrypted).ok());
  const Address address = bob.transport->listen({"127.0.0.1", 0}).value();
  const ConnectionId at_alice = alice.transport->open({.address = address}, alice.now()).value().connection;
  REQUIRE(alice.transport->join(at_alice, {}, alice.now()).ok());
  REQUIRE(
      tcp::test::run({&bob, &alice}, [&] { return bob.find(Event::Kind::accepted) && alice.find(Event::Kind::connected); }));
  const ConnectionId at_bob = bob.find(Event::Kind::accepted)->connection;
  tcp::test::Memory source(alice, 4 << 20, 1);
  tcp::test::Memory target(bob, 4 << 20, 2);
  const LocalGrant granted = grant_all(bob, at_bob, target);
  uint64_t posted = 0;
  while (!alice.find(Event::Kind::closed) && posted < 100) {
    const Operation write = operation(Op::write, ++posted, source, 0, granted.remote, 0, 4 << 20);
    if (alice.transport->post(at_alice, std::span(&write, 1), alice.now()) == 0) break;
    REQUIRE(tcp::test::run({&bob, &alice}, [&] { return alice.completed(posted) || alice.find(Event::Kind::closed); }));
    std::erase_if(bob.seen, [](const auto& event) { return event.kind == Event::Kind::landed; });
  }
  REQUIRE(tcp::test::run({&bob, &alice}, [&] { return bob.find(Event::Kind::closed) && alice.find(Event::Kind::closed); }));
  CHECK(alice.count(Event::Kind::aging) == 1);
  CHECK(bob.count(Event::Kind::aging) == 1);
  CHECK(posted < 25);
  const Status why = alice.find(Event::Kind::closed)->status.code() == StatusCode::exhausted
                         ? alice.find(Event::Kind::closed)->status
                         : bob.find(Event::Kind::closed)->status;
  CHECK(why.code() == StatusCode::exhausted);
  CHECK_THAT(std::string(why.message()), Catch::Contains("keys"));
}

}  // namespace
}  // namespace haul::hostile
