// Contract below the engine: connections, endpoints, grants, and how they end.
#include <algorithm>
#include <array>
#include <catch2/catch.hpp>

#include "contract/transport_rig.h"

namespace haul::contract {
namespace {

using namespace std::chrono_literals;

constexpr size_t arena_bytes = 1'000'000;
constexpr auto untouched = std::byte{0xee};

struct Scene {
  std::unique_ptr<Harness> made;
  Harness& harness = *made;
  Rig rig{harness};
  Rig::Link link = rig.connect();
  const MemoryRegion& local = rig.region(rig.x, arena_bytes, 1);
  const MemoryRegion& target = rig.region(rig.y, arena_bytes, 2);
  LocalGrant granted = rig.grant(rig.y, link.at_y, target);

  explicit Scene(const Backend& backend) : made(backend.make()) {
    std::fill(target.bytes().begin(), target.bytes().end(), untouched);
  }
  Operation operation(Op op, const RemoteRegion& remote, uint64_t offset, uint64_t length) {
    Operation result;
    result.op = op;
    result.id = rig.next_id();
    result.local = &local;
    result.local_offset = std::min<uint64_t>(offset, arena_bytes - length);
    result.remote = &remote;
    result.remote_offset = offset;
    result.length = static_cast<uint32_t>(length);
    return result;
  }
  std::vector<Operation> operations(Op op, size_t count, uint64_t length) {
    std::vector<Operation> all;
    for (size_t i = 0; i < count; ++i) all.push_back(operation(op, granted.remote, i * length, length));
    return all;
  }
  bool untouched_still() {
    rig.run_for(5ms);
    return all_bytes_are(target.bytes(), untouched);
  }
  /// Nothing outstanding, and `closed` was the last that was heard of the connection.
  bool ended_well(const End& end, ConnectionId connection) {
    const bool over = rig.run([&] { return end.closed(connection).has_value(); });
    rig.run_for(5ms);
    return over && end.record->operations_outstanding == 0 && end.count(Event::Kind::closed, connection) == 1;
  }
};

BACKEND_TEST_CASE("connections are joined by endpoints beside another", "[contract][transport]") {
  Scene scene(backend);
  const Rig::Link lane = scene.rig.join_beside(scene.link);
  CHECK(lane.at_x != scene.link.at_x);
  const LocalGrant granted = scene.rig.grant(scene.rig.y, lane.at_y, scene.target);
  REQUIRE(scene.rig.finish(scene.rig.x, lane.at_x, scene.operation(Op::write, granted.remote, 0, 50'000)).ok());
  CHECK(std::equal(scene.target.bytes().begin(), scene.target.bytes().begin() + 50'000, scene.local.bytes().begin()));
  CHECK_FALSE(scene.rig.x.transport->describe(lane.at_x).empty());
}

BACKEND_TEST_CASE("an endpoint that is none is invalid", "[contract][transport]") {
  Scene scene(backend);
  ConnectOptions options;
  options.beside = scene.link.at_x;
  options.address = scene.rig.address;
  for (const size_t length : {1U, 8U, 24U, 300U}) {
    const auto endpoint = scene.rig.x.transport->open(options, scene.rig.now());
    REQUIRE(endpoint.ok());
    std::vector<std::byte> garbage(length);
    fill_pattern(garbage, length);
    const ConnectionId connection = endpoint.value().connection;
    CHECK(scene.rig.x.transport->join(connection, garbage, scene.rig.now()).code() == StatusCode::invalid);
    scene.rig.x.transport->close(connection, CloseMode::abort, scene.rig.now());
    CHECK(scene.ended_well(scene.rig.x, connection));
  }
}

BACKEND_TEST_CASE("an end whose peer never joins closes in time", "[contract][transport]") {
  Scene scene(backend);
  ConnectOptions active;
  active.beside = scene.link.at_x;
  active.address = scene.rig.address;
  active.timeout = 300ms;
  ConnectOptions passive;
  passive.beside = scene.link.at_y;
  const auto at_x = scene.rig.x.transport->open(active, scene.rig.now());
  const auto at_y = scene.rig.y.transport->open(passive, scene.rig.now());
  REQUIRE((at_x.ok() && at_y.ok()));
  scene.rig.y.transport->close(at_y.value().connection, CloseMode::abort, scene.rig.now());
  REQUIRE(scene.ended_well(scene.rig.y, at_y.value().connection));
  const ConnectionId connection = at_x.value().connection;
  if (!scene.rig.x.transport->join(connection, at_y.value().bytes, scene.rig.now()).ok()) {
    scene.rig.x.transport->close(connection, CloseMode::abort, scene.rig.now());
  }
  REQUIRE(scene.rig.run([&] { return scene.rig.x.closed(connection).has_value(); }, 5s));
  CHECK(scene.rig.x.count(Event::Kind::connected, connection) == 0);
}

BACKEND_TEST_CASE("a bootstrap to where nobody listens is unavailable", "[contract][transport]") {
  Scene scene(backend);
  if (!scene.rig.capabilities().bootstraps) {
    const auto endpoint = scene.rig.x.transport->open({}, scene.rig.now());
    REQUIRE(endpoint.ok());
    CHECK(scene.rig.x.transport->join(endpoint.value().connection, {}, scene.rig.now()).code() == StatusCode::invalid);
    scene.rig.x.transport->close(endpoint.value().connection, CloseMode::abort, scene.rig.now());
    return;
  }
  ConnectOptions options;
  options.address = scene.rig.address;
  options.address->port = static_cast<uint16_t>(options.address->port + 1);
  options.timeout = 500ms;
  const auto endpoint = scene.rig.x.transport->open(options, scene.rig.now());
  REQUIRE(endpoint.ok());
  const ConnectionId connection = endpoint.value().connection;
  REQUIRE(scene.rig.x.transport->join(connection, {}, scene.rig.now()).ok());
  REQUIRE(scene.rig.run([&] { return scene.rig.x.closed(connection).has_value(); }, 5s));
  const Status status = *scene.rig.x.closed(connection);
  INFO(status.to_string());
  CHECK((status.code() == StatusCode::unavailable || status.code() == StatusCode::timed_out));
  CHECK_FALSE(status.message().empty());
}

BACKEND_TEST_CASE("an address can be listened at once", "[contract][transport]") {
  Scene scene(backend);
  const StatusCode expected = scene.rig.capabilities().bootstraps ? StatusCode::unavailable : StatusCode::unsupported;
  CHECK(scene.rig.y.transport->listen(scene.rig.address).status().code() == expected);
}

BACKEND_TEST_CASE("what is not granted is refused", "[contract][transport]") {
  const int number = GENERATE(0, 1, 2, 3, 4, 5);
  CAPTURE(number);
  Scene scene(backend);
  const LocalGrant readable = scene.rig.grant(scene.rig.y, scene.link.at_y, scene.target, Rights::read);
  const LocalGrant writable = scene.rig.grant(scene.rig.y, scene.link.at_y, scene.target, Rights::write);
  RemoteRegion forged = scene.granted.remote;
  forged.data[0] ^= std::byte{1};
  RemoteRegion cut = scene.granted.remote;
  cut.size = 3;
  Operation operation;
  switch (number) {
    case 0: operation = scene.operation(Op::write, readable.remote, 0, 40'000); break;
    case 1: operation = scene.operation(Op::read, writable.remote, 0, 40'000); break;
    case 2: operation = scene.operation(Op::write, forged, 0, 40'000); break;
    case 3: operation = scene.operation(Op::write, cut, 0, 40'000); break;
    case 4: operation = scene.operation(Op::write, scene.granted.remote, arena_bytes - 39'999, 40'000); break;
    default: operation = scene.operation(Op::read, scene.granted.remote, UINT64_MAX - 10, 40'000); break;
  }
  const std::vector<std::byte> before(scene.local.bytes().begin(), scene.local.bytes().end());
  const Status status = scene.rig.finish(scene.rig.x, scene.link.at_x, operation);
  INFO(status.to_string());
  CHECK((status.code() == StatusCode::refused || status.code() == StatusCode::invalid));
  CHECK(scene.untouched_still());
  CHECK(std::equal(before.begin(), before.end(), scene.local.bytes().begin()));
}

BACKEND_TEST_CASE("a grant is bound to its connection", "[contract][transport]") {
  Scene scene(backend);
  const Rig::Link other = scene.rig.connect();
  const uint64_t length = GENERATE(100U, 40'000U);
  const Status status = scene.rig.finish(scene.rig.x, other.at_x, scene.operation(Op::write, scene.granted.remote, 0, length));
  INFO(status.to_string());
  CHECK((status.code() == StatusCode::refused || status.code() == StatusCode::invalid));
  CHECK(scene.untouched_still());
  REQUIRE(scene.rig.finish(scene.rig.x, scene.link.at_x, scene.operation(Op::write, scene.granted.remote, 0, length)).ok());
}

BACKEND_TEST_CASE("a grant outside its region is invalid", "[contract][transport]") {
  Scene scene(backend);
  for (const Range range : {Range{1, arena_bytes}, Range{arena_bytes + 1, 0}, Range{UINT64_MAX, 2}, Range{2, UINT64_MAX}}) {
    const auto granted = scene.rig.y.transport->grant(scene.link.at_y, scene.target, range, Rights::read, scene.rig.now());
    CHECK(granted.status().code() == StatusCode::invalid);
  }
}

BACKEND_TEST_CASE("after `revoked` no byte lands or leaves", "[contract][transport]") {
  for (uint64_t rounds = 0; rounds < 16; rounds += 2) {
    CAPTURE(rounds);
    Scene scene(backend);
    auto all = scene.operations(Op::write, 12, 60'000);
    for (const Operation& read : scene.operations(Op::read, 4, 60'000)) all.push_back(read);
    scene.rig.post_all(scene.rig.x, scene.link.at_x, all);
    uint64_t left = rounds;
    scene.rig.run([&] { return left-- == 0; });
    scene.rig.y.transport->revoke(scene.link.at_y, scene.granted.id, scene.rig.now());
    REQUIRE(scene.rig.run([&] { return scene.rig.y.count(Event::Kind::revoked) == 1 || scene.rig.y.closed(scene.link.at_y); }));
    std::fill(scene.target.bytes().begin(), scene.target.bytes().end(), untouched);
    REQUIRE(scene.rig.run([&] { return scene.rig.x.count(Event::Kind::completed) >= all.size(); }));
    CHECK(scene.untouched_still());
    for (const Operation& each : all) {
      const Status status = scene.rig.x.completed(each.id).value();
      INFO(status.to_string());
      const bool honest = status.ok() || status.code() == StatusCode::refused || status.code() == StatusCode::peer_lost;
      CHECK(honest);
    }
    CHECK(scene.rig.y.count(Event::Kind::revoked) <= 1);
  }
}

BACKEND_TEST_CASE("a drain finishes what was taken, then both ends close cleanly", "[contract][transport]") {
  Scene scene(backend);
  const auto writes = scene.operations(Op::write, 15, 60'000);
  const std::array<std::byte, 3> message{};
  scene.rig.post_all(scene.rig.x, scene.link.at_x, writes);
  REQUIRE(scene.rig.x.transport->send(scene.link.at_x, message, scene.rig.now()));
  scene.rig.x.transport->close(scene.link.at_x, CloseMode::drain, scene.rig.now());
  REQUIRE(scene.ended_well(scene.rig.x, scene.link.at_x));
  REQUIRE(scene.ended_well(scene.rig.y, scene.link.at_y));
  for (const Operation& write : writes) CHECK(scene.rig.x.completed(write.id).value().ok());
  CHECK(std::equal(scene.target.bytes().begin(), scene.target.bytes().begin() + 900'000, scene.local.bytes().begin()));
  CHECK(scene.rig.y.messages().size() == 1);
  CHECK(scene.rig.x.closed(scene.link.at_x)->ok());
  CHECK(scene.rig.y.closed(scene.link.at_y)->ok());
}

BACKEND_TEST_CASE("an abort ends everything at once, and is quiet then", "[contract][transport]") {
  for (uint64_t rounds = 0; rounds < 16; rounds += 2) {
    CAPTURE(rounds);
    Scene scene(backend);
    auto all = scene.operations(Op::write, 8, 60'000);
    for (const Operation& read : scene.operations(Op::read, 8, 60'000)) all.push_back(read);
    scene.rig.post_all(scene.rig.x, scene.link.at_x, all);
    uint64_t left = rounds;
    scene.rig.run([&] { return left-- == 0; });
    scene.rig.x.transport->close(scene.link.at_x, CloseMode::abort, scene.rig.now());
    REQUIRE(scene.rig.run([&] { return scene.rig.x.closed(scene.link.at_x).has_value(); }));
    std::fill(scene.local.bytes().begin(), scene.local.bytes().end(), std::byte{0xaa});
    for (const Operation& each : all) {
      const Status status = scene.rig.x.completed(each.id).value();
      CHECK((status.ok() || status.code() == StatusCode::peer_lost));
    }
    REQUIRE(scene.ended_well(scene.rig.y, scene.link.at_y));
    std::fill(scene.target.bytes().begin(), scene.target.bytes().end(), untouched);
    CHECK(scene.untouched_still());
    CHECK(all_bytes_are(scene.local.bytes(), std::byte{0xaa}));
  }
}

BACKEND_TEST_CASE("a peer whose transport goes is noticed, and all completes", "[contract][transport]") {
  Scene scene(backend);
  const auto writes = scene.operations(Op::write, 15, 60'000);
  scene.rig.post_all(scene.rig.x, scene.link.at_x, writes);
  uint64_t left = 2;
  scene.rig.run([&] { return left-- == 0; });
  scene.rig.y.transport->close(scene.link.at_y, CloseMode::abort, scene.rig.now());
  REQUIRE(scene.ended_well(scene.rig.x, scene.link.at_x));
  for (const Operation& write : writes) {
    const Status status = scene.rig.x.completed(write.id).value();
    CHECK((status.ok() || status.code() == StatusCode::peer_lost));
  }
}

BACKEND_TEST_CASE("what is closed or unknown is answered for, or ignored", "[contract][transport]") {
  Scene scene(backend);
  const std::array<std::byte, 3> message{};
  const auto calls = [&](ConnectionId connection) {
    Transport& transport = *scene.rig.x.transport;
    transport.close(connection, CloseMode::abort, scene.rig.now());
    transport.cancel(connection, 17, scene.rig.now());
    transport.send(connection, message, scene.rig.now());
    const auto granted = transport.grant(connection, scene.local, {0, 10}, Rights::read, scene.rig.now());
    CHECK(granted.status().code() == StatusCode::peer_lost);
    transport.set_limits(connection, {});
    CHECK(transport.sample(connection).bytes_unsent == 0);
    CHECK(transport.describe(connection).empty());
  };
  calls(123456789);
  scene.rig.x.transport->close(scene.link.at_x, CloseMode::abort, scene.rig.now());
  const Operation late = scene.operation(Op::write, scene.granted.remote, 0, 10);
  const size_t taken = scene.rig.x.transport->post(scene.link.at_x, std::span(&late, 1), scene.rig.now());
  REQUIRE(scene.ended_well(scene.rig.x, scene.link.at_x));
  if (taken == 1) CHECK(scene.rig.x.completed(late.id).value().code() == StatusCode::peer_lost);
  calls(scene.link.at_x);
}

}  // namespace
}  // namespace haul::contract
