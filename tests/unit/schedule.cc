// The scheduler: priorities, turns, lanes, back-pressure.
#include <algorithm>
#include <catch2/catch.hpp>
#include <deque>

#include "schedule/scheduler.h"

namespace haul::schedule {
namespace {

class FakeRegion final : public MemoryRegion {
 public:
  explicit FakeRegion(std::span<std::byte> bytes) : bytes_(bytes) {}
  std::span<std::byte> bytes() const noexcept override { return bytes_; }

 private:
  std::span<std::byte> bytes_;
};

/// Takes what it has room for and remembers it.
class RecordingTransport final : public Transport {
 public:
  RecordingTransport() {
    offered.preferred_operation_bytes = 1000;
    offered.max_operations = 8;
    offered.reports_landed = true;
  }
  const Capabilities& capabilities() const noexcept override { return offered; }
  size_t post(ConnectionId, std::span<const Operation> operations, TimePoint) override {
    const size_t taken = std::min(room, operations.size());
    room -= taken;
    for (size_t i = 0; i < taken; ++i) posted.push_back(operations[i]);
    return taken;
  }

  Result<std::unique_ptr<MemoryRegion>> register_memory(std::span<std::byte>, MemoryKind) override { return unused(); }
  Status secure(std::shared_ptr<const SecurityContext>, Protection) override { return unused(); }
  PeerIdentity identity(ConnectionId) const override { return {}; }
  Result<Address> listen(const Address&) override { return unused(); }
  Result<LocalEndpoint> open(const ConnectOptions&, TimePoint) override { return unused(); }
  Status join(ConnectionId, std::span<const std::byte>, TimePoint) override { return unused(); }
  void close(ConnectionId, CloseMode, TimePoint) override {}
  Result<LocalGrant> grant(ConnectionId, const MemoryRegion&, Range, Rights, TimePoint) override { return unused(); }
  void revoke(ConnectionId, uint64_t, TimePoint) override {}
  void answer(ConnectionId, uint64_t, const Status&, TimePoint) override {}
  void cancel(ConnectionId, uint64_t, TimePoint) override {}
  bool send(ConnectionId, std::span<const std::byte>, TimePoint) override { return false; }
  PathSample sample(ConnectionId) const override { return {}; }
  std::string describe(ConnectionId) const override { return {}; }
  void set_limits(ConnectionId, const Limits&) override {}
  size_t poll(TimePoint, NextPoll, std::span<Event>) override { return 0; }
  std::optional<TimePoint> next_deadline() const override { return {}; }
  int wakeup_fd() const noexcept override { return -1; }

  size_t room = 1000;
  std::vector<Operation> posted;

  Capabilities offered;

 private:
  static Status unused() { return Status(StatusCode::unsupported, "not part of this test"); }
};

struct Bench {
  explicit Bench(size_t lane_count = 1) {
    registration.memory = memory;
    registration.regions.push_back(std::make_unique<FakeRegion>(memory));
    for (uint32_t i = 0; i < lane_count; ++i) {
      Lane& lane = lanes.emplace_back();
      lane.number = i;
      lane.operation_bytes = transport.capabilities().preferred_operation_bytes;
      lane.transport = &transport;
      lane.connection = i + 1;
      lane.ready = true;
      lane_pointers.push_back(&lane);
      grant.lanes.push_back({i, {}});
    }
  }
  ~Bench() {
    for (auto& transfer : transfers) {
      scheduler.leave(transfer);
      while (auto* record = transfer.outstanding.pop_front()) pool.give_back(*record);
      while (auto* record = transfer.again.pop_front()) pool.give_back(*record);
    }
  }
  detail::TransferState& add(uint64_t bytes, uint8_t priority = 128) {
    detail::TransferState& transfer = transfers.emplace_back();
    transfer.id = transfers.size();
    transfer.priority = priority;
    transfer.notify_serial = transfer.id;
    transfer.pieces.push_back({&registration, 0, &grant, 1, 0, bytes});
    scheduler.enter(transfer);
    return transfer;
  }
  size_t run() {
    all_posted.clear();
    return scheduler.run(lane_pointers, pool, TimePoint(), all_posted);
  }
  std::vector<uint64_t> order() const {
    std::vector<uint64_t> serials;
    for (const Operation& operation : transport.posted) serials.push_back(operation.tag >> 24);
    return serials;
  }

