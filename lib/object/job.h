// One push, pull or measurement on one side: a state machine on the engine's thread.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "haul/telemetry.h"
#include "haul/time.h"
#include "object/channel.h"
#include "object/failure.h"
#include "object/messages.h"

namespace haul::object {

/// Where a job stands, for people and programs.
struct JobReport {
  std::string what;  ///< "push to models/a"
  Totals totals;     ///< as announced
  bool totals_known = false;
  uint32_t entries_done = 0;
  uint64_t bytes_done = 0;           ///< placed and verified (sender), written (receiver)
  std::vector<std::string> remarks;  ///< what was skipped
  Failure failure;
  std::vector<PathStats> controlled_paths;  ///< by a congestion controller on this side, as the job ended
};

/// The bounds of a job. Memory is slots × slot_bytes, whatever is moved.
struct JobLimits {
  uint32_t slot_bytes = 4U << 20;
  uint32_t slots = 8;
  uint32_t entry_window = 16;
  Duration stall = std::chrono::seconds(30);    ///< a peer that shows no sign of work for this long fails the job
  Duration farewell = std::chrono::seconds(2);  ///< how long a failed job waits for the other side's last word
};

class Job {
 public:
  Job(Channel& channel, const JobLimits& limits) : channel_(channel), limits_(limits) {}
  virtual ~Job();
  Job(const Job&) = delete;
  Job& operator=(const Job&) = delete;

  virtual void start() = 0;
  /// Every message of the job, notifications included.
  void on_message(const FileMessage& message);
  void on_peer_lost(const Status& status);
  /// Collects the worker's results, sends what waits, watches the time. After every wait of the engine, and now and then.
  void step(TimePoint now);
  /// Ends the job from this side; finished() follows after cleaning up.
  void fail(Failure failure);

  /// For JobReport::what.
  void describe(std::string what) { report_.what = std::move(what); }

  bool finished() const noexcept { return finished_; }
  const JobReport& report() const noexcept { return report_; }

 protected:
  virtual void handle(const FileMessage& message) = 0;
  virtual void work() = 0;
  /// Something of ours is under way, so that the other side has to wait.
  virtual bool busy() const = 0;
  /// Stops and cleans up; then calls finish() at once or later. Called once.
  virtual void clean_up() = 0;

  void finish();
  bool failing() const noexcept { return report_.failure.failed(); }
  void fail_protocol(std::string_view what);
  /// The other side ended the job, or answered our end of it.
  bool told() const noexcept { return told_; }
  bool peer_lost() const noexcept { return peer_lost_; }
  void note_activity() noexcept { active_ = true; }

  Channel& channel_;
  JobLimits limits_;
  JobReport report_;

 private:
  void watch(TimePoint now);

  bool finished_ = false;
  bool told_ = false;
  bool peer_lost_ = false;
  bool active_ = true;
  TimePoint last_active_{};
  TimePoint last_sign_{};
};

}  // namespace haul::object
