// A path whose acknowledgements are the ends of operations (rdma): how much may be posted to a peer, and when.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "congestion/pacer.h"
#include "congestion/path_model.h"
#include "haul/congestion.h"

namespace haul::congestion {

/// What keeps a path from carrying more.
enum class PathLimit : uint8_t {
  nothing_to_send,
  window,   ///< what is outstanding fills the controller's window
  pacing,   ///< the next operation's time has not come
  backend,  ///< its lanes take no more
  budget,   ///< a rate of the application's
};

/// One for each direction between an engine and a peer over one transport; all lanes share it. Operations that are posted,
/// completed and failed go in; whether the next one may be posted comes out. Without a controller it only measures.
///
/// Arithmetic only. At least one operation may always be outstanding, however small the window; and with none outstanding no
/// pace holds the next one back for more than a second.
class OperationPath {
 public:
  /// Names a posted operation; 0 is none. Used again once that operation ended.
  using Ticket = uint32_t;
  enum class End : uint8_t {
    arrived,
    lost,       ///< its lane failed with it
    withdrawn,  ///< it says nothing of the path: cancelled, refused, wrong in itself
  };

  explicit OperationPath(uint32_t operation_bytes) noexcept;

  /// From now on this controller limits; null: nothing does.
  void steer_by(std::unique_ptr<CongestionController> controller) noexcept;
  const CongestionController* controller() const noexcept { return controller_.get(); }
  /// Operations that ended well while no controller limited: what measured the round trip.
  uint64_t arrived_operations() const noexcept { return arrived_operations_; }

  /// Whether an operation of `bytes` may be posted behind `pending` bytes of others that are about to be.
  bool admits(TimePoint now, uint64_t pending, uint64_t bytes) noexcept;
  Ticket posted(TimePoint now, uint64_t bytes);
  /// Unknown tickets are ignored.
  void ended(TimePoint now, Ticket ticket, End end);
  /// Nothing is posted, for this reason, although the path might carry more: `nothing_to_send`, `backend` or `budget`.
  void on_unused(PathLimit why) noexcept;

  /// Tells the controller what ended since the last call.
  void settle();
  /// Tells it of silence, once ended() was told of everything that ended by `now`: an owner that comes late must not take for
  /// silence what it has not looked at. True: admits() lets one operation through now, whatever the window.
  bool notice_silence(TimePoint now);
  /// When notice_silence() or, with `waiting` operations to post, admits() wants to be asked again though nothing ended.
  std::optional<TimePoint> deadline(bool waiting) const noexcept;

  uint64_t window_bytes() const noexcept { return controller_ ? controller_->window_bytes() : UINT64_MAX; }
  uint64_t in_flight_bytes() const noexcept { return model_.in_flight_bytes(); }
  const RttEstimator& rtt() const noexcept { return model_.rtt(); }
  bool silent() const noexcept { return model_.silent(); }
  PathLimit limit() const noexcept { return limit_; }

 private:
  void settle_acknowledged();
  void obey() noexcept;
  TimePoint next_post() const noexcept;

  std::unique_ptr<CongestionController> controller_;
  PathModel model_;
  Pacer pacer_;
  std::vector<SentPacket> slots_;  // by ticket - 1; those of 0 bytes are free
  std::vector<Ticket> free_;
  uint64_t arrived_operations_ = 0;
  TimePoint posted_at_;  // the last one
  bool acknowledged_ = false;
  TimePoint acknowledged_at_;
  bool probe_ = false;  // one operation may go whatever the window says
  PathLimit limit_ = PathLimit::nothing_to_send;
};

}  // namespace haul::congestion
