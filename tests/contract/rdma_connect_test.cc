// Connecting a queue pair may take the kernel a second: the rdma backend goes on meanwhile, and ends it cleanly.
#include "contract/fixture.h"

#ifdef HAUL_CONTRACT_RDMA

#include <poll.h>
#include <sys/eventfd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <future>

#include "contract/rdma_wire.h"
#include "rdma/workers.h"

namespace haul::contract {
namespace {

bool is_readable(int fd) {
  pollfd each{fd, POLLIN, 0};
  return ::poll(&each, 1, 0) == 1;
}

/// A connected pair, and beside it a second one whose active side still looks for its peer.
struct Slow : Wire {
  uint64_t bytes_before = harness.fabric().registered_bytes();
  Rig::Link second;

  explicit Slow(Duration timeout = 10s) {
    harness.fabric().slow_connects("x", true);
    ConnectOptions active;
    active.address = rig.address;
    active.timeout = timeout;
    const auto at_x = rig.x.transport->open(active, rig.now()).value();
    ConnectOptions passive;
    passive.peer_endpoint = at_x.bytes;
    const auto at_y = rig.y.transport->open(passive, rig.now()).value();
    REQUIRE(rig.y.transport->join(at_y.connection, at_x.bytes, rig.now()).ok());
    REQUIRE(rig.x.transport->join(at_x.connection, at_y.bytes, rig.now()).ok());
    second = {at_x.connection, at_y.connection};
  }
  bool connected() const {
    return rig.x.count(Event::Kind::connected, second.at_x) == 1 && rig.y.count(Event::Kind::connected, second.at_y) == 1;
  }
  /// Nothing of the second pair is left at x.
  void check_gone() {
    harness.fabric().slow_connects("x", false);
    rig.y.transport->close(second.at_y, CloseMode::abort, rig.now());
    CHECK(rig.run([&] { return harness.fabric().queue_pairs() == 2; }));
    CHECK(harness.fabric().registered_bytes() == bytes_before);
    CHECK(harness.fabric().waits_for_connects() == 0);
  }
};

TEST_CASE("other connections go on while a queue pair is being connected", "[rdma]") {
  Slow slow;
  for (uint64_t i = 0; i < 5; ++i) {
    REQUIRE(slow.rig.finish(slow.rig.x, slow.link.at_x, slow.write(i * 100'000, 100'000)).ok());
  }
  const LocalGrant again = slow.rig.grant(slow.rig.y, slow.link.at_y, slow.target);
  slow.rig.y.transport->revoke(slow.link.at_y, again.id, slow.rig.now());
  REQUIRE(slow.rig.run([&] { return slow.rig.y.count(Event::Kind::revoked) == 1; }));
  const Operation early = slow.write(0, 10);
  slow.rig.post_all(slow.rig.x, slow.second.at_x, std::span(&early, 1));
  REQUIRE(slow.rig.run([&] { return slow.rig.x.completed(early.id).has_value(); }));
  CHECK(slow.rig.x.completed(early.id)->code() == StatusCode::peer_lost);
  const auto grant = slow.rig.x.transport->grant(slow.second.at_x, slow.local, {0, 10}, Rights::read, slow.rig.now());
  CHECK(grant.status().code() == StatusCode::unavailable);
  CHECK_FALSE(slow.connected());
  slow.harness.fabric().slow_connects("x", false);
  REQUIRE(slow.rig.run([&] { return slow.connected(); }));
  const LocalGrant granted = slow.rig.grant(slow.rig.y, slow.second.at_y, slow.target);
  Operation write = slow.write(0, 100'000);
  write.remote = &granted.remote;
  CHECK(slow.rig.finish(slow.rig.x, slow.second.at_x, write).ok());
}

TEST_CASE("a connection that is closed while its queue pair is being connected leaves nothing behind", "[rdma]") {
  const auto mode = GENERATE(CloseMode::abort, CloseMode::drain);
  Slow slow;
  slow.rig.run_for(10ms);
  slow.rig.x.transport->close(slow.second.at_x, mode, slow.rig.now());
  REQUIRE(slow.rig.run([&] { return slow.rig.x.closed(slow.second.at_x).has_value(); }));
  CHECK(slow.rig.x.closed(slow.second.at_x)->ok());
  CHECK(slow.rig.x.transport->describe(slow.second.at_x).empty());
  REQUIRE(slow.rig.finish(slow.rig.x, slow.link.at_x, slow.write(0, 100'000)).ok());
  slow.check_gone();
  CHECK(slow.rig.x.count(Event::Kind::connected, slow.second.at_x) == 0);
}

TEST_CASE("a queue pair that is still being connected is given up at the time for it", "[rdma]") {
  Slow slow(300ms);
  const TimePoint start = slow.rig.now();
  REQUIRE(slow.rig.run([&] { return slow.rig.x.closed(slow.second.at_x).has_value(); }));
  CHECK(slow.rig.now() - start < 400ms);
  CHECK(slow.rig.x.closed(slow.second.at_x)->code() == StatusCode::unavailable);
  CHECK_THAT(std::string(slow.rig.x.closed(slow.second.at_x)->message()), Catch::Contains("connect timeout"));
  slow.check_gone();
}

TEST_CASE("why a queue pair can't be connected is told, at once or later", "[rdma]") {
  const bool later = GENERATE(false, true);
  Slow slow;
  slow.harness.fabric().fail_connects("x", Status::from_errno(StatusCode::internal, EHOSTUNREACH, "it does not become ready"));
  if (later) slow.rig.run_for(300ms);
  slow.harness.fabric().slow_connects("x", false);
  REQUIRE(slow.rig.run([&] { return slow.rig.x.closed(slow.second.at_x).has_value(); }));
  const Status why = *slow.rig.x.closed(slow.second.at_x);
  CHECK(why.code() == StatusCode::unavailable);
  CHECK(why.system_error() == EHOSTUNREACH);
  CHECK_THAT(std::string(why.message()), Catch::Contains("fake0 port 1") && Catch::Contains("cannot reach 10.0.0.") &&
                                             Catch::Contains("does not become ready"));
  slow.check_gone();
}

TEST_CASE("a port that goes down ends what is being connected over it", "[rdma]") {
  Slow slow;
  slow.harness.fabric().set_port("x", "fake0", false);
  REQUIRE(slow.rig.run([&] { return slow.rig.x.closed(slow.second.at_x).has_value(); }));
  CHECK_THAT(std::string(slow.rig.x.closed(slow.second.at_x)->message()), Catch::Contains("went down"));
  slow.harness.fabric().slow_connects("x", false);
  slow.rig.y.transport->close(slow.second.at_y, CloseMode::abort, slow.rig.now());
  slow.rig.y.transport->close(slow.link.at_y, CloseMode::abort, slow.rig.now());
  CHECK(slow.rig.run([&] { return slow.harness.fabric().queue_pairs() == 0; }));
  CHECK(slow.harness.fabric().waits_for_connects() == 0);
}

TEST_CASE("a transport that goes waits for what is being connected", "[rdma]") {
  RdmaHarness harness;
  auto transport = harness.make_transport("x");
  const auto other = harness.make_transport("y");
  const auto endpoint = other->open({}, harness.clock().now()).value();
  harness.fabric().slow_connects("x", true);
  const auto opened = transport->open({}, harness.clock().now()).value();
  REQUIRE(transport->join(opened.connection, endpoint.bytes, harness.clock().now()).ok());
  const bool closed = GENERATE(false, true);
  if (closed) {
    transport->close(opened.connection, CloseMode::abort, harness.clock().now());
    std::array<Event, 4> events;
    REQUIRE(transport->poll(harness.clock().now(), NextPoll::at_once, events) == 1);
  }
  transport.reset();
  CHECK(harness.fabric().waits_for_connects() == 1);
  CHECK(harness.fabric().queue_pairs() == 1);
}

TEST_CASE("who sleeps is woken when a queue pair is connected", "[rdma]") {
  RdmaHarness harness;
  const auto transport = harness.make_transport("x");
  const auto other = harness.make_transport("y");
  const TimePoint now = harness.clock().now();
  const auto endpoint = other->open({}, now).value();
  harness.fabric().slow_connects("x", true);
  ConnectOptions active;
  active.address = Address{"y", 1};
  const auto opened = transport->open(active, now).value();
  REQUIRE(transport->join(opened.connection, endpoint.bytes, now).ok());
  std::array<Event, 4> events;
  REQUIRE(transport->poll(now, NextPoll::when_woken, events) == 0);
  CHECK_FALSE(is_readable(transport->wakeup_fd()));
  CHECK(transport->next_deadline().value() == now + 10s);
  const uint64_t sent_before = transport->sample(opened.connection).bytes_sent;
  harness.fabric().slow_connects("x", false);
  harness.fabric().step();
  CHECK(is_readable(transport->wakeup_fd()));
  REQUIRE(transport->poll(now, NextPoll::when_woken, events) == 0);
  CHECK(transport->sample(opened.connection).bytes_sent > sent_before);  // its hello
  CHECK_FALSE(is_readable(transport->wakeup_fd()));
}

TEST_CASE("where queue pairs can't be connected payload goes over the other transport, at once", "[rdma]") {
  const auto node = GENERATE(as<std::string>{}, "a", "b");
  RdmaHarness harness;
  Node& a = harness.start("a");
  Node& b = harness.start("b");
  harness.fabric().fail_connects(node, Status::from_errno(StatusCode::internal, EHOSTUNREACH, "it does not become ready"));
  PeerOptions options;
  options.lanes = 1;
  options.policy.prefer = {"rdma"};
  const TimePoint start = harness.clock().now();
  Pair pair = harness.connect(a, b, options);
  CHECK(harness.clock().now() - start < 100ms);
  // Who connected is told also what failed at the other side.
  CHECK_THAT(pair.to_b.explain(), Catch::Contains("cannot reach 10.0.0.") && Catch::Contains("it does not become ready"));
  CHECK((pair.to_b.explain().find("the peer refuses: its end failed: ") != std::string::npos) == (node == "b"));
  const Buffer local = allocate_filled(a, 100'000, 1);
  Buffer target = allocate(b, 100'000);
  const RemoteBuffer remote = grant(pair.to_a, target.slice());
  finish_ok(harness, pair.to_b.put(local.slice(), remote.slice()));
  CHECK(same(local.bytes(), target.bytes()));
}

TEST_CASE("workers run jobs side by side, tell of their ends, and finish all before they go", "[rdma]") {
  base::UniqueFd wake(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  std::atomic<int> done = 0;
  std::promise<void> gate;
  {
    rdma::Workers workers(std::move(wake));
    const std::shared_future<void> opened = gate.get_future().share();
    auto stuck = workers.run([opened, &done] {
      opened.wait();
      ++done;
      return Status(StatusCode::unavailable, "at last");
    });
    const auto quick = workers.run([&done] {
      ++done;
      return Status();
    });
    quick.wait();
    pollfd told{workers.fd(), POLLIN, 0};
    REQUIRE(::poll(&told, 1, 10'000) == 1);
    workers.take_events();
    CHECK_FALSE(is_readable(workers.fd()));
    CHECK(done == 1);
    for (int i = 0; i < 40; ++i) {
      workers.run([opened, &done] {
        opened.wait();
        ++done;
        return Status();
      });
    }
    CHECK(done == 1);
    gate.set_value();
    CHECK(stuck.get().message() == "at last");
  }
  CHECK(done == 42);
}

}  // namespace
}  // namespace haul::contract

#endif
