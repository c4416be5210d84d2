// The tcp backend with haul's congestion control: when it selects it, what it says, and that a connection can be driven.
#include "stream.h"
#include "tcp/tcp_transport.h"
#include "unit/tcp_sockets.h"
#include "unit/tcp_support.h"
#include "unit/tcp_unsent.h"

using namespace haul;
using namespace haul::tcp::test;
using haul::tcp::Io;
using haul::tcp::KernelController;
namespace kernel_congestion = haul::tcp::kernel_congestion;

namespace {

bool has(std::string_view text, std::string_view part) { return text.find(part) != std::string_view::npos; }

tcp::Options with(KernelController wanted) {
  tcp::Options options = options_for(Io::epoll);
  options.kernel_controller = wanted;
  return options;
}

}  // namespace

TEST_CASE("kernel controller: required, it is selected on every path", "[kernel-cc]") {
  const Installed installed;
  const Pair pair(with(KernelController::require), with(KernelController::require));
  CHECK(has(pair.a.transport->describe(pair.at_a), "congestion control haul (nobody drives it: RFC 5681)"));
  CHECK(has(pair.b.transport->describe(pair.at_b), "congestion control haul (nobody drives it: RFC 5681)"));
}

TEST_CASE("kernel controller: a connection is driven through the transport", "[kernel-cc]") {
  const Installed installed;
  Pair pair(with(KernelController::require), with(KernelController::off));
  auto& transport = static_cast<tcp::TcpTransport&>(*pair.a.transport);
  REQUIRE(transport.steerable(pair.at_a));
  CHECK_FALSE(static_cast<tcp::TcpTransport&>(*pair.b.transport).steerable(pair.at_b));
  constexpr uint32_t length = 256U << 10;
  constexpr uint64_t writes = 8;
  constexpr uint64_t rate = 5'000'000;  // sanitized code on a busy machine keeps up with it, too
  const Memory source(pair.a, length, 1), destination(pair.b, length, 2);
  const LocalGrant grant = grant_all(pair.b, pair.at_b, destination);
  static_cast<void>(transport.take_report(pair.at_a));
  REQUIRE(transport.steer(pair.at_a, 4U << 20, rate, std::chrono::seconds(10)).ok());

  const TimePoint begin = Side::now();
  uint64_t acked = 0;
  for (uint64_t id = 1; id <= writes; ++id) {
    const Operation write = operation(Op::write, id, source, 0, grant.remote, 0, length);
    REQUIRE(pair.a.transport->post(pair.at_a, std::span(&write, 1), Side::now()) == 1);
    REQUIRE(pair.run_until([&] {
      const auto report = transport.take_report(pair.at_a);
      if (report && report->ack) acked += report->ack->acked_bytes;
      return pair.a.completed(id) != nullptr;
    }));
  }
  const double took_s = std::chrono::duration<double>(Side::now() - begin).count();
  const double at_rate_s = static_cast<double>(writes * length) / static_cast<double>(rate);
  CHECK(took_s > 0.95 * at_rate_s);
  CHECK(took_s < 1.3 * at_rate_s);
  CHECK(acked > writes * length * 9 / 10);
  CHECK(has(transport.describe(pair.at_a), "congestion control haul (driven from here)"));
  REQUIRE(transport.steer(pair.at_a, 0, std::nullopt, Duration::zero()).ok());
  CHECK(has(transport.describe(pair.at_a), "nobody drives it"));
}

TEST_CASE("kernel controller: a driven connection takes what leaves within 20 ms", "[kernel-cc]") {
  const Installed installed;
  Pair pair(with(KernelController::require), with(KernelController::off));
  auto& transport = static_cast<tcp::TcpTransport&>(*pair.a.transport);
  const int fd = socket_to(pair.address.port);
  CHECK(most_unsent(fd) == 0);
  const auto steer = [&](std::optional<uint64_t> rate) {
    REQUIRE(transport.steer(pair.at_a, 4U << 20, rate, std::chrono::seconds(10)).ok());
  };
  steer(62'500'000);
  CHECK(most_unsent(fd) == 1'250'000);
  steer({});
  CHECK(most_unsent(fd) == 0);
  steer(3'000'000);
  CHECK(most_unsent(fd) == 128U << 10);
  a_write_waits_outside(pair, fd);
  REQUIRE(transport.steer(pair.at_a, 0, std::nullopt, Duration::zero()).ok());
  CHECK(most_unsent(fd) == 0);
}

TEST_CASE("kernel controller: a driven connection outlives a rate of next to nothing", "[kernel-cc]") {
  const Installed installed;
  Pair pair(with(KernelController::require), with(KernelController::off));
  auto& transport = static_cast<tcp::TcpTransport&>(*pair.a.transport);
  constexpr uint32_t length = 1U << 20;
  const Memory source(pair.a, length, 1);
  const Memory target(pair.b, length, 2);
  const LocalGrant grant = grant_all(pair.b, pair.at_b, target);
  REQUIRE(transport.steer(pair.at_a, 4U << 20, 1, std::chrono::seconds(10)).ok());
  const Operation write = operation(Op::write, 1, source, 0, grant.remote, 0, length);
  REQUIRE(pair.a.transport->post(pair.at_a, std::span(&write, 1), Side::now()) == 1);
  // The kernel does not pace the first segments of a connection.
  REQUIRE_FALSE(pair.run_until([&] { return pair.a.completed(1) != nullptr; }, std::chrono::seconds(1)));
  REQUIRE(transport.steer(pair.at_a, 4U << 20, 50'000'000, std::chrono::seconds(10)).ok());
  CHECK(pair.run_until([&] { return pair.a.completed(1) != nullptr; }, std::chrono::seconds(5)));
}

