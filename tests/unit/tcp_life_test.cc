// How tcp connections begin and end: addresses, failures to connect, closing, lost peers, lanes.
#include <sys/socket.h>

#include <algorithm>
#include <atomic>
#include <thread>

#include "tcp_support.h"

using namespace haul;
using namespace haul::tcp::test;
using haul::tcp::Io;

namespace {

bool has(std::string_view text, std::string_view part) { return text.find(part) != std::string_view::npos; }

ConnectionId start_connecting(Side& side, const Address& address, Duration timeout = patience) {
  auto end = side.transport->open({.address = address, .timeout = timeout}, Side::now());
  REQUIRE(end.ok());
  REQUIRE(side.transport->join(end->connection, {}, Side::now()).ok());
  return end->connection;
}

Status closed_status(Side& side, Duration limit = patience) {
  REQUIRE(run(
      {&side}, [&] { return side.find(Event::Kind::closed) != nullptr; }, limit));
  return side.find(Event::Kind::closed)->status;
}

// A closed port that nobody else is given meanwhile.
Address unused_address(std::optional<RawSocket>& keeper) {
  Address bound;
  RawSocket server = RawSocket::listen_on_loopback(bound);
  keeper.emplace(RawSocket::connect_to(bound));
  return bound;
}

// `closed` is the connection's last event, and every operation completed once.
void check_end(const Side& side, ConnectionId connection, size_t operations) {
  size_t completed = 0;
  bool closed = false;
  for (const Seen& event : side.seen) {
    if (event.connection != connection) continue;
    CHECK_FALSE(closed);
    closed = event.kind == Event::Kind::closed;
    completed += event.kind == Event::Kind::completed ? 1U : 0U;
  }
  CHECK(closed);
  CHECK(completed == operations);
}

struct Loaded : Pair {
  explicit Loaded(Io io) : Pair(io), source(a, 1U << 20, 1), target(b, 1U << 20, 2), grant(grant_all(b, at_b, target)) {
    for (uint64_t id = 0; id < 4; ++id) {
      operations.push_back(
          operation(id % 2 == 0 ? Op::write : Op::read, id, source, id << 18, grant.remote, id << 18, 1U << 18));
    }
    operations.push_back(operation(Op::write, 4, source, 0, grant.remote, 0, 100));
  }
  void post_all() { REQUIRE(a.transport->post(at_a, operations, Side::now()) == operations.size()); }
  Memory source;
  Memory target;
  LocalGrant grant;
  std::vector<Operation> operations;
};

}  // namespace

TEST_CASE("tcp: nobody listens", "[tcp]") {
  const Io io = GENERATE(from_range(haul::test::ways_of_io()));
  Side side(options_for(io));
  std::optional<RawSocket> keeper;
  const Address address = unused_address(keeper);
  start_connecting(side, address);
  const Status status = closed_status(side);
  CHECK(status.code() == StatusCode::unavailable);
  CHECK(status.system_error() == ECONNREFUSED);
  CHECK(has(status.message(), address.to_string()));
}

TEST_CASE("tcp: a name that does not resolve", "[tcp]") {
  const Io io = GENERATE(from_range(haul::test::ways_of_io()));
  Side side(options_for(io));
  start_connecting(side, {"two..dots", 1000});
  const Status status = closed_status(side);
  CHECK(status.code() == StatusCode::unavailable);
  CHECK(has(status.message(), "two..dots"));
  CHECK(has(status.message(), "does not resolve"));
  CHECK(side.transport->listen({"two..dots", 0}).status().code() == StatusCode::unavailable);
}

TEST_CASE("tcp: a connection that is closed while its name is looked up", "[tcp]") {
  Side side(options_for(GENERATE(from_range(haul::test::ways_of_io()))));
  const ConnectionId connection = start_connecting(side, {"localhost", 9});
  side.transport->close(connection, CloseMode::abort, Side::now());
  CHECK(closed_status(side).ok());
}

