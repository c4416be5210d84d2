// Operations and messages of this side, on one connection: queued, cut into pieces, answered, completed.
#pragma once

#include <cstdint>
#include <deque>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/window.h"
#include "haul/transport.h"
#include "quic/context.h"
#include "quic/coverage.h"
#include "quic/pieces.h"
#include "quic/stream.h"
#include "quic/wire.h"

namespace haul::quic {

class Outbound {
 public:
  Outbound(Context& context, ConnectionId connection) : context_(context), connection_(connection) {}

  void set_peer(const wire::Record& hello);
  void set_window(std::optional<uint64_t> window_bytes) { window_bytes_ = window_bytes; }

  /// As Transport::post, send and cancel, on an open connection.
  size_t post(std::span<const Operation> operations);
  bool send(std::span<const std::byte> message);
  void cancel(uint64_t id);

  /// Puts records for messages and operations, as long as there is room in the stream.
  void frame(StreamSender& stream);
  /// Some piece is to be sent for the first time.
  bool has_pieces() const noexcept { return next_ != sent_.end_number(); }
  /// The next one of at most `max_bytes`, header included. Absent: there is none.
  std::optional<OutgoingPiece> next_piece(size_t max_bytes);
  /// Of one that is to be sent again. Absent: nobody needs it any more.
  std::optional<OutgoingPiece> piece_again(const PieceId& id);

  /// Nothing is queued or waits for an answer.
  bool idle() const noexcept { return messages_.empty() && live_queued_ == 0 && sent_.empty(); }
  uint64_t unsent_bytes() const noexcept { return unsent_bytes_; }

  // What the peer says. Errors: protocol.
  Status answered(uint64_t first, uint32_t count, uint16_t code);
  Status read_data(const wire::Record& record, std::span<const std::byte> payload);
  Status piece(const wire::Piece& piece);

  /// Ends everything that is outstanding.
  void end_all(const Status& status);
  /// Tells of room, if post() or send() had refused.
  void announce_room();

 private:
  struct Outgoing {
    Op op = Op::write;
    uint64_t id = 0;
    uint64_t tag = 0;
    std::byte* memory = nullptr;
    wire::Key key = 0;
    uint64_t remote_offset = 0;
    uint32_t length = 0;
    std::optional<uint32_t> crc = {};
    uint32_t moved = 0;       // sent in pieces
    bool over = false;        // completed: only its place is left
    bool cancelling = false;  // nothing more of it is sent or placed; the peer's word is awaited
    bool has_crc = false;     // read: the owner's came, in `crc`
    bool told = false;        // read: its read_data record came
    Coverage placed = {};     // read
  };

  std::optional<Status> fill(const Operation& operation, Outgoing& outgoing) const;
  bool has_room(uint32_t length) const noexcept;
  bool frame_operation(StreamSender& stream);
  void complete(Outgoing& outgoing, Status status);
  void complete_read_if_whole(Outgoing& outgoing);
  void drop_finished();
  Status place(Outgoing& outgoing, uint64_t begin, uint64_t end);
  OutgoingPiece make_piece(uint64_t sequence, const Outgoing& outgoing, uint32_t offset, uint32_t length) const;

  Context& context_;
  ConnectionId connection_;
  uint32_t credits_ = 0;
  uint32_t max_payload_bytes_ = 0;
  std::optional<uint64_t> window_bytes_;

  base::Window<Outgoing> queued_;  // numbered in order of posting
  base::Window<Outgoing> sent_;    // numbered as the wire does, from its record to its end
  uint64_t next_ = 0;              // the first in sent_ that may have pieces never sent
  std::vector<uint64_t> cancels_;  // to be told to the peer
  size_t live_queued_ = 0;
  size_t apart_ = 0;                // runs of all reads
  uint64_t unsent_bytes_ = 0;       // of operations, until they were sent once
  uint64_t outstanding_bytes_ = 0;  // posted, not completed

  std::deque<std::vector<std::byte>> messages_;
  size_t message_bytes_ = 0;
  bool refused_ = false;  // post() or send() had no room
};

}  // namespace haul::quic
