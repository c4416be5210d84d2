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
    half_ = begin + limits_.duration / 2;
    end_ = begin + limits_.duration;
    last_ = begin;
    for (uint32_t slot = 0; slot < limits_.inflight && next_ < limits_.transfers; ++slot) start_next(slot, begin);
    if (limits_.watch != nullptr) limits_.watch->begin(begin);
    const auto done = [this] {
      if (limits_.watch != nullptr) limits_.watch->look(clock_.now());
      return outstanding_ == 0;
    };
    const haul::Duration step = limits_.watch != nullptr ? limits_.watch->every() : longest_step;
    const haul::Status over = session_.run_until(done, limits_.duration + limits_.drain, "the end of the last transfers", step);
    if (!over.ok()) return over;
    result_.elapsed = last_ - begin;
    const std::chrono::duration<double> steady = steady_until_ - steady_from_;
    if (steady.count() > 0) result_.steady_bytes_s = static_cast<double>(steady_bytes_) / steady.count();
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
    count_steady(result.bytes);
    if (last_ < end_ && next_ < limits_.transfers) start_next(slot, last_);
  }

  /// From one completion to another, so that what only began or ended within the time does not blur it.
  void count_steady(uint64_t bytes) {
    if (last_ < half_ || last_ > end_) return;
    const bool first = steady_from_ == haul::TimePoint();
    if (first) steady_from_ = last_;
    steady_until_ = last_;
    if (!first) steady_bytes_ += bytes;
  }

  static constexpr haul::Duration longest_step = std::chrono::milliseconds(500);

  Session& session_;
  const DriveLimits& limits_;
  const StartTransfer& start_;
  const haul::Clock& clock_ = haul::system_clock();
  haul::TimePoint half_;
  haul::TimePoint end_;
  haul::TimePoint last_;
  haul::TimePoint steady_from_;  // the first completion of the second half
  haul::TimePoint steady_until_;
  uint64_t steady_bytes_ = 0;
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