TEST_CASE("tcp: a peer that accepts and says nothing", "[tcp]") {
  const Io io = GENERATE(from_range(haul::test::ways_of_io()));
  Side side(options_for(io));
  Address address;
  const RawSocket server = RawSocket::listen_on_loopback(address);
  start_connecting(side, address, std::chrono::milliseconds(50));
  const Status status = closed_status(side);
  CHECK(status.code() == StatusCode::timed_out);
  CHECK(has(status.message(), address.to_string()));
}

TEST_CASE("tcp: a server that speaks something else, or another version", "[tcp]") {
  const Io io = GENERATE(from_range(haul::test::ways_of_io()));
  Side side(options_for(io));
  Address address;
  RawSocket server = RawSocket::listen_on_loopback(address);
  start_connecting(side, address);
  REQUIRE(run({&side}, [&] { return server.readable(); }));
  RawSocket peer = server.accept_one();
  std::string expected = "speaks something else";
  SECTION("something else") {
    const std::string text(200, 'x');
    peer.send(std::as_bytes(std::span(text)));
  }
  SECTION("another version") {
    tcp::wire::Preface preface = normal_preface();
    preface.version = 9;
    peer.send(preface);
    expected = "speaks version 9 of haul's TCP framing, this side version 1";
  }
  SECTION("closes at once") {
    expected = "it speaks something else";
    peer.close();
  }
  const Status status = closed_status(side);
  CHECK(status.code() == StatusCode::protocol);
  CHECK(has(status.message(), expected));
  CHECK(has(status.message(), address.to_string()));
}

TEST_CASE("tcp: strangers at a listening port are turned away", "[tcp]") {
  const Io io = GENERATE(from_range(haul::test::ways_of_io()));
  std::vector<std::string> log;
  tcp::Options options = options_for(io);
  options.preface_timeout = std::chrono::milliseconds(50);
  options.max_unidentified = 2;
  options.log = [&log](const LogRecord& record) { log.emplace_back(record.text); };
  Side side(options);
  auto address = side.transport->listen({"127.0.0.1", 0});
  REQUIRE(address.ok());
  RawSocket raw = RawSocket::connect_to(*address);

  SECTION("something else") {
    const std::string text = "GET / HTTP/1.1\r\nHost: localhost\r\nUser-Agent: somebody who took the wrong door\r\n\r\n";
    raw.send(std::as_bytes(std::span(text)));
    REQUIRE(run({&side}, [&] { return raw.readable(); }));
    CHECK(raw.ended());
    REQUIRE(log.size() == 1);
    CHECK(has(log[0], "speaks something else"));
  }
  SECTION("another version gets our preface, so that it can say so too") {
    tcp::wire::Preface preface = normal_preface();
    preface.version = 2;
    raw.send(preface);
    REQUIRE(run({&side}, [&] { return raw.readable(); }));
    const std::vector<std::byte> answer = raw.receive(tcp::wire::preface_bytes);
    REQUIRE(answer.size() == tcp::wire::preface_bytes);
    CHECK(tcp::wire::decode_preface(std::span(answer).first<tcp::wire::preface_bytes>()).ok());
    CHECK(raw.ended());
    REQUIRE(log.size() == 1);
    CHECK(has(log[0], "version 2"));
    CHECK(has(log[0], "version 1"));
  }
  SECTION("silence, by more than have room, until their time is over") {
    RawSocket second = RawSocket::connect_to(*address);
    RawSocket third = RawSocket::connect_to(*address);
    REQUIRE(run({&side}, [&] { return raw.readable() && second.readable() && third.readable(); }));
    CHECK(raw.ended());
    CHECK(third.ended());
  }
  SECTION("a lane that nobody expects") {
    tcp::wire::Preface preface = normal_preface();
    preface.kind = tcp::wire::PrefaceKind::lane;
    raw.send(preface);
    REQUIRE(run({&side}, [&] { return raw.readable(); }));
    CHECK(raw.ended());
  }
  CHECK(side.seen.empty());
  Side other(options_for(io));
  start_connecting(other, *address);
  CHECK(run({&side, &other}, [&] { return other.find(Event::Kind::connected) && side.find(Event::Kind::accepted); }));
}

