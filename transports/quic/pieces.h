// Pieces of payload between their sending and what became of them.
#pragma once

#include <algorithm>
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
  std::optional<Entry> acknowledged(uint64_t number) {
    if (sent_.holds(number)) overtaken_end_ = std::max(overtaken_end_, number + 1);
    return finish(number);
  }
  /// Acknowledged or lost: told once of each.
  std::optional<Entry> finish(uint64_t number) {
    if (!sent_.holds(number) || sent_[number].over) return {};
    Entry entry = sent_[number];
    sent_[number].over = true;
    while (!sent_.empty() && sent_.front().over) sent_.pop_front();
    return entry;
  }

  /// Nothing was heard of the oldest, although a later one was acknowledged or the path is another one.
  bool overtaken() const noexcept { return overtaken_end_ > sent_.first_number(); }
  /// The oldest that was overtaken, if it was sent no later than this: the library may tell of it neither that it was lost nor
  /// that it arrived. Reordering that lasts longer than a few timeouts only costs a piece that comes twice.
  std::optional<Entry> give_up_overtaken(TimePoint sent_until) {
    return overtaken() ? give_up_oldest(sent_until) : std::nullopt;
  }
  /// The oldest, overtaken or not.
  std::optional<Entry> give_up_oldest(TimePoint sent_until) {
    if (sent_.empty() || sent_.front().packet.sent_at > sent_until) return {};
    return finish(sent_.first_number());
  }

  /// What is under way took another path than what follows: what becomes of it says nothing of that. Nor may anything be heard
  /// of its last piece, so that all of it counts as overtaken.
  void forget_path() {
    overtaken_end_ = sent_.end_number();
    for (uint64_t number = sent_.first_number(); number != sent_.end_number(); ++number) sent_[number].packet.bytes = 0;
  }

  void lost(const PieceId& id) { lost_.push_back(id); }
  bool has_lost() const noexcept { return !lost_.empty(); }
  const PieceId& first_lost() const noexcept { return lost_.front(); }
  void drop_first_lost() { lost_.pop_front(); }
  /// It was to be sent, and did not fit now.
  void put_back(const PieceId& id) { lost_.push_front(id); }

 private:
  base::Window<Entry> sent_;
  uint64_t overtaken_end_ = 0;  // behind the newest that was acknowledged, or took another path
  std::deque<PieceId> lost_;
};

}  // namespace haul::quic
