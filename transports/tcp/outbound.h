// Operations and messages of this side, on one connection: queued, framed, answered, completed.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "base/window.h"
#include "haul/transport.h"
#include "tcp/context.h"
#include "tcp/region.h"
#include "tcp/send_batch.h"
#include "tcp/wire.h"

namespace haul::tcp {

/// A payload that is to be sent without copying, after the frame header that ends a batch.
struct ZeroCopyPayload {
  std::span<const std::byte> memory = {};
  const Region* region = nullptr;  ///< that `memory` lies in; null: unknown
  bool reply = false;  ///< of a read by the peer (`number`: the grant's slot), else of a write of ours (its sequence)
  uint64_t number = 0;
};

class Outbound {
 public:
  Outbound(Context& context, ConnectionId connection) : context_(context), connection_(connection) {}

  void set_peer(const wire::Preface& preface);
  void set_window(std::optional<uint64_t> window_bytes) { window_bytes_ = window_bytes; }

  /// As Transport::post and send, on an open connection.
  size_t post(std::span<const Operation> operations);
  bool send(std::span<const std::byte> message);
  void cancel(uint64_t id);

  /// Something could be framed now.
  bool has_frames() const noexcept { return !messages_.empty() || (live_queued_ > 0 && sent_.size() < credits_); }
  /// Nothing is queued or waits for an answer.
  bool idle() const noexcept { return messages_.empty() && live_queued_ == 0 && sent_.empty(); }
  uint64_t unsent_bytes() const noexcept { return unsent_bytes_; }

  void frame_messages(SendBatch& batch);
  /// Frames the next operation; false: there is none that may go, or no room. With `zero_copy_from_bytes`, a payload of at
  /// least that size is not put into the batch but left in `later`.
  bool frame_operation(SendBatch& batch, std::optional<size_t> zero_copy_from_bytes, std::optional<ZeroCopyPayload>& later);
  /// The batch is with the kernel, which needs its memory no more.
  void batch_sent();
  /// As batch_sent(), of a payload that went without copying.
  void payload_released(uint64_t sequence);

  /// The peer's answers. Errors: protocol.
  Status answered(uint64_t first, uint32_t count, uint16_t code);
  /// A read's reply comes: where to. Errors: protocol.
  Result<std::byte*> begin_read_data(uint64_t sequence, uint32_t length);
  void end_read_data(uint64_t sequence, std::optional<uint32_t> crc);

  /// Ends everything that is outstanding. No kernel operation may refer to its memory any more.
  void end_all(const Status& status);
  /// Tells of room, if post() or send() had refused.
  void announce_room();

 private:
  struct Outgoing {
    Op op = Op::write;
    uint64_t id = 0;
    uint64_t tag = 0;
    std::byte* memory = nullptr;
    wire::Key key{};
    uint64_t remote_offset = 0;
    uint32_t length = 0;
    std::optional<uint32_t> crc = {};
    const Region* region = nullptr;
    bool over = false;       // completed: only its place is left
    bool in_kernel = false;  // a send refers to its memory
    bool zero_copy = false;  // … and keeps it until it is released, not only until the batch is sent
    bool receiving = false;  // its reply comes in
    std::optional<StatusCode> answer = {};
  };

  std::optional<Status> fill(const Operation& operation, Outgoing& outgoing) const;
  bool has_room(uint32_t length) const noexcept;
  void complete(Outgoing& outgoing, Status status, std::optional<uint32_t> crc = {});
  void complete_if_over(Outgoing& outgoing);
  void drop_finished();

  Context& context_;
  ConnectionId connection_;
  uint32_t credits_ = 0;
  uint32_t max_payload_bytes_ = 0;
  std::optional<uint64_t> window_bytes_;

  base::Window<Outgoing> queued_;  // numbered in order of posting
  base::Window<Outgoing> sent_;    // numbered as the wire does, from framing to the answer
  size_t live_queued_ = 0;
  uint64_t unsent_bytes_ = 0;       // of operations, until the kernel took them
  uint64_t outstanding_bytes_ = 0;  // posted, not completed
  uint64_t batch_begin_ = 0;        // the first operation in the batch that is being sent
  uint64_t batch_bytes_ = 0;

  base::Window<std::vector<std::byte>> messages_;
  size_t message_bytes_ = 0;
  bool refused_ = false;  // post() or send() had no room
};

}  // namespace haul::tcp
