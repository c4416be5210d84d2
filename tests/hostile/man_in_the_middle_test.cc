// Whatever a man in the middle does to the bytes of a link, nothing wrong is delivered as right, and it ends with a reason.
#include "host.h"
#include "relay.h"

namespace haul::hostile {
namespace {

constexpr uint64_t put_bytes = 600'000;
constexpr uint64_t get_bytes = 200'000;

EngineOptions engine_options(Protection protection) {
  EngineOptions options;
  options.protection = protection;
  options.peer_timeout = 300ms;
  options.keepalive = 75ms;
  options.handshake_timeout = 300ms;
  options.max_attempts = 2;
  return options;
}

tcp::Options transport_options(tcp::Io io) {
  tcp::Options options = with_io(io);
  options.preface_timeout = 250ms;
  return options;
}

/// A connection through the man in the middle: a put with a notification, a get, a farewell.
struct Visit {
  Visit(tcp::Io io, Protection protection, Tampering tampering)
      : bob(parties().bob, transport_options(io), engine_options(protection)),
        alice(parties().alice, transport_options(io), engine_options(protection)),
        relay(bob.listen().port, tampering),
        source(filled(*alice.engine, put_bytes, tampering.seed)),
        back(filled(*alice.engine, get_bytes, 1)),
        target(filled(*bob.engine, put_bytes, 2)) {
    bob.on_peer = [this](Peer peer) {
      const auto granted = peer.grant(target.slice(), Rights::read_write);
      if (granted.ok()) static_cast<void>(peer.send(granted->serialize()));
    };
    bob.on_message = [this](Peer, const Message& message) {
      if (message.notification) ++(same(source, target) ? notified : wrongly_notified);
    };
    alice.on_message = [this](Peer peer, const Message& message) {
      const auto remote = RemoteBuffer::deserialize(message.payload);
      if (!remote.ok() || started) return;
      started = true;
      TransferOptions options;
      options.notify = std::as_bytes(std::span("placed"));
      options.on_done = [this, peer, remote = *remote](const TransferResult& result) mutable {
        put = result.status;
        tampered_early = relay.tampered();
        TransferOptions reading;
        reading.on_done = [this](const TransferResult& read) { get = read.status; };
        peer.get(back.slice(), remote.slice(0, get_bytes), std::move(reading));
      };
      peer.put(source.slice(), remote->slice(), std::move(options));
    };
    options.connect_timeout = 300ms;
  }

  bool step_until(const std::function<bool()>& until) {
    return run({bob.engine.get(), alice.engine.get()}, until, patience, [this] { relay.step(); });
  }
  /// False: something hangs.
  bool whole_visit() {
    Peer peer = alice.connect({"127.0.0.1", relay.port()}, options);
    if (!step_until([&] { return alice.decided(); })) return false;
    if (!alice.ready.ok()) return step_until([&] { return bob.closed.size() == bob.arrived.size(); });
    if (!step_until([&] { return get.has_value() || !alice.closed.empty(); })) return false;
    peer.close();
    return step_until([&] { return !alice.closed.empty() && bob.closed.size() == bob.arrived.size(); });
  }
  bool unharmed() const {
    const bool left_well = std::all_of(bob.closed.begin(), bob.closed.end(), [](const Status& status) { return status.ok(); });
    return alice.ready.ok() && alice.closed.size() == 1 && alice.closed[0].ok() && left_well && bob.closed.size() == 1;
  }