TEST_CASE("tcp: addresses of every kind", "[tcp]") {
  const Io io = GENERATE(from_range(haul::test::ways_of_io()));
  const auto reaches = [io](const std::string& listen_host, const std::string& connect_host) {
    INFO(listen_host << " from " << connect_host);
    Side a(options_for(io));
    Side b(options_for(io));
    auto bound = b.transport->listen({listen_host, 0});
    INFO(bound.status().to_string());
    REQUIRE(bound.ok());
    CHECK(bound->host == listen_host);
    const ConnectionId connection = start_connecting(a, {connect_host, bound->port});
    REQUIRE(run({&a, &b}, [&] { return a.find(Event::Kind::connected) && b.find(Event::Kind::accepted); }));
    CHECK(has(a.transport->describe(connection), io == Io::uring ? "io_uring" : "epoll"));
    CHECK(has(a.transport->describe(connection), std::to_string(bound->port)));
  };
  reaches("127.0.0.1", "127.0.0.1");
  reaches("127.0.0.1", "localhost");  // where localhost is ::1 too, that one is refused first
  reaches("localhost", "localhost");
  reaches("", "127.0.0.1");
  if (RawSocket::ipv6_works()) {
    reaches("::1", "::1");
    reaches("", "::1");
  }
}

TEST_CASE("tcp: a port in use", "[tcp]") {
  const Io io = GENERATE(from_range(haul::test::ways_of_io()));
  Side a(options_for(io));
  Side b(options_for(io));
  auto first = a.transport->listen({"127.0.0.1", 0});
  REQUIRE(first.ok());
  auto second = b.transport->listen(*first);
  CHECK(second.status().code() == StatusCode::unavailable);
  CHECK(has(second.status().message(), first->to_string()));
}

TEST_CASE("tcp: a drain finishes what was taken, then both sides close cleanly", "[tcp]") {
  Loaded pair(GENERATE(from_range(haul::test::ways_of_io())));
  pair.post_all();
  pair.a.transport->close(pair.at_a, CloseMode::drain, Side::now());
  const std::vector<Operation> late = {pair.operations[0]};
  CHECK(pair.a.transport->post(pair.at_a, late, Side::now()) == 1);
  REQUIRE(pair.run_until([&] { return pair.a.find(Event::Kind::closed) && pair.b.find(Event::Kind::closed); }));
  CHECK(pair.a.find(Event::Kind::closed)->status.ok());
  CHECK(pair.b.find(Event::Kind::closed)->status.ok());
  size_t good = 0;
  for (const Seen& event : pair.a.seen) good += event.kind == Event::Kind::completed && event.status.ok() ? 1U : 0U;
  CHECK(good == pair.operations.size());
  check_end(pair.a, pair.at_a, pair.operations.size() + 1);
}

TEST_CASE("tcp: both sides drain at once", "[tcp]") {
  Pair pair(GENERATE(from_range(haul::test::ways_of_io())));
  pair.a.transport->close(pair.at_a, CloseMode::drain, Side::now());
  pair.b.transport->close(pair.at_b, CloseMode::drain, Side::now());
  REQUIRE(pair.run_until([&] { return pair.a.find(Event::Kind::closed) && pair.b.find(Event::Kind::closed); }));
  CHECK(pair.a.find(Event::Kind::closed)->status.ok());
  CHECK(pair.b.find(Event::Kind::closed)->status.ok());
}

