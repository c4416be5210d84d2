// Keeps a number of transfers outstanding and measures.
#include "haul_bench/drive.h"

#include <utility>
#include <vector>

namespace bench {

namespace {

class Driver {
 public:
  Driver(Session& session, const DriveLimits& limits, const StartTransfer& start)
      : session_(session), limits_(limits), start_(start), started_at_(limits.inflight) {}

  haul::Result<DriveResult> run() {
    const haul::TimePoint begin = clock_.now();
    end_ = begin + limits_.duration;
    last_ = begin;
    for (uint32_t slot = 0; slot < limits_.inflight && next_ < limits_.transfers; ++slot) start_next(slot, begin);
    const haul::Status over = session_.run_until([this] { return outstanding_ == 0; }, limits_.duration + limits_.drain,
                                                 "the end of the last transfers");
    if (!over.ok()) return over;
    result_.elapsed = last_ - begin;
    return result_;
  }

 private:
  void start_next(uint32_t slot, haul::TimePoint now) {
    started_at_[slot] = now;
    ++outstanding_;
    start_(next_++, [this, slot](const haul::TransferResult& result) { on_done(slot, result); });
  }

  void on_done(uint32_t slot, const haul::TransferResult& result) {
    --outstanding_;
    if (!result.status.ok()) return session_.fail(result.status);
    last_ = clock_.now();
    ++result_.transfers;
    result_.bytes += result.bytes;
    result_.latency.record(last_ - started_at_[slot]);
    if (last_ < end_ && next_ < limits_.transfers) start_next(slot, last_);
  }

  Session& session_;
  const DriveLimits& limits_;
  const StartTransfer& start_;
  const haul::Clock& clock_ = haul::system_clock();
  haul::TimePoint end_;
  haul::TimePoint last_;
  uint64_t next_ = 0;
  uint64_t outstanding_ = 0;
  std::vector<haul::TimePoint> started_at_;  // by slot
  DriveResult result_;
};

}  // namespace

haul::Result<DriveResult> drive(Session& session, const DriveLimits& limits, const StartTransfer& start) {
  return Driver(session, limits, start).run();
}

}  // namespace bench