TEST_CASE("kernel controller: automatic leaves loopback, which is a rack, alone", "[kernel-cc]") {
  const Installed installed;
  const Pair pair(with(KernelController::automatic), with(KernelController::automatic));
  CHECK_FALSE(has(pair.a.transport->describe(pair.at_a), "haul"));
}

TEST_CASE("kernel controller: automatic goes without, and says why, where it is not installed", "[kernel-cc]") {
  const Pair pair(with(KernelController::automatic), with(KernelController::off));
  CHECK(has(pair.a.transport->describe(pair.at_a), "(not the kernel's haul: haul's congestion control is not installed"));
  CHECK_FALSE(has(pair.b.transport->describe(pair.at_b), "haul"));
}

TEST_CASE("kernel controller: required and not installed, no transport is made", "[kernel-cc]") {
  const auto made = tcp::make_transport(with(KernelController::require));
  REQUIRE_FALSE(made.ok());
  CHECK(made.status().code() == StatusCode::unsupported);
  CHECK(has(made.status().message(), "haul cc install"));
}

TEST_CASE("kernel controller: required and taken out since, the connection fails with the reason", "[kernel-cc]") {
  auto installed = std::make_unique<Installed>();
  Side side(with(KernelController::require));
  Side other(options_for(Io::epoll));
  const auto address = other.transport->listen(Address{"127.0.0.1", 0});
  REQUIRE(address.ok());
  installed.reset();
  const auto end = side.transport->open({.address = *address}, Side::now());
  REQUIRE(end.ok());
  REQUIRE(side.transport->join(end->connection, {}, Side::now()).ok());
  for (int i = 0; i < 1000 && side.count(Event::Kind::closed) == 0; ++i) {
    side.step();
    other.step();
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  const Seen* closed = side.find(Event::Kind::closed);
  REQUIRE(closed != nullptr);
  CHECK(closed->status.code() == StatusCode::unsupported);
  CHECK(has(closed->status.message(), "taken out"));
}

TEST_CASE("kernel controller: installed anew while the transport lives, new connections are driven by the new maps",
          "[kernel-cc]") {
  auto installed = std::make_unique<Installed>();
  Pair pair(with(KernelController::require), with(KernelController::off));
  installed.reset();
  installed = std::make_unique<Installed>();
  const ConnectionId before = pair.at_a;
  pair.a.seen.clear();
  pair.b.seen.clear();
  pair.connect();

  auto& transport = static_cast<tcp::TcpTransport&>(*pair.a.transport);
  REQUIRE(transport.steerable(pair.at_a));
  // The older one belongs to the program that is gone, and is driven through it.
  for (const auto connection : {pair.at_a, before}) {
    REQUIRE(transport.steer(connection, 4U << 20, 20'000'000, std::chrono::seconds(10)).ok());
    const std::string text = "hello";
    REQUIRE(transport.send(connection, std::as_bytes(std::span(text)), Side::now()));
    bool obeyed = false;
    REQUIRE(pair.run_until([&] {
      const auto report = transport.take_report(connection);
      obeyed = obeyed || (report && report->obeyed);
      return obeyed;
    }));
  }
}

TEST_CASE("kernel controller: installed anew in another folder, it is not taken for ours", "[kernel-cc]") {
  const std::string elsewhere = "/sys/fs/bpf/haul-elsewhere";
  tcp::Options options = with(GENERATE(KernelController::require, KernelController::automatic));
  const bool required = options.kernel_controller == KernelController::require;
  options.congestion_rack = {kernel_congestion::name};  // automatic selects it beyond a rack only
  auto installed = std::make_unique<Installed>();
  Side side(options);
  Side other(options_for(Io::epoll));
  const auto address = other.transport->listen(Address{"127.0.0.1", 0});
  REQUIRE(address.ok());
  installed.reset();
  REQUIRE(kernel_congestion::install({.directory = elsewhere, .group = {}}).ok());

  const auto end = side.transport->open({.address = *address}, Side::now());
  REQUIRE(end.ok());
  REQUIRE(side.transport->join(end->connection, {}, Side::now()).ok());
  const auto told = required ? Event::Kind::closed : Event::Kind::connected;
  CHECK(run({&side, &other}, [&] { return side.find(told) != nullptr; }));
  CHECK(kernel_congestion::uninstall(elsewhere).ok());
  REQUIRE(side.find(told) != nullptr);
  if (required) {
    CHECK(side.find(told)->status.code() == StatusCode::unsupported);
    CHECK(has(side.find(told)->status.message(), "haul cc install"));
  } else {
    CHECK_FALSE(static_cast<tcp::TcpTransport&>(*side.transport).steerable(end->connection));
    CHECK(has(side.transport->describe(end->connection), "(not the kernel's haul:"));
  }
}