TEST_CASE("tcp: an abort ends everything at once", "[tcp]") {
  Loaded pair(GENERATE(from_range(haul::test::ways_of_io())));
  const int steps = GENERATE(0, 1, 3);
  pair.post_all();
  for (int i = 0; i < steps; ++i) pair.a.step();
  pair.a.transport->close(pair.at_a, CloseMode::abort, Side::now());
  REQUIRE(pair.run_until([&] { return pair.a.find(Event::Kind::closed) && pair.b.find(Event::Kind::closed); }));
  CHECK(pair.a.find(Event::Kind::closed)->status.ok());
  CHECK(pair.b.find(Event::Kind::closed)->status.code() == StatusCode::peer_lost);
  check_end(pair.a, pair.at_a, pair.operations.size());
  for (const Seen& event : pair.a.seen) {
    if (event.kind == Event::Kind::completed && !event.status.ok()) CHECK(event.status.code() == StatusCode::peer_lost);
  }
  pair.a.transport->close(pair.at_a, CloseMode::abort, Side::now());  // unknown now: ignored
  CHECK(pair.a.transport->describe(pair.at_a).empty());
  CHECK(pair.a.transport->post(pair.at_a, pair.operations, Side::now()) == 0);
}

TEST_CASE("tcp: a peer that dies in the middle", "[tcp]") {
  Loaded pair(GENERATE(from_range(haul::test::ways_of_io())));
  const int steps = GENERATE(0, 1, 2, 5);
  pair.post_all();
  for (int i = 0; i < steps; ++i) {
    pair.a.step();
    pair.b.step();
  }
  pair.b.transport.reset();
  REQUIRE(run({&pair.a}, [&] { return pair.a.find(Event::Kind::closed) != nullptr; }));
  CHECK(pair.a.find(Event::Kind::closed)->status.code() == StatusCode::peer_lost);
  CHECK(has(pair.a.find(Event::Kind::closed)->status.message(), pair.address.to_string()));
  check_end(pair.a, pair.at_a, pair.operations.size());
}

TEST_CASE("tcp: transports that go with everything outstanding", "[tcp]") {
  Loaded pair(GENERATE(from_range(haul::test::ways_of_io())));
  const int steps = GENERATE(0, 1, 2, 5);
  pair.post_all();
  pair.a.transport->send(pair.at_a, pair.source.region->bytes().first(100), Side::now());
  for (int i = 0; i < steps; ++i) {
    pair.a.step();
    pair.b.step();
  }
  start_connecting(pair.a, {"localhost", 9});
  pair.a.transport.reset();
  pair.b.transport.reset();
}

TEST_CASE("tcp: lanes find their way by token", "[tcp]") {
  const Io io = GENERATE(from_range(haul::test::ways_of_io()));
  const bool early = GENERATE(false, true);
  const bool towards_listener = GENERATE(true, false);
  Pair pair(io);
  Side& active = towards_listener ? pair.a : pair.b;
  Side& passive = towards_listener ? pair.b : pair.a;
  const ConnectionId beside_active = towards_listener ? pair.at_a : pair.at_b;
  const ConnectionId beside_passive = towards_listener ? pair.at_b : pair.at_a;
  active.seen.clear();
  passive.seen.clear();

  auto waiting = passive.transport->open({.address = {}, .beside = beside_passive}, Side::now());
  REQUIRE(waiting.ok());
  auto going = active.transport->open({.address = Address{}, .beside = beside_active}, Side::now());
  REQUIRE(going.ok());
  if (early) {
    REQUIRE(active.transport->join(going->connection, waiting->bytes, Side::now()).ok());
    for (int i = 0; i < 50; ++i) {
      active.step();
      passive.step();
    }
  }
  REQUIRE(passive.transport->join(waiting->connection, going->bytes, Side::now()).ok());
  if (!early) REQUIRE(active.transport->join(going->connection, waiting->bytes, Side::now()).ok());
  REQUIRE(pair.run_until([&] { return active.find(Event::Kind::connected) && passive.find(Event::Kind::connected); }));
  CHECK(active.find(Event::Kind::connected)->connection == going->connection);
  CHECK(passive.find(Event::Kind::connected)->connection == waiting->connection);

  const std::string text = "over the lane";
  CHECK(passive.transport->send(waiting->connection, std::as_bytes(std::span(text)), Side::now()));
  REQUIRE(pair.run_until([&] { return active.find(Event::Kind::message) != nullptr; }));
  CHECK(active.find(Event::Kind::message)->connection == going->connection);

  // The token is used up.
  auto again = active.transport->open({.address = Address{}, .beside = beside_active}, Side::now());
  REQUIRE(again.ok());
  REQUIRE(active.transport->join(again->connection, waiting->bytes, Side::now()).ok());
  REQUIRE(pair.run_until([&] { return active.find(Event::Kind::closed) != nullptr; }));
  CHECK(active.find(Event::Kind::closed)->status.code() == StatusCode::protocol);
}

