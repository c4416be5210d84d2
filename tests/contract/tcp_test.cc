// Contract over real sockets: other programs on our port, our connections to other programs.
#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>

#include "base/unique_fd.h"
#include "contract/fixture.h"
#include "loopback.h"
#include "tcp/wire.h"

namespace haul::contract {
namespace {

using test::loopback;

base::UniqueFd connect_raw(uint16_t port) {
  base::UniqueFd socket(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  const sockaddr_in address = loopback(port);
  REQUIRE(::connect(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) == 0);
  return socket;
}

/// A listening socket on a port of the system's choice.
struct RawServer {
  base::UniqueFd socket{::socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)};
  uint16_t port = 0;
  base::UniqueFd accepted;

  RawServer() {
    sockaddr_in address = loopback(0);
    socklen_t size = sizeof(address);
    REQUIRE(::bind(socket.get(), reinterpret_cast<const sockaddr*>(&address), size) == 0);
    REQUIRE(::listen(socket.get(), 16) == 0);
    REQUIRE(::getsockname(socket.get(), reinterpret_cast<sockaddr*>(&address), &size) == 0);
    port = ntohs(address.sin_port);
  }
  bool accept() {
    if (!accepted) accepted.reset(::accept4(socket.get(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
    return static_cast<bool>(accepted);
  }
};

/// Whether the other end closed or reset; reads what comes before.
bool is_closed(const base::UniqueFd& socket) {
  std::array<std::byte, 4096> ignored{};
  ssize_t got = 0;
  while ((got = ::recv(socket.get(), ignored.data(), ignored.size(), MSG_DONTWAIT)) > 0) {
  }
  return got == 0 || (errno != EAGAIN && errno != EWOULDBLOCK);
}

void send_raw(const base::UniqueFd& socket, std::span<const std::byte> bytes) {
  CHECK(::send(socket.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL) == static_cast<ssize_t>(bytes.size()));
}

std::array<std::byte, tcp::wire::preface_bytes> preface(uint16_t version) {
  tcp::wire::Preface preface;
  preface.version = version;
  preface.max_payload_bytes = 1U << 20;
  preface.max_message_bytes = 16U << 10;
  preface.credits = 64;
  std::array<std::byte, tcp::wire::preface_bytes> bytes{};
  tcp::wire::encode(preface, bytes);
  return bytes;
}

/// A pair that must not notice what happens beside it.
void check_still_serves(Harness& harness, Pair& pair) {
  const Buffer local = allocate_filled(pair.a, 200'000, 1);
  const Buffer target = allocate(pair.b, 200'000);
  const RemoteBuffer remote = grant(pair.to_a, target.slice());
  finish_ok(harness, pair.to_b.put(local.slice(), remote.slice()));
  CHECK(same(local.bytes(), target.bytes()));
}

TEMPLATE_TEST_CASE("garbage on the port is hung up on", "[contract][tcp]", TcpHarness, TcpEpollHarness) {
  TestType harness;
  Pair pair = harness.connected_pair();
  for (uint64_t round = 0; round < 12; ++round) {
    CAPTURE(round);
    const base::UniqueFd socket = connect_raw(pair.b.address.port);
    std::vector<std::byte> garbage(64 + harness.random().below(5000));
    fill_pattern(garbage, round);
    if (round == 0) {
      send_raw(socket, bytes_of("GET / HTTP/1.1\r\nHost: localhost\r\nUser-Agent: somebody-who-is-lost/1.0\r\n\r\n"));
    } else {
      send_raw(socket, garbage);
    }
    CHECK(harness.run([&] { return is_closed(socket); }, 5s));
  }
  check_still_serves(harness, pair);
  CHECK(pair.b->peers().size() == 1);
}

TEMPLATE_TEST_CASE("garbage after a right beginning is hung up on", "[contract][tcp]", TcpHarness, TcpEpollHarness) {
  TestType harness;
  Pair pair = harness.connected_pair();
  for (uint64_t round = 0; round < 20; ++round) {
    CAPTURE(round);
    const base::UniqueFd socket = connect_raw(pair.b.address.port);
    send_raw(socket, preface(tcp::wire::version));
    std::vector<std::byte> garbage(64 + harness.random().below(5000));
    fill_pattern(garbage, round);
    if (round % 2 == 1) garbage[0] = static_cast<std::byte>(1 + round % 4);  // a frame type that exists
    send_raw(socket, garbage);
    CHECK(harness.run([&] { return is_closed(socket); }, 5s));
  }
  check_still_serves(harness, pair);
}

TEMPLATE_TEST_CASE("who says nothing, or half of it, is hung up on", "[contract][tcp]", TcpHarness, TcpEpollHarness) {
  TestType harness;
  Pair pair = harness.connected_pair();
  const base::UniqueFd silent = connect_raw(pair.b.address.port);
  const base::UniqueFd half = connect_raw(pair.b.address.port);
  send_raw(half, std::span<const std::byte>(preface(tcp::wire::version)).first(20));
  const base::UniqueFd unintroduced = connect_raw(pair.b.address.port);
  send_raw(unintroduced, preface(tcp::wire::version));
  CHECK(harness.run([&] { return is_closed(silent) && is_closed(half) && is_closed(unintroduced); }, 8s));
  check_still_serves(harness, pair);
}

TEMPLATE_TEST_CASE("more silent connections than are kept do not shut others out", "[contract][tcp]", TcpHarness,
                   TcpEpollHarness) {
  TestType harness;
  Node& a = harness.start("a");
  Node& b = harness.start("b");
  std::vector<base::UniqueFd> silent;
  for (int i = 0; i < 300; ++i) {
    silent.push_back(connect_raw(b.address.port));
    if (i % 20 == 0) harness.run_for(2ms);
  }
  REQUIRE(harness.run([&] { return std::all_of(silent.begin(), silent.end(), is_closed); }, 15s));
  Pair pair = harness.connect(a, b);
  check_still_serves(harness, pair);
}

TEMPLATE_TEST_CASE("another version is told from garbage, with both numbers", "[contract][tcp]", TcpHarness, TcpEpollHarness) {
  TestType harness;
  Node& a = harness.start("a");
  const base::UniqueFd visitor = connect_raw(a.address.port);
  send_raw(visitor, preface(77));
  CHECK(harness.run([&] { return is_closed(visitor); }, 5s));

  RawServer server;
  Status outcome;
  int calls = 0;
  PeerOptions options;
  options.on_ready = [&](Peer, const Status& status) {
    ++calls;
    outcome = status;
  };
  REQUIRE(a->connect({"127.0.0.1", server.port}, options).ok());
  REQUIRE(harness.run([&] { return server.accept(); }, 5s));
  send_raw(server.accepted, preface(77));
  REQUIRE(harness.run([&] { return calls > 0; }, 8s));
  INFO(outcome.to_string());
  CHECK(outcome.code() == StatusCode::protocol);
  CHECK_THAT(std::string(outcome.message()), Catch::Contains("77") && Catch::Contains("version"));
  CHECK(calls == 1);
}

TEMPLATE_TEST_CASE("a port that speaks something else is a protocol error", "[contract][tcp]", TcpHarness, TcpEpollHarness) {
  TestType harness;
  Node& a = harness.start("a");
  for (const bool talks : {true, false}) {
    CAPTURE(talks);
    RawServer server;
    Status outcome;
    int calls = 0;
    PeerOptions options;
    options.connect_timeout = 1500ms;
    options.on_ready = [&](Peer, const Status& status) {
      ++calls;
      outcome = status;
    };
    REQUIRE(a->connect({"127.0.0.1", server.port}, options).ok());
    REQUIRE(harness.run([&] { return server.accept(); }, 5s));
    if (talks)
      send_raw(server.accepted, bytes_of("SSH-2.0-OpenSSH_9.2p1 Debian-2+deb12u3 and so on, and so on, and so on\r\n"));
    REQUIRE(harness.run([&] { return calls > 0; }, 8s));
    INFO(outcome.to_string());
    if (talks) {
      CHECK(outcome.code() == StatusCode::protocol);
    } else {
      CHECK(is_one_of(outcome, {StatusCode::unavailable, StatusCode::timed_out, StatusCode::protocol}));
    }
    CHECK_FALSE(outcome.message().empty());
    CHECK(calls == 1);
  }
}

TEMPLATE_TEST_CASE("a name that does not resolve is unavailable", "[contract][tcp]", TcpHarness, TcpEpollHarness) {
  TestType harness;
  Node& a = harness.start("a");
  int calls = 0;
  Status outcome;
  PeerOptions options;
  options.connect_timeout = 3s;
  options.on_ready = [&](Peer, const Status& status) {
    ++calls;
    outcome = status;
  };
  REQUIRE(a->connect({"no-such-host.invalid", 7}, options).ok());
  REQUIRE(harness.run([&] { return calls > 0; }, 20s));
  INFO(outcome.to_string());
  CHECK(is_one_of(outcome, {StatusCode::unavailable, StatusCode::timed_out}));
  CHECK_THAT(std::string(outcome.message()), Catch::Contains("no-such-host.invalid"));
}

TEMPLATE_TEST_CASE("io_uring and epoll speak with each other", "[contract][tcp]", TcpHarness, TcpEpollHarness) {
  TestType harness;
  using Other = std::conditional_t<std::is_same_v<TestType, TcpHarness>, TcpEpollHarness, TcpHarness>;
  Other others;
  Node& a = harness.start("a");
  Node& b = others.start("b");
  const std::array<Engine*, 2> engines = {a.engine.get(), b.engine.get()};
  const auto run = [&](const std::function<bool()>& until) { return harness.run_world(engines, until, harness.patience()); };
  const auto peer = a->connect(b.address);
  REQUIRE(peer.ok());
  Peer to_b = peer.value();
  REQUIRE(run([&] { return to_b.state() == PeerState::ready && !b.inbox.arrived.empty(); }));
  const Buffer local = allocate_filled(a, 3'000'000, 1);
  const Buffer target = allocate(b, 3'000'000);
  const RemoteBuffer remote = grant(b.inbox.arrived[0], target.slice());
  const Transfer put = to_b.put(local.slice(), remote.slice());
  REQUIRE(run([&] { return put.done(); }));
  CHECK(put.status().ok());
  CHECK(same(local.bytes(), target.bytes()));
}

}  // namespace
}  // namespace haul::contract
