// A path whose backend moves packets by itself and counts what arrived (tcp): counters of lanes in, a share of window and rate
// for each lane out.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "congestion/path_model.h"
#include "haul/congestion.h"
#include "haul/lane_steering.h"
#include "haul/telemetry.h"
#include "haul/transport.h"

namespace haul::congestion {

/// All lanes of an engine to a peer over one transport, as one flow. A few times a round trip the owner takes a sample of every
/// lane, settles them, and hands out what each may do.
///
/// A kernel tells totals, not packets. What a controller wants to know of the packet that was just acknowledged is what was
/// known a round trip ago, when it was sent: the totals of that time are kept. Counters may wrap; one that goes back counts
/// nothing until it has passed where it was.
///
/// A steered lane (LaneSteering) reports its acknowledgements, and obeys window and pacing rate. Its reports count in place of
/// the samples' counters: they tell of each loss and mark, and how long the newest packet took. Other lanes are paced only.
class SampledPath {
 public:
  using LaneNumber = uint32_t;

  /// From now on this controller limits; null: nothing does.
  void steer_by(std::unique_ptr<CongestionController> controller) noexcept {
    controller_ = std::move(controller);
    rate_.reset();
  }
  const CongestionController* controller() const noexcept { return controller_.get(); }

  void add_lane(LaneNumber lane, bool steered = false);
  /// It can't be steered any more: from now on it is paced only, and its samples count.
  void stop_steering(LaneNumber lane) noexcept;
  bool steered(LaneNumber lane) const noexcept;
  /// What it had under way is forgotten, and its share goes to the others.
  void remove_lane(LaneNumber lane);
  size_t lanes() const noexcept { return lanes_.size(); }
  size_t steered_lanes() const noexcept;
  /// Steered ones whose newest report says that the newest command was in force.
  size_t obeying_lanes() const noexcept;
  /// Whether the lanes together send no more than one flow of the controller's would, however many they are: all are steered,
  /// and most of those that carry something obey. Beneath a mere pace each lane is a flow of the backend's own.
  bool is_one_flow() const noexcept;

  /// Whether it is time for samples of all lanes. Costs a comparison.
  bool due(TimePoint now) const noexcept { return now >= next_; }
  /// `report`: of a steered lane, where it has one. Reports may come in any order: each counts its bytes, but of one that is
  /// older than another, the round trip is not taken. Unknown lanes are ignored.
  void take(LaneNumber lane, const PathSample& sample, const std::optional<LaneReport>& report = {}) noexcept;
  /// After take() for each lane: tells the controller.
  void settle(TimePoint now);
  /// Something was given to a lane: an idle path moves again.
  void stir(TimePoint now) noexcept;
  /// When due() will say so, while anything moves. An idle path asks for nothing: who polls it anyway may ask due(), which then
  /// says so rarely.
  std::optional<TimePoint> deadline() const noexcept { return moving_ ? std::optional(next_) : std::nullopt; }

  /// What a lane may do from now on, if that differs from what was said before by more than a little, or if what a steered one
  /// was told will soon be void. The rates of the lanes that carry something are together at most the controller's, and so are
  /// their windows (Limits::path_bytes); the others together may start with an eighth of them.
  std::optional<Limits> command(LaneNumber lane) noexcept;
  /// For how long a steered lane holds to a command: some round trips, so that a late engine does not lose its window, and
  /// one that hangs does not go on for long.
  Duration validity() const noexcept;

  uint64_t in_flight_bytes() const noexcept { return in_flight_; }
  const RttEstimator& rtt() const noexcept { return rtt_; }
  bool app_limited() const noexcept { return app_limited_; }
  /// Something else than the controller bounds what is sent, although there is enough: the kernel's own algorithm, the peer's
  /// window, a send buffer.
  bool held_back() const noexcept { return held_back_ && !app_limited_; }

 private:
  struct Counters {
    uint64_t sent = 0;
    uint64_t delivered = 0;
    uint64_t lost = 0;
    uint64_t marked = 0;
  };
  struct Lane {
    LaneNumber number = 0;
    bool steered = false;
    bool known = false;  // `last` is of a sample of it
    bool active = false;
    bool app_limited = false;
    bool obeys = false;
    Counters last;
    uint64_t in_flight = 0;
    std::optional<uint64_t> told_rate;
    uint64_t told_bytes = 0;
    TimePoint told_at;
    TimePoint reported_at;
  };
  // What one look at a lane adds.
  struct News {
    uint64_t delivered = 0;
    uint64_t lost = 0;
    uint64_t marked = 0;
    std::optional<Duration> rtt;
  };
  /// Totals at one moment.
  struct Moment {
    TimePoint at;
    uint64_t delivered = 0;
    uint64_t lost = 0;
    uint64_t in_flight = 0;
    bool app_limited = false;
    bool held_back = false;
  };
  static constexpr size_t moments = 32;

  Lane* find(LaneNumber lane) noexcept;
  static News counted(Lane& lane, const PathSample& sample) noexcept;
  News reported(Lane& lane, const LaneReport& report) noexcept;
  bool worth_telling(const Lane& lane, std::optional<uint64_t> rate, uint64_t bytes) const noexcept;
  double share(const Lane& lane) const noexcept;
  Duration interval() const noexcept;
  const Moment& a_round_trip_ago(TimePoint now) const noexcept;
  void tell_losses(TimePoint now, const Moment& sent);
  void tell_arrivals(TimePoint now, const Moment& sent);
  void notice_silence(TimePoint now);
  bool window_bounds() const noexcept;
  bool loses_much(const Moment& since) const noexcept;
  void notice_holding_back(TimePoint now, const Moment& sent);
  void make_up_for_shortfall(TimePoint now, bool was_limited);
  void fall_silent(TimePoint now);

  std::unique_ptr<CongestionController> controller_;
  std::vector<Lane> lanes_;
  RttEstimator rtt_;
  TimePoint settled_at_;
  TimePoint next_;
  bool moving_ = false;

  // Totals, and what the samples since the last settle() add to them.
  uint64_t delivered_ = 0;
  uint64_t lost_ = 0;
  uint64_t in_flight_ = 0;
  bool app_limited_ = false;
  std::optional<uint64_t> rate_;  // the controller's, of the last settle()
  uint64_t window_ = 0;           // … and its window
  TimePoint grew_at_;             // when that had grown fast
  double shortfall_ = 0;          // of what lanes send, where only the pace holds them back
  double allowed_lately_ = 0;
  double sent_lately_ = 0;
  bool held_back_ = false;
  uint64_t new_sent_ = 0;
  uint64_t new_delivered_ = 0;
  uint64_t new_limited_ = 0;  // of those delivered, on lanes that had too little to send
  uint64_t new_lost_ = 0;
  uint64_t new_marked_ = 0;
  double rtt_by_bytes_ = 0;
  uint64_t rtt_bytes_ = 0;
  bool timed_out_ = false;

  std::array<Moment, moments> history_{};
  size_t next_moment_ = 0;
  TimePoint progress_at_;
  bool silent_ = false;
  std::optional<TimePoint> silence_ended_at_;
};

}  // namespace haul::congestion