TEST_CASE("tcp: lanes that cannot be", "[tcp]") {
  Pair pair(GENERATE(from_range(haul::test::ways_of_io())));
  CHECK(pair.a.transport->open({.address = {}}, Side::now()).status().code() == StatusCode::invalid);
  auto end = pair.a.transport->open({.address = Address{}, .beside = pair.at_a}, Side::now());
  REQUIRE(end.ok());
  const std::vector<std::byte> malformed(17);
  CHECK(pair.a.transport->join(end->connection, malformed, Side::now()).code() == StatusCode::invalid);
  CHECK(pair.a.transport->join(12345, malformed, Side::now()).code() == StatusCode::invalid);
  auto waiting =
      pair.b.transport->open({.address = {}, .timeout = std::chrono::milliseconds(20), .beside = pair.at_b}, Side::now());
  REQUIRE(waiting.ok());
  REQUIRE(pair.b.transport->join(waiting->connection, {}, Side::now()).ok());
  CHECK(closed_status(pair.b).code() == StatusCode::timed_out);
  pair.a.transport->close(end->connection, CloseMode::drain, Side::now());
  CHECK(closed_status(pair.a).ok());
}

TEST_CASE("tcp: transports of one process share an acceptor", "[tcp]") {
  const Io io = GENERATE(from_range(haul::test::ways_of_io()));
  tcp::Options options = options_for(io);
  options.acceptor = tcp::make_acceptor();
  Side client(options_for(io));
  Side first(options);
  Side second(options);
  auto address = second.transport->listen({"127.0.0.1", 0});
  REQUIRE(address.ok());
  start_connecting(client, *address);
  REQUIRE(run({&client, &first, &second}, [&] { return second.find(Event::Kind::accepted) != nullptr; }));
  const ConnectionId beside = start_connecting(client, *address);
  REQUIRE(run({&client, &first, &second},
              [&] { return first.find(Event::Kind::accepted) && client.count(Event::Kind::connected) == 2; }));
  CHECK(second.count(Event::Kind::accepted) == 1);

  // A lane of the one that does not listen itself comes through the other's port.
  auto waiting = first.transport->open({.address = {}, .beside = first.find(Event::Kind::accepted)->connection}, Side::now());
  REQUIRE(waiting.ok());
  CHECK(waiting->bytes[16] == static_cast<std::byte>(address->port & 0xff));
  REQUIRE(first.transport->join(waiting->connection, {}, Side::now()).ok());
  auto going = client.transport->open({.address = Address{}, .beside = beside}, Side::now());
  REQUIRE(client.transport->join(going->connection, waiting->bytes, Side::now()).ok());
  CHECK(run({&client, &first, &second}, [&] { return first.find(Event::Kind::connected) != nullptr; }));
}