  std::vector<std::byte> memory = std::vector<std::byte>(1 << 20);
  detail::Registration registration;
  memory::HeldGrant grant;
  RecordingTransport transport;
  std::deque<Lane> lanes;
  std::vector<Lane*> lane_pointers;
  transfer::OperationPool pool;
  std::deque<detail::TransferState> transfers;
  Scheduler scheduler;
  std::vector<detail::TransferState*> all_posted;
};

}  // namespace

TEST_CASE("a transfer is posted whole, and said to be") {
  Bench bench;
  auto& transfer = bench.add(2500);
  CHECK(bench.run() == 3);
  REQUIRE(bench.all_posted == std::vector{&transfer});
  CHECK(bench.scheduler.empty());
  CHECK(bench.transport.posted[2].length == 500);
  CHECK(bench.transport.posted[2].remote_offset == 2000);
  CHECK(bench.lanes[0].operations_outstanding == 3);
  CHECK(bench.lanes[0].bytes_outstanding == 2500);
}

TEST_CASE("higher priorities go first, whenever they came") {
  Bench bench;
  bench.add(2000, 10);
  bench.add(2000, 200);
  bench.add(2000, 128);
  bench.run();
  CHECK(bench.order() == std::vector<uint64_t>{2, 2, 3, 3, 1, 1});
}

TEST_CASE("a lane takes no more operations than its transport allows") {
  Bench bench;
  bench.add(20'000);
  CHECK(bench.run() == 8);
  CHECK(bench.run() == 0);
  CHECK_FALSE(bench.scheduler.empty());
  bench.lanes[0].operations_outstanding = 0;
  CHECK(bench.run() == 8);
}

TEST_CASE("back-pressure keeps order, loses nothing, and blocks the lane") {
  Bench bench;
  bench.add(6000);
  bench.transport.room = 2;
  CHECK(bench.run() == 2);
  CHECK(bench.lanes[0].blocked);
  CHECK(bench.run() == 0);
  bench.transport.room = 100;
  bench.lanes[0].blocked = false;
  CHECK(bench.run() == 4);
  for (size_t i = 0; i < 6; ++i) CHECK(bench.transport.posted[i].local_offset == 1000 * i);
  CHECK(bench.all_posted.size() == 1);
}

TEST_CASE("work is spread over lanes by load") {
  Bench bench(4);
  bench.lanes[2].bytes_outstanding = 1'000'000;
  for (int i = 0; i < 3; ++i) {
    bench.add(8000);
    bench.run();
  }
  CHECK(bench.lanes[0].operations_outstanding == 8);
  CHECK(bench.lanes[1].operations_outstanding == 8);
  CHECK(bench.lanes[2].operations_outstanding == 0);
  CHECK(bench.lanes[3].operations_outstanding == 8);
}

TEST_CASE("lanes that are not ready, or where the grant is unknown, are left alone") {
  Bench bench(3);
  bench.lanes[0].ready = false;
  bench.grant.lanes.erase(bench.grant.lanes.begin() + 1);
  bench.add(3000);
  CHECK(bench.run() == 3);
  CHECK(bench.lanes[2].operations_outstanding == 3);
}

TEST_CASE("a lane whose transport reports no landings defers the notification") {
  for (const bool reports_landed : {true, false}) {
    Bench bench;
    bench.transport.offered.reports_landed = reports_landed;
    auto& transfer = bench.add(1000);
    bench.run();
    CHECK(transfer.notify_after_completion == !reports_landed);
  }
}

TEST_CASE("a gate lets through what its window holds, in turn") {
  Bench bench(2);
  bench.add(3000);
  bench.add(3000);
  congestion::OperationPath path(1000);
  ControllerOptions options;
  options.packet_bytes = 1000;
  options.fixed_rate = uint64_t{1} << 40;
  options.fixed_window_bytes = 2000;
  path.steer_by(congestion::make_fixed(options));
  Gate gate{.paths = {&path, nullptr}};
  TimePoint now(std::chrono::seconds(1));
  const auto run = [&] { return bench.scheduler.run(bench.lane_pointers, bench.pool, now, bench.all_posted, &gate); };
  CHECK(run() == 2);
  CHECK(gate.full[0]);
  CHECK_FALSE(gate.full[1]);
  CHECK(run() == 0);
  // One at a time: the two transfers take turns, and none is passed over for having waited.
  for (int i = 0; i < 4; ++i) {
    auto& transfer = bench.transfers[bench.transfers[0].outstanding.empty() ? 1 : 0];
    transfer::OperationRecord& record = *transfer.outstanding.front();
    REQUIRE(record.ticket != 0);
    path.ended(now, record.ticket, congestion::OperationPath::End::arrived);
    transfer.outstanding.remove(record);
    bench.pool.give_back(record);
    CHECK(run() == 1);
  }
  const auto order = bench.order();
  CHECK(std::count(order.begin(), order.end(), 1) == 3);
  CHECK(std::count(order.begin(), order.end(), 2) == 3);
  CHECK(std::is_sorted(order.begin(), order.end()) == false);
}

TEST_CASE("a closed gate holds up its direction alone") {
  Bench bench;
  bench.add(1000);
  bench.add(1000).op = Op::read;
  congestion::OperationPath path(1000);
  ControllerOptions options;
  options.packet_bytes = 1000;
  options.fixed_window_bytes = 2000;
  path.steer_by(congestion::make_fixed(options));
  path.posted(TimePoint(std::chrono::seconds(1)), 2000);
  Gate gate{.paths = {&path, nullptr}};
  CHECK(bench.scheduler.run(bench.lane_pointers, bench.pool, TimePoint(std::chrono::seconds(1)), bench.all_posted, &gate) == 1);
  REQUIRE(bench.transport.posted.size() == 1);
  CHECK(bench.transport.posted[0].op == Op::read);
}

TEST_CASE("what a budget holds back is not the path's doing, and waits by its own priority") {
  Bench bench;
  bench.add(1000);
  bench.add(1000, 0).op = Op::read;
  congestion::OperationPath path(1000);
  ControllerOptions options;
  options.packet_bytes = 1000;
  options.fixed_window_bytes = 2000;
  path.steer_by(congestion::make_fixed(options));
  const TimePoint now(std::chrono::seconds(1));
  path.posted(now, 2000);
  congestion::Budget budget({.rate_bytes_s = 1'000'000, .depth = std::chrono::milliseconds(4)}, now);
  REQUIRE(budget.spend(now, 3500, 128));  // what is left is for those above priority 0
  Gate gate{.paths = {&path, nullptr}, .budget = &budget};
  CHECK(bench.scheduler.run(bench.lane_pointers, bench.pool, now, bench.all_posted, &gate) == 0);
  CHECK(gate.full == std::array<bool, 2>{true, false});
  CHECK(gate.held_by == std::array<const congestion::Budget*, 2>{nullptr, &budget});
  CHECK(gate.held_priority == 0);
  CHECK(budget.ready_at(now, gate.held_priority) > now);
}

TEST_CASE("what a lane refuses goes back to the budget") {
  Bench bench;
  bench.transport.room = 1;
  bench.add(3000);
  const TimePoint now(std::chrono::seconds(1));
  congestion::Budget budget({.rate_bytes_s = 1'000'000, .depth = std::chrono::milliseconds(3)}, now);  // 3000 bytes
  Gate gate{.budget = &budget};
  const auto run = [&] { return bench.scheduler.run(bench.lane_pointers, bench.pool, now, bench.all_posted, &gate); };
  CHECK(run() == 1);
  bench.transport.room = 10;
  bench.lanes[0].blocked = false;
  CHECK(run() == 2);
  CHECK_FALSE(gate.held());
  CHECK(budget.ready_at(now, 128) == now);
  bench.add(2000);
  CHECK(run() == 1);  // overdrawn by one
  CHECK(gate.held());
}

}  // namespace haul::schedule
