// Operations of the peer, on one connection: checked against the grants, landed or served, answered.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "base/window.h"
#include "haul/transport.h"
#include "tcp/context.h"
#include "tcp/grants.h"
#include "tcp/outbound.h"
#include "tcp/send_batch.h"
#include "tcp/wire.h"

namespace haul::tcp {

class Inbound {
 public:
  Inbound(Context& context, ConnectionId connection) : context_(context), connection_(connection) {}

  Result<LocalGrant> grant(std::span<std::byte> memory, Rights rights) { return grants_.add(memory, rights); }
  /// Drops queued replies from the grant. `revoked` is emitted now, or when its last kernel operation is over.
  void revoke(uint64_t grant_id);
  /// The core's answer to a landed write; unknown ids are ignored.
  void answer(uint64_t sequence, StatusCode code);

  /// A large write comes: where its payload goes, null when refused. Errors: protocol.
  Result<std::byte*> begin_write(const wire::FrameHeader& header);
  /// All of its payload was received (or discarded).
  void end_write(const wire::FrameHeader& header);
  /// The grant that the payload under way lands in was revoked: the receive must be stopped, then detach_landing() called.
  bool landing_revoked() const noexcept { return landing_ && grants_.revoked(*landing_); }
  /// No kernel operation refers to the payload's destination any more.
  void detach_landing();

  /// The records of a bundle. Errors: protocol.
  Status small_write(uint64_t sequence, const wire::Record& record, std::span<const std::byte> payload);
  Status read_request(uint64_t sequence, const wire::Record& record);

  /// The peer used what was never granted to it: refused, and to be told before the connection is closed. Else ok.
  const Status& misuse() const noexcept { return misuse_; }

  /// Something could be framed now.
  bool has_frames() const noexcept { return !answers_.empty() || !replies_.empty(); }
  /// Every operation of the peer was answered, and the answers framed.
  bool idle() const noexcept { return incoming_.empty() && answers_.empty(); }

  void frame_answers(SendBatch& batch);
  /// As Outbound::frame_operation, for replies to reads.
  bool frame_reply(SendBatch& batch, std::optional<size_t> zero_copy_from_bytes, std::optional<ZeroCopyPayload>& later);
  void batch_sent();
  void payload_released(uint64_t grant_slot) { release(static_cast<uint32_t>(grant_slot)); }

 private:
  enum class State : uint8_t { landing, landed, reading, answered, over };
  struct Incoming {
    State state = State::over;
    bool refused = false;
  };
  struct Answers {
    uint64_t first = 0;
    uint32_t count = 0;
    StatusCode code = StatusCode::ok;
  };
  struct Reply {
    uint64_t sequence = 0;
    uint64_t offset = 0;
    uint32_t grant = 0;
    uint32_t length = 0;
    bool wants_crc = false;
    bool dropped = false;
  };

  std::optional<uint32_t> use(const wire::Key& key, Rights wanted, uint64_t offset, uint64_t length);
  Status admit(uint64_t sequence, uint32_t length, State state);
  void queue_answer(uint64_t sequence, StatusCode code);
  void emit_landed(uint64_t sequence, uint64_t tag, std::span<std::byte> payload, std::optional<uint32_t> crc);
  void end(uint64_t sequence);
  void release(uint32_t grant_slot);

  Context& context_;
  ConnectionId connection_;
  Status misuse_;
  GrantTable grants_;
  base::Window<Incoming> incoming_;  // numbered as the wire does, until the answer is framed
  base::Window<Answers> answers_;
  base::Window<Reply> replies_;
  std::vector<uint32_t> batch_grants_;  // whose memory the batch that is being sent refers to
  std::optional<uint32_t> landing_;     // the grant that a large write's payload is being received into
  std::byte* landing_memory_ = nullptr;
};

}  // namespace haul::tcp
