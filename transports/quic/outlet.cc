// Packets of one size to one place leave together.
#include "quic/outlet.h"

#include <algorithm>
#include <cstring>

namespace haul::quic {

bool same(const net::Endpoint& a, const net::Endpoint& b) noexcept {
  return a.bytes == b.bytes && std::memcmp(&a.storage, &b.storage, a.bytes) == 0;
}

void Outlet::send(const Burst& burst) {
  if (!blocked() && socket_->send(burst)) return;
  Waiting& kept = waiting_.emplace_back();
  kept.bytes.assign(burst.bytes.begin(), burst.bytes.end());
  kept.burst = burst;
  kept.burst.bytes = kept.bytes;
}

bool Outlet::flush() {
  while (blocked() && socket_->send(waiting_.front().burst)) waiting_.pop_front();
  return !blocked();
}

void BurstWriter::add(size_t bytes, uint8_t ecn, const net::Endpoint& remote) {
  const bool fits = count_ == 0 || (bytes <= burst_.datagram_bytes && ecn == burst_.ecn && same(remote, burst_.remote));
  if (!fits) {
    const size_t begin = used_;
    flush();
    std::memmove(memory_.data(), memory_.data() + begin, bytes);
  }
  if (count_ == 0) burst_ = {.bytes = {}, .datagram_bytes = bytes, .ecn = ecn, .remote = remote};
  used_ += bytes;
  ++count_;
  if (bytes < burst_.datagram_bytes || count_ == max_burst_datagrams) flush();
}

void BurstWriter::flush() {
  if (count_ == 0) return;
  burst_.bytes = std::span(memory_).first(used_);
  outlet_.send(burst_);
  used_ = 0;
  count_ = 0;
}

}  // namespace haul::quic