TEST_CASE("tcp: waiting on the wake-up descriptor and the deadline is enough", "[tcp]") {
  const Io io = GENERATE(from_range(haul::test::ways_of_io()));
  Loaded pair(io);
  pair.post_all();
  const TimePoint end = Side::now() + patience;
  size_t waits = 0;
  while (pair.a.count(Event::Kind::completed) < pair.operations.size() && Side::now() < end) {
    pair.a.step();
    pair.b.step();
    const auto works = [](const Side& side) {
      const auto deadline = side.transport->next_deadline();
      return deadline && *deadline <= Side::now();
    };
    if (works(pair.a) || works(pair.b)) continue;
    std::array<pollfd, 2> waiting = {pollfd{pair.a.transport->wakeup_fd(), POLLIN, 0},
                                     pollfd{pair.b.transport->wakeup_fd(), POLLIN, 0}};
    CHECK(poll(waiting.data(), waiting.size(), 2000) > 0);
    ++waits;
  }
  CHECK(pair.a.count(Event::Kind::completed) == pair.operations.size());

  // Idle: nothing is readable, nothing is due.
  for (int i = 0; i < 3000; ++i) {
    pair.a.step();
    pair.b.step();
  }
  pollfd idle{pair.a.transport->wakeup_fd(), POLLIN, 0};
  CHECK(poll(&idle, 1, 10) == 0);
  const auto deadline = pair.a.transport->next_deadline();
  CHECK((!deadline || *deadline > Side::now()));
}

TEST_CASE("tcp: a transport that ran on a thread may end on another", "[tcp]") {
  const Io io = GENERATE(from_range(haul::test::ways_of_io()));
  Loaded pair(io);
  std::thread([&pair, io] {
    Side first(options_for(io));
    auto end = first.transport->open({.address = pair.address}, Side::now());
    first.transport->join(end->connection, {}, Side::now());
    for (int i = 0; i < 100; ++i) first.step();
    std::swap(first.transport, pair.a.transport);
  }).join();
  pair.a.transport.reset();
  pair.b.transport.reset();
}

TEST_CASE("tcp: transports of several threads share an acceptor", "[tcp]") {
  const Io io = GENERATE(from_range(haul::test::ways_of_io()));
  tcp::Options options = options_for(io);
  options.acceptor = tcp::make_acceptor();
  std::atomic<uint16_t> port = 0;
  std::atomic<size_t> accepted = 0;
  constexpr size_t servers = 3;
  constexpr size_t clients = 12;
  const TimePoint end = Side::now() + patience;
  std::vector<std::thread> threads;
  for (size_t i = 0; i < servers; ++i) {
    auto made = tcp::make_transport(options);
    REQUIRE(made.ok());
    threads.emplace_back([&, i, transport = std::shared_ptr<Transport>(std::move(*made))] {
      if (i == 0) port = transport->listen({"127.0.0.1", 0})->port;
      while (accepted < clients && Side::now() < end) {
        std::array<Event, 8> events;
        const size_t count = transport->poll(Side::now(), NextPoll::when_woken, events);
        for (size_t k = 0; k < count; ++k) accepted += events[k].kind == Event::Kind::accepted ? 1U : 0U;
      }
    });
  }
  while (port == 0 && Side::now() < end) std::this_thread::yield();
  Side client(options_for(io));
  for (size_t i = 0; i < clients; ++i) start_connecting(client, {"127.0.0.1", port});
  CHECK(run({&client}, [&] { return accepted == clients; }));
  for (std::thread& thread : threads) thread.join();
}

TEST_CASE("tcp: options that contradict each other", "[tcp]") {
  tcp::Options options;
  options.direct_threshold_bytes = (32U << 10) + 1;
  CHECK(tcp::make_transport(options).status().code() == StatusCode::invalid);
  options = options_for(Io::epoll);
  options.zero_copy = tcp::ZeroCopy::always;
  CHECK(tcp::make_transport(options).status().code() == StatusCode::unsupported);
  if (!haul::test::skip_without_uring()) CHECK(tcp::uring_works().ok());
  Side side(options_for(Io::prefer_uring));
  CHECK(side.transport->capabilities().name == "tcp");
  std::vector<std::byte> memory(10);
  CHECK(side.transport->register_memory(memory, MemoryKind::device).status().code() == StatusCode::unsupported);
}
