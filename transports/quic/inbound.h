// Operations of the peer, on one connection: checked against the grants, landed or served, answered.
#pragma once

#include <cstdint>
#include <deque>
#include <optional>
#include <span>
#include <vector>

#include "base/window.h"
#include "haul/transport.h"
#include "quic/context.h"
#include "quic/coverage.h"
#include "quic/grants.h"
#include "quic/pieces.h"
#include "quic/stream.h"
#include "quic/wire.h"

namespace haul::quic {

class Inbound {
 public:
  Inbound(Context& context, ConnectionId connection) : context_(context), connection_(connection) {}

  Result<LocalGrant> grant(std::span<std::byte> memory, Rights rights) { return grants_.add(memory, rights); }
  void revoke(uint64_t grant_id);
  /// The core's answer to a landed write; unknown ids are ignored.
  void answer(uint64_t sequence, StatusCode code);

  // What the peer says. Errors: protocol.
  Status write(const wire::Record& record, std::span<const std::byte> payload);
  Status read(const wire::Record& record);
  Status cancel(const wire::Record& record);
  Status piece(const wire::Piece& piece);

  /// The peer used what was never granted to it: refused, and to be told before the connection is closed. Else ok.
  const Status& misuse() const noexcept { return misuse_; }
  /// Nothing waits for this side: reads were sent whole, if not acknowledged.
  bool served() noexcept;
  /// Every operation of the peer was answered or served.
  bool idle() const noexcept { return incoming_.empty() && answers_.empty(); }

  /// Puts records for answers, as long as there is room in the stream.
  void frame(StreamSender& stream);
  bool has_pieces() const noexcept { return !serving_.empty(); }
  /// As Outbound::next_piece() and piece_again(), of what the peer reads.
  std::optional<OutgoingPiece> next_piece(size_t max_bytes);
  std::optional<OutgoingPiece> piece_again(const PieceId& id);
  void piece_arrived(const PieceId& id);
  /// All of the stream before this offset arrived.
  void acknowledged(uint64_t offset);

 private:
  enum class State : uint8_t { expected, landing, landed, reading, answered, over };
  struct Incoming {
    State state = State::over;
    bool refused = false;
    wire::Key key = 0;
    uint64_t offset = 0;
    uint32_t length = 0;  // 0: its record has not come
    uint32_t moved = 0;   // reading: sent in pieces
    uint32_t arrived = 0;
    uint64_t tag = 0;
    std::optional<uint32_t> crc = {};
    std::span<std::byte> memory = {};
    Coverage placed = {};  // by offset in the grant, since pieces may come before the record
  };
  struct Answers {
    uint64_t first = 0;
    uint32_t count = 0;
    StatusCode code = StatusCode::ok;
  };

  // What was read and copied into the stream, where it may be sent again until it is acknowledged.
  struct Copied {
    uint64_t end = 0;  // in the stream
    wire::Key key = 0;
  };
  struct Revoking {
    uint64_t until = 0;  // as Copied::end
    uint64_t grant_id = 0;
  };

  Result<Incoming*> announced(const wire::Record& record);
  Status expect_up_to(uint64_t sequence);
  std::span<std::byte> use(wire::Key key, Rights wanted, uint64_t offset, uint64_t length);
  Status land_if_whole(uint64_t sequence, Incoming& incoming);
  void queue_answer(uint64_t sequence, StatusCode code);
  void end(uint64_t sequence);
  Status place(Incoming& incoming, uint64_t begin, uint64_t end);
  void forget_placed(Incoming& incoming);
  bool is_read(uint64_t sequence);

  Context& context_;
  ConnectionId connection_;
  Status misuse_;
  GrantTable grants_;
  size_t apart_ = 0;                 // runs of all operations
  base::Window<Incoming> incoming_;  // numbered as the wire does
  uint64_t next_record_ = 0;         // of operations
  base::Window<Answers> answers_;
  base::Window<uint64_t> requested_;  // reads that the peer was told nothing of yet
  std::deque<Copied> copied_;
  std::vector<Revoking> revoking_;
  base::Window<uint64_t> serving_;  // reads with pieces to be sent for the first time
};

}  // namespace haul::quic
