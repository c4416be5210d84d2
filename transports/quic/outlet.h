// A socket with what waits until it has room again.
#pragma once

#include <deque>
#include <memory>
#include <utility>
#include <vector>

#include "quic/udp.h"

namespace haul::quic {

/// Two addresses are one.
bool same(const net::Endpoint& a, const net::Endpoint& b) noexcept;

class Outlet {
 public:
  Outlet(std::unique_ptr<DatagramSocket> socket, bool listens) : socket_(std::move(socket)), listens_(listens) {}

  DatagramSocket& socket() noexcept { return *socket_; }
  const net::Endpoint& local() const noexcept { return socket_->local(); }
  /// Strangers may connect here, not only who has a lane's token.
  bool listens() const noexcept { return listens_; }

  /// Nothing more should be written before flush() succeeds: it would wait here.
  bool blocked() const noexcept { return !waiting_.empty(); }
  /// Sends it, or keeps it until there is room: who wrote it has it in its books as sent. Whoever writes asks blocked() before
  /// each burst, so that no more than what was being written waits.
  void send(const Burst& burst);
  /// As send(), but what does not fit now is dropped: for answers that strangers may ask for without end.
  void answer(const Burst& burst) {
    if (!blocked()) socket_->send(burst);
  }
  bool flush();

 private:
  struct Waiting {
    std::vector<std::byte> bytes;
    Burst burst;
  };

  std::unique_ptr<DatagramSocket> socket_;
  bool listens_;
  std::deque<Waiting> waiting_;
};

/// Collects packets that may leave as one burst.
class BurstWriter {
 public:
  BurstWriter(std::vector<std::byte>& memory, Outlet& outlet) : memory_(memory), outlet_(outlet) {}

  /// Where the next packet goes.
  std::span<std::byte> room(size_t packet_bytes) {
    if (used_ + packet_bytes > memory_.size()) flush();
    return std::span(memory_).subspan(used_);
  }
  /// A packet was written there.
  void add(size_t bytes, uint8_t ecn, const net::Endpoint& remote);
  void flush();
  bool blocked() const noexcept { return outlet_.blocked(); }

 private:
  std::vector<std::byte>& memory_;
  Outlet& outlet_;
  Burst burst_;
  size_t used_ = 0;
  size_t count_ = 0;
};

}  // namespace haul::quic
