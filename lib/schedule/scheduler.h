// Which operation goes next, on which lane. The only place that stripes over lanes.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <vector>

#include "haul/time.h"
#include "haul/transport.h"
#include "schedule/gate.h"
#include "schedule/immediates.h"
#include "transfer/state.h"

namespace haul::schedule {

/// One connection to a peer, as the scheduler sees it.
struct Lane {
  memory::LaneNumber number = 0;
  Transport* transport = nullptr;
  uint32_t transport_index = 0;
  ConnectionId connection = 0;
  uint32_t operation_bytes = 0;  ///< operations are cut into this, so that each also fits lanes over other transports
  bool ready = false;
  bool blocked = false;  ///< post() refused; cleared by `writable` or `completed`
  uint32_t operations_outstanding = 0;
  uint64_t bytes_outstanding = 0;
  SentImmediates immediates;
};

/// One peer's transfers that have something to post. Higher priorities first; equals take turns.
class Scheduler {
 public:
  Scheduler();
  ~Scheduler();
  Scheduler(const Scheduler&) = delete;
  Scheduler& operator=(const Scheduler&) = delete;
  void enter(detail::TransferState& transfer);
  void leave(detail::TransferState& transfer);
  bool empty() const noexcept { return waiting_ == 0; }

  /// Posts what the lanes take, and the gate, if there is one, lets through: in order of priority; what must wait holds up what
  /// is behind it, in its direction. Transfers of which everything is posted now are appended to `posted`.
  /// Returns the number of operations posted.
  size_t run(std::span<Lane* const> lanes, transfer::OperationPool& pool, TimePoint now,
             std::vector<detail::TransferState*>& posted, Gate* gate = nullptr);

 private:
  using Queue = base::IntrusiveList<detail::TransferState, transfer::InReady>;
  struct Batch;

  size_t fill(Lane& lane, transfer::OperationPool& pool, Admission& admission, Batch& batch);
  void take_from(detail::TransferState& transfer, Lane& lane, transfer::OperationPool& pool, Admission& admission,
                 Batch& batch);
  size_t post(Lane& lane, Batch& batch, TimePoint now, Admission& admission);

  std::map<uint8_t, Queue, std::greater<>> ready_;  // a queue that ran empty stays: the next transfer is likely to want it
  size_t waiting_ = 0;                              // in all queues
  std::unique_ptr<Batch> batch_;                    // kept: clearing all of one anew would cost more than posting one operation
};

}  // namespace haul::schedule