  PeerOptions options;
  Host bob;
  Host alice;
  Relay relay;
  Buffer source;
  Buffer back;
  Buffer target;
  bool started = false;
  int notified = 0;
  int wrongly_notified = 0;
  std::optional<Status> put;
  std::optional<Status> get;
  bool tampered_early = false;  // so that the get had yet to come, in both directions
};

/// What must hold however it went.
void check_truth(const Visit& visit) {
  if (visit.put && visit.put->ok()) CHECK(same(visit.source, visit.target));
  if (visit.get && visit.get->ok()) CHECK(same(visit.back, visit.target));
  CHECK(visit.wrongly_notified == 0);
  CHECK(visit.notified <= 1);
  for (const auto* end : {&visit.put, &visit.get}) {
    if (*end && !(*end)->ok()) CHECK_FALSE((*end)->message().empty());
  }
  if (!visit.alice.ready.ok()) CHECK_FALSE(visit.alice.ready.message().empty());
  for (const auto* ends : {&visit.alice.closed, &visit.bob.closed}) {
    for (const Status& status : *ends) CHECK((status.ok() || !status.message().empty()));
  }
}

struct Way {
  tcp::Io io;
  Protection protection;
};

const std::vector<Way>& ways() {
  static const std::vector<Way> all = [] {
    std::vector<Way> made;
    for (const Protection protection : {Protection::encrypted, Protection::integrity_only}) {
      for (const tcp::Io io : haul::test::ways_of_io()) made.push_back({io, protection});
    }
    return made;
  }();
  return all;
}

TEST_CASE("a man in the middle who only listens changes nothing", "[hostile][mitm]") {
  for (const auto& [io, protection] : ways()) {
    Visit visit(io, protection, {});
    visit.options.connect_timeout = 10s;
    REQUIRE(visit.whole_visit());
    INFO(visit.alice.ready.to_string());
    CHECK(visit.unharmed());
    REQUIRE((visit.put && visit.get));
    CHECK(visit.put->ok());
    CHECK(visit.get->ok());
    CHECK(visit.notified == 1);
    check_truth(visit);
  }
}

/// Seeds walk over every kind of tampering in both directions; the record is one of the handshake, of the two prefaces, of the
/// data or of the farewell in turn.
TEST_CASE("a man in the middle is detected whatever he does", "[hostile][mitm]") {
  constexpr uint64_t seeds = 36;  // of which each way gets two of the four phases
  size_t tampered = 0;
  size_t early = 0;
  for (size_t way = 0; way < ways().size(); ++way) {
    Visit undisturbed(ways()[way].io, ways()[way].protection, {});
    undisturbed.options.connect_timeout = 10s;
    REQUIRE(undisturbed.whole_visit());
    base::Random random(way + 1);
    for (uint64_t seed = 0; seed < seeds; ++seed) {
      const bool to_server = seed / all_kinds.size() % 2 == 0;
      const size_t records = undisturbed.relay.records(to_server);
      constexpr size_t set_up = 8;  // records of the handshake and the preface, or a few more
      REQUIRE(records > set_up + 4);
      const std::array<size_t, 4> phases = {random.below(set_up), set_up + random.below(records - set_up), records - 1,
                                            random.below(records)};
      const Tampering tampering{all_kinds[seed % all_kinds.size()], to_server,
                                phases[(seed / (2 * all_kinds.size()) + 2 * way) % 4], seed};
      CAPTURE(way, to_string(tampering.kind), to_server, tampering.record, seed);
      Visit visit(ways()[way].io, ways()[way].protection, tampering);
      REQUIRE(visit.whole_visit());
      check_truth(visit);
      if (!visit.relay.tampered()) continue;
      ++tampered;
      if (visit.put && !visit.tampered_early) continue;
      ++early;
      CHECK_FALSE(visit.unharmed());
    }
  }
  CHECK(tampered > ways().size() * seeds / 2);
  CHECK(early > ways().size() * seeds / 3);
}

/// Bob would accept a plain link, alice would not; a man in the middle says in her name that she does.
TEST_CASE("a downgrade by a man in the middle is detected", "[hostile][mitm]") {
  const tcp::Io io = GENERATE(from_range(haul::test::ways_of_io()));
  const bool forges = GENERATE(true, false);
  const std::string offered = "\x10haul/1-integrity\x06haul/1";
  const std::string forged = "\x0chaul/1-plain\x0ahaul/1-xxx";
  REQUIRE(offered.size() == forged.size());
  Host bob(parties().bob, transport_options(io), engine_options(Protection::plain));
  Host alice(parties().alice, transport_options(io), engine_options(Protection::integrity_only));
  bool found = false;
  Relay relay(bob.listen().port, Tampering{.to_server = true, .record = 0}, [&](std::vector<std::byte>& record) {
    const auto words = std::as_bytes(std::span(offered));
    const auto at = std::search(record.begin(), record.end(), words.begin(), words.end());
    found = at != record.end();
    if (found && forges) std::ranges::copy(std::as_bytes(std::span(forged)), at);
  });
  const Peer peer = alice.connect({"127.0.0.1", relay.port()});
  REQUIRE(run(
      {bob.engine.get(), alice.engine.get()}, [&] { return alice.decided(); }, patience, [&] { relay.step(); }));
  CHECK(found);
  INFO(alice.ready.to_string());
  CHECK(alice.ready.ok() == !forges);
  if (!forges) CHECK_THAT(peer.explain(), Catch::Contains("integrity only"));
  CHECK_FALSE((forges && alice.ready.message().empty()));
  CHECK(bob.arrived.empty() == forges);
}

}  // namespace
}  // namespace haul::hostile
