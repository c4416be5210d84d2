// A transfer while it runs, and the operations it is cut into.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/intrusive_list.h"
#include "haul/transfer.h"
#include "memory/grants.h"
#include "memory/registration.h"

namespace haul::transfer {

struct InTransfer;  // list tag: an operation in its transfer's outstanding or again list
struct InReady;     // list tag: a transfer in its peer's ready queue
struct InPeer;      // list tag: a transfer in its peer's list of all

enum class OperationState : uint8_t {
  free,
  again,      ///< to be posted (again)
  posted,     ///< the transport's
  verifying,  ///< placed; the owner of the memory is asked for its checksum
  parked,     ///< its lane died: waits for the peer's word that nothing of it can land any more
};

/// One operation from its first post to its end. Lives in an OperationPool.
struct OperationRecord : base::ListLink<InTransfer> {
  uint64_t id = 0;
  detail::TransferState* transfer = nullptr;
  uint32_t piece = 0;
  uint32_t index = 0;  // within the transfer
  uint64_t piece_offset = 0;
  uint32_t length = 0;
  memory::LaneNumber lane = 0;
  uint32_t attempts = 0;
  uint64_t immediate_number = 0;   // on its lane (schedule::SentImmediates); 0: without one
  std::optional<uint32_t> crc32c;  // of the local memory, computed once a post is near
  uint32_t ticket = 0;             // its name on a path that is controlled, while it is posted; 0: none
  bool alone = false;              // its checksum failed: again only when nothing else of the transfer can overlap it
  OperationState state = OperationState::free;
};

using OperationList = base::IntrusiveList<OperationRecord, InTransfer>;

/// Records by id. An id names a slot and a generation, so that a late id of an ended operation finds nothing.
class OperationPool {
 public:
  OperationRecord& take();
  void give_back(OperationRecord& record);
  /// Null if that operation is over.
  OperationRecord* find(uint64_t id);
  size_t in_use() const noexcept { return records_.size() - free_.size(); }

 private:
  std::deque<OperationRecord> records_;
  std::vector<uint32_t> free_;
};

/// A piece with its ranges checked and its buffers resolved. The transfer keeps what it points to alive.
struct PlannedPiece {
  detail::Registration* local = nullptr;
  uint64_t local_offset = 0;
  memory::HeldGrant* remote = nullptr;  // null while its owner has not announced it
  uint64_t remote_grant = 0;
  uint64_t remote_offset = 0;
  uint64_t length = 0;

  /// On either side. Precondition: announced.
  bool on_device() const noexcept { return local->on_device() || remote->on_device; }
};

/// A lane as far as cutting goes.
struct LaneName {
  memory::LaneNumber number = 0;
  uint32_t transport_index = 0;
};

enum class Phase : uint8_t {
  waiting,  ///< for a grant that its owner has not announced yet
  running,
  ending,  ///< cancelled, timed out or failed: nothing new is posted, the rest is proven quiet
  done,
};

}  // namespace haul::transfer

namespace haul::detail {

struct TransferState : base::ListLink<transfer::InReady>, base::ListLink<transfer::InPeer> {
  EngineCore* core = nullptr;  // null once the engine is gone
  uint64_t peer = 0;
  uint64_t id = 0;
  Op op = Op::write;
  transfer::Phase phase = transfer::Phase::running;
  uint8_t priority = 128;
  bool checked = true;     // integrity, where the processor can read both sides
  bool on_device = false;  // some of it

  std::vector<transfer::PlannedPiece> pieces;
  std::vector<std::shared_ptr<Registration>> memory;
  std::vector<std::shared_ptr<memory::HeldGrant>> grants;

  uint64_t bytes_total = 0;
  uint64_t bytes_done = 0;

  // Cutting: everything before the cursor has been cut.
  size_t cursor_piece = 0;
  uint64_t cursor_offset = 0;
  uint32_t operations_cut = 0;
  transfer::OperationList again;
  transfer::OperationList outstanding;

  std::optional<std::string> notify;   // its bytes: those of an immediate fit into the object
  uint64_t notify_serial = 0;          // given when something must carry it
  bool notify_counted = false;         // among its peer's open notifications
  std::optional<Immediate> immediate;  // the notification fits into one, and its only operation may carry it
  bool notify_sent = false;
  bool notify_after_completion = false;  // a lane was used whose transport reports no landings

  std::optional<TimePoint> deadline;
  std::optional<TimePoint> quiet_deadline;  // phase ending: by then the lanes are closed
  std::optional<TimePoint> timer;           // when the engine looks at it next
  std::optional<TimePoint> stuck_since;     // of those on devices: no lane can move it
  TransferCallback on_done;
  Status status;  // phase ending: how it will end; done: how it ended

  bool all_cut() const noexcept { return cursor_piece == pieces.size(); }
  bool has_work() const noexcept { return phase == transfer::Phase::running && (!all_cut() || !again.empty()); }
};

}  // namespace haul::detail

namespace haul::transfer {

/// Makes it as new, but for the room in its vectors. Precondition: it is in no list, and has no operations.
void renew(detail::TransferState& state);

/// Takes the next operation to post on a lane: one to be sent again, else a new cut of at most max_bytes. Null: nothing now.
/// The record is in no list afterwards. `lane` decides only whether both sides' memory can be reached by it.
OperationRecord* next_operation(detail::TransferState& state, OperationPool& pool, LaneName lane, uint32_t max_bytes);

/// Whether there is one for this lane.
bool has_operation_for(const detail::TransferState& state, LaneName lane);

/// Whether its bytes are compared by checksums: the processor never reads device memory.
bool is_checked(const OperationRecord& record);

/// How many operations the pieces make at most, cut at max_bytes.
uint64_t count_operations(std::span<const PlannedPiece> pieces, uint32_t max_bytes);

/// The memory of an operation on this side.
std::span<std::byte> local_memory(const OperationRecord& record);

}  // namespace haul::transfer
