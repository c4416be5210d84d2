// File protocol messages to one peer, kept in order while the peer's queue is full.
#pragma once

#include <cstddef>
#include <deque>
#include <vector>

#include "haul/peer.h"
#include "object/messages.h"

namespace haul::object {

/// The engine's thread only.
class Channel {
 public:
  explicit Channel(Peer peer) : peer_(peer) {}

  void send(const FileMessage& message);
  /// Tries again what was refused before.
  void flush();
  bool drained() const noexcept { return waiting_.empty(); }
  /// The peer makes us answer faster than it takes the answers.
  bool overflowed() const noexcept { return overflowed_; }

  Peer& peer() noexcept { return peer_; }

 private:
  bool pass_on(const std::vector<std::byte>& bytes);

  Peer peer_;
  std::deque<std::vector<std::byte>> waiting_;
  bool overflowed_ = false;
};

}  // namespace haul::object
