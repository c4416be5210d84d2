// Pieces of payload between their sending and what became of them.
#pragma once

#include <cstdint>
#include <deque>
#include <optional>
#include <span>

#include "base/window.h"
#include "congestion/path_model.h"
#include "quic/wire.h"

namespace haul::quic {

/// What is needed to make a piece again.
struct PieceId {
  bool reply = false;     ///< to a read of the peer's, else of a write of ours
  uint64_t sequence = 0;  ///< of the operation, whole
  uint32_t offset = 0;    ///< in the operation
  uint32_t length = 0;
};

/// A piece to be put into a packet now.
struct OutgoingPiece {
  PieceId id;
  wire::Piece header;  ///< its payload lies in the source memory
};

/// Numbered as they are sent; what was lost waits to be sent again, under another number.
class PieceLedger {
 public:
  uint64_t next_number() const noexcept { return sent_.end_number(); }
  void sent(const PieceId& id, const congestion::SentPacket& packet) {
    sent_.push() = Entry{.id = id, .packet = packet, .over = false};
  }

  struct Entry {
    PieceId id;
    congestion::SentPacket packet;
    bool over = true;
  };
  /// Acknowledged or lost: told once of each.
  std::optional<Entry> finish(uint64_t number) {
    if (!sent_.holds(number) || sent_[number].over) return {};
    Entry entry = sent_[number];
    sent_[number].over = true;
    while (!sent_.empty() && sent_.front().over) sent_.pop_front();
    return entry;
  }

  void lost(const PieceId& id) { lost_.push_back(id); }
  bool has_lost() const noexcept { return !lost_.empty(); }
  const PieceId& first_lost() const noexcept { return lost_.front(); }
  void drop_first_lost() { lost_.pop_front(); }
  /// It was to be sent, and did not fit now.
  void put_back(const PieceId& id) { lost_.push_front(id); }

 private:
  base::Window<Entry> sent_;
  std::deque<PieceId> lost_;
};

}  // namespace haul::quic
