// Peers that are let in and break the protocol, and strangers by the dozen.
#include <ngtcp2/ngtcp2.h>

#include <algorithm>
#include <catch2/catch.hpp>
#include <chrono>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "quic/ends.h"
#include "quic/puppet.h"
#include "quic/quic_transport.h"
#include "quic/resolutions.h"

namespace haul::quic {
namespace {

using namespace std::chrono_literals;
using security::test::Folder;
using security::test::Party;
using test::dial;
using test::End;
using test::Puppet;
using test::run;

/// bob listens; alice, whom he knows, is a puppet.
struct Stage {
  Folder folder;
  Party alice{folder, "alice"};
  Party bob{folder, "bob"};
  std::string log;
  std::unique_ptr<End> b;
  uint16_t port = 0;

  explicit Stage(Options options = {}) {
    alice.knows(bob);
    bob.knows(alice);
    options.log = [this](const LogRecord& record) { (log += record.text) += '\n'; };
    b = std::make_unique<End>(&bob, std::move(options));
    const auto address = b->transport->listen({"127.0.0.1", 0});
    REQUIRE(address.ok());
    port = address->port;
  }
  bool move(Puppet& puppet, const std::function<bool()>& until) {
    return run({b.get()}, [&] {
      puppet.move();
      return until();
    });
  }
  void let_in(Puppet& puppet) {
    REQUIRE(move(puppet, [&] { return puppet.handshake_done(); }));
    puppet.hello();
    REQUIRE(move(puppet, [&] { return b->last(Event::Kind::accepted) && !puppet.records().empty(); }));
  }
  size_t connections() const { return static_cast<QuicTransport&>(*b->transport).connections(); }
  std::optional<Status> closed() const {
    const auto event = b->last(Event::Kind::closed);
    return event ? std::optional(event->status) : std::nullopt;
  }
};

TEST_CASE("who uses what was never granted is closed on, even if it acknowledges nothing", "[quic]") {
  Stage stage;
  Puppet puppet(stage.alice, stage.port);
  stage.let_in(puppet);
  puppet.put({.type = wire::RecordType::write, .length = 2000, .key = 12345});
  puppet.move();
  const bool listens = GENERATE(true, false);
  CAPTURE(listens);
  if (listens) {
    CHECK(stage.move(puppet, [&] { return stage.closed().has_value(); }));
    CHECK(std::any_of(puppet.records().begin(), puppet.records().end(),
                      [](const wire::Record& record) { return record.type == wire::RecordType::answers; }));
  } else {
    CHECK(run({stage.b.get()}, [&] { return stage.closed().has_value(); }));
  }
  REQUIRE(stage.closed());
  CHECK(stage.closed()->code() == StatusCode::refused);
}

TEST_CASE("a stream of records that is reset ends the connection", "[quic]") {
  Stage stage;
  Puppet puppet(stage.alice, stage.port);
  stage.let_in(puppet);
  REQUIRE(ngtcp2_conn_shutdown_stream_write(puppet.session().native(), 0, 7) == 0);
  REQUIRE(stage.move(puppet, [&] { return stage.closed().has_value(); }));
  CHECK(stage.closed()->code() == StatusCode::protocol);
}

TEST_CASE("what strangers write as their reason reaches the log as text only", "[quic]") {
  Stage stage;
  Puppet puppet(stage.alice, stage.port);
  REQUIRE(stage.move(puppet, [&] { return puppet.handshake_done(); }));
  const std::string reason = "bye\n\x1b[2Jquic: all is well\xff";
  ngtcp2_connection_close_error error{};
  ngtcp2_connection_close_error_set_transport_error(&error, NGTCP2_INTERNAL_ERROR,
                                                    reinterpret_cast<const uint8_t*>(reason.data()), reason.size());
  std::array<std::byte, 1500> packet{};
  ngtcp2_path_storage path;
  ngtcp2_path_storage_zero(&path);
  ngtcp2_pkt_info info{};
  const auto bytes = ngtcp2_conn_write_connection_close(
      puppet.session().native(), &path.path, &info, reinterpret_cast<uint8_t*>(packet.data()), packet.size(), &error,
      static_cast<ngtcp2_tstamp>(system_clock().now().time_since_epoch().count()));
  REQUIRE(bytes > 0);
  puppet.send(std::span(packet).first(static_cast<size_t>(bytes)));
  REQUIRE(run({stage.b.get()}, [&] { return stage.log.find("bye") != std::string::npos; }));
  INFO(stage.log);
  CHECK(stage.log.find("bye??[2Jquic: all is well?") != std::string::npos);
  CHECK(std::count(stage.log.begin(), stage.log.end(), '\n') == 1);
}

TEST_CASE("strangers who were pushed out take no memory", "[quic]") {
  Options options;
  options.max_unidentified = 4;
  options.retry_from = 1000;
  Stage stage(options);
  std::vector<std::unique_ptr<Puppet>> crowd;
  for (int i = 0; i < 20; ++i) {
    crowd.push_back(std::make_unique<Puppet>(stage.alice, stage.port));
    crowd.back()->move();  // its first packet, and nothing more
    run(
        {stage.b.get()}, [] { return false; }, 2ms);
  }
  CHECK(stage.connections() == 4);
  // The crowd keeps nobody out.
  Puppet puppet(stage.alice, stage.port);
  stage.let_in(puppet);
}

TEST_CASE("nobody opens streams towards the side that dialed", "[quic]") {
  // Two sessions without sockets; the side that was dialed tries.
  const Folder folder;
  const Party bob(folder, "bob");
  const Party alice(folder, "alice");
  alice.knows(bob);
  bob.knows(alice);
  struct Owner final : SessionOwner {
    bool done = false;
    void on_handshake_done() override { done = true; }
    Status on_stream_bytes(std::span<const std::byte>) override { return {}; }
    void on_stream_acknowledged(uint64_t) override {}
    Status on_datagram(std::span<const std::byte>) override { return {}; }
    void on_datagram_acknowledged(uint64_t) override {}
    void on_datagram_lost(uint64_t) override {}
    void on_cid(const Cid&) override {}
    void on_cid_gone(const Cid&) override {}
  };
  Owner owner_x;
  Owner owner_y;
  const Secret secret{};
  const FillRandom random = base::system_random;
  const base::UniqueFd socket(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  const net::Endpoint nowhere = net::local_endpoint(socket.get());
  TimePoint now = system_clock().now();
  const auto setup = [&](bool dials, Owner& owner) {
    auto tls = security::QuicSession::start(dials, (dials ? alice : bob).context(), {});
    REQUIRE(tls.ok());
    return Session::Setup{.local = nowhere,
                          .remote = nowhere,
                          .idle_timeout = 10s,
                          .driven = false,
                          .secret = &secret,
                          .random = &random,
                          .owner = &owner,
                          .tls = std::move(*tls)};
  };
  auto x = Session::dial(setup(true, owner_x), now);
  REQUIRE(x.ok());
  std::unique_ptr<Session> y;
  std::array<std::byte, 1500> packet{};
  for (int i = 0; i < 50 && !(owner_x.done && owner_y.done); ++i) {
    now += 1ms;
    while (const size_t bytes = (*x)->write_rest(packet, now).bytes) {
      const auto written = std::span<const std::byte>(packet).first(bytes);
      if (!y) {
        const auto initial = read_initial(written);
        REQUIRE(initial);
        y = std::move(*Session::accept(setup(false, owner_y), *initial, now));
      }
      y->read(written, 0, nowhere, nowhere, now);
    }
    while (const size_t bytes = y ? y->write_rest(packet, now).bytes : 0) {
      (*x)->read(std::span<const std::byte>(packet).first(bytes), 0, nowhere, nowhere, now);
    }
  }
  REQUIRE((owner_x.done && owner_y.done));
  CHECK((*x)->open_stream());
  CHECK_FALSE(y->open_stream());
}

/// Lanes beside a connection, whose ends come and go.
TEST_CASE("a lane's peer that came and went before its join leaves room for the next", "[quic]") {
  Folder folder;
  const Party alice(folder, "alice");
  const Party bob(folder, "bob");
  alice.knows(bob);
  bob.knows(alice);
  End a(&alice);
  End b(&bob);
  const auto address = b.transport->listen({"127.0.0.1", 0});
  REQUIRE(address.ok());
  const ConnectionId here = dial(a, *address);
  REQUIRE(run({&a, &b}, [&] { return a.last(Event::Kind::connected) && b.last(Event::Kind::accepted); }));
  ConnectOptions passive;
  passive.beside = b.last(Event::Kind::accepted)->connection;
  passive.timeout = 2s;
  const auto end = b.transport->open(passive, system_clock().now());
  REQUIRE(end.ok());
  ConnectOptions active;
  active.address = *address;
  active.beside = here;
  active.timeout = 2s;
  const auto come = [&] {
    const auto opened = a.transport->open(active, system_clock().now());
    REQUIRE(opened.ok());
    REQUIRE(a.transport->join(opened->connection, end->bytes, system_clock().now()).ok());
    return opened->connection;
  };
  const ConnectionId first = come();
  run(
      {&a, &b}, [] { return false; }, 50ms);  // it is there, and waits
  a.transport->close(first, CloseMode::abort, system_clock().now());
  run(
      {&a, &b}, [] { return false; }, 50ms);
  SECTION("the next comes before the join") {
    come();
    run(
        {&a, &b}, [] { return false; }, 50ms);
    REQUIRE(b.transport->join(end->connection, {}, system_clock().now()).ok());
  }
  SECTION("the next comes after the join") {
    REQUIRE(b.transport->join(end->connection, {}, system_clock().now()).ok());
    CHECK_FALSE(b.last(Event::Kind::connected));
    come();
  }
  CHECK(run({&a, &b}, [&] { return b.last(Event::Kind::connected).has_value(); }));
}

}  // namespace
}  // namespace haul::quic
