// Counting landed writes until a notification may be delivered.
#include "transfer/landing.h"

#include <utility>

namespace haul::transfer {

LandingTracker::Ready LandingTracker::landed(uint64_t serial, uint32_t index) {
  if (is_over(serial)) return std::nullopt;
  Open& open = open_[serial];
  gaps_ -= open.indices.ranges();
  open.indices.add(index, uint64_t{index} + 1);
  gaps_ += open.indices.ranges();
  return deliver_if_complete(serial, open);
}

LandingTracker::Ready LandingTracker::announced(uint64_t serial, uint32_t count, std::span<const std::byte> payload) {
  if (is_over(serial)) return std::nullopt;
  Open& open = open_[serial];
  open.expected = count;
  open.payload.assign(payload.begin(), payload.end());
  return deliver_if_complete(serial, open);
}

void LandingTracker::abandoned(uint64_t serial) { finish(serial); }

LandingTracker::Ready LandingTracker::deliver_if_complete(uint64_t serial, Open& open) {
  if (!open.expected || open.indices.count() < *open.expected) return std::nullopt;
  Ready ready = std::move(open.payload);
  finish(serial);
  return ready;
}

void LandingTracker::finish(uint64_t serial) {
  if (const auto open = open_.find(serial); open != open_.end()) {
    gaps_ -= open->second.indices.ranges();
    open_.erase(open);
  }
  over_.add(serial, serial + 1);
}

}  // namespace haul::transfer
