// Filling lanes: what the scheduler costs for each operation, with a transport that completes everything at once.
#include "schedule/scheduler.h"

#include <benchmark/benchmark.h>

#include <deque>
#include <memory>
#include <vector>

namespace {

using namespace haul;

class PlainRegion final : public MemoryRegion {
 public:
  explicit PlainRegion(std::span<std::byte> bytes) : bytes_(bytes) {}
  std::span<std::byte> bytes() const noexcept override { return bytes_; }

 private:
  std::span<std::byte> bytes_;
};

/// Takes every operation and does nothing with it. Carries no checksums: CRC32C has benchmarks of its own.
class SinkTransport final : public Transport {
 public:
  SinkTransport() {
    capabilities_.name = "sink";
    capabilities_.reports_landed = true;
  }
  const Capabilities& capabilities() const noexcept override { return capabilities_; }
  size_t post(ConnectionId, std::span<const Operation> operations, TimePoint) override {
    benchmark::DoNotOptimize(operations.data());
    benchmark::ClobberMemory();
    return operations.size();
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

 private:
  static Status unused() { return Status(StatusCode::unsupported, "not part of this benchmark"); }
  Capabilities capabilities_;
};

/// A peer with lanes and transfers, that can be posted whole again and again.
class Load {
 public:
  Load(size_t lane_count, size_t transfer_count, uint64_t bytes) {
    registration_.regions.push_back(std::make_unique<PlainRegion>(registration_.memory));
    for (uint32_t i = 0; i < lane_count; ++i) {
      schedule::Lane& lane = lanes_.emplace_back();
      lane.operation_bytes = 1U << 20;
      lane.number = i;
      lane.transport = &transport_;
      lane.connection = i + 1;
      lane.ready = true;
      lane_pointers_.push_back(&lane);
      grant_.lanes.push_back({i, {}});
    }
    for (size_t i = 0; i < transfer_count; ++i) {
      detail::TransferState& transfer = transfers_.emplace_back();
      transfer.notify_serial = i + 1;
      transfer.pieces.push_back({&registration_, 0, &grant_, 1, 0, bytes});
    }
  }

  /// Posts every transfer whole and completes what was posted, as often as full lanes make it necessary.
  size_t post_all() {
    for (detail::TransferState& transfer : transfers_) {
      transfer.cursor_piece = 0;
      transfer.operations_cut = 0;
      scheduler_.enter(transfer);
    }
    size_t total = 0;
    while (!scheduler_.empty()) {
      total += scheduler_.run(lane_pointers_, pool_, TimePoint(), posted_);
      posted_.clear();
      complete();
    }
    return total;
  }

 private:
  void complete() {
    for (detail::TransferState& transfer : transfers_) {
      while (transfer::OperationRecord* record = transfer.outstanding.pop_front()) {
        schedule::Lane& lane = lanes_[record->lane];
        --lane.operations_outstanding;
        lane.bytes_outstanding -= record->length;
        pool_.give_back(*record);
      }
    }
  }

  SinkTransport transport_;
  detail::Registration registration_;  // of no memory: nothing here looks at the bytes
  memory::HeldGrant grant_;
  std::deque<schedule::Lane> lanes_;
  std::vector<schedule::Lane*> lane_pointers_;
  transfer::OperationPool pool_;
  std::deque<detail::TransferState> transfers_;
  schedule::Scheduler scheduler_;
  std::vector<detail::TransferState*> posted_;
};

void post_all(benchmark::State& state, Load& load) {
  size_t operations = 0;
  for (auto _ : state) operations += load.post_all();
  state.SetItemsProcessed(static_cast<int64_t>(operations));
}

// 1024 transfers of 1 KiB. The argument is the number of lanes.
void scheduler_many_small(benchmark::State& state) {
  Load load(static_cast<size_t>(state.range(0)), 1024, 1U << 10);
  post_all(state, load);
}
BENCHMARK(scheduler_many_small)->Arg(1)->Arg(8);

// One transfer of 16 GiB, which is 16384 operations.
void scheduler_one_large(benchmark::State& state) {
  Load load(static_cast<size_t>(state.range(0)), 1, uint64_t{16} << 30);
  post_all(state, load);
}
BENCHMARK(scheduler_one_large)->Arg(1)->Arg(8);

}  // namespace
