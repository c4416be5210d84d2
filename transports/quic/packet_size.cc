// The search: usual sizes first, then halves of what lies between what arrives and what does not.
#include "quic/packet_size.h"

namespace haul::quic {

size_t PacketSize::next() const noexcept {
  const size_t end = std::min(bad_, most_ + 1);
  for (const size_t size : usual) {
    if (size > good_ + good_ / worthwhile && size < end) return size;
  }
  if (bad_ > most_) return most_;
  return good_ + (bad_ - good_) / 2;
}

std::optional<size_t> PacketSize::probe(TimePoint now) noexcept {
  if (probe_ > 0) return {};
  if (search_at_) {
    if (now < *search_at_) return {};
    search_at_.reset();
  }
  const size_t size = next();
  if (size > good_ + good_ / worthwhile && probes_ < most_probes) return size;
  // Over. Some path of today may be replaced by a better one, and a size that most paths carry may have been lost by chance.
  search_from(now + (good_ < std::min(ordinary, most_) ? again_soon : again));
  return {};
}

void PacketSize::search_from(TimePoint at) noexcept {
  search_at_ = at;
  bad_ = SIZE_MAX;
  probe_ = 0;
  failures_ = probes_ = 0;
}

void PacketSize::acknowledged(size_t packet_bytes) noexcept {
  if (packet_bytes <= safe_packet_bytes) return;
  lost_in_a_row_ = 0;
  if (packet_bytes <= good_) return;
  good_ = packet_bytes;
  if (bad_ <= good_) bad_ = SIZE_MAX;
  probe_ = 0;
  failures_ = 0;
}

void PacketSize::lost(TimePoint now, size_t packet_bytes) noexcept {
  if (packet_bytes > good_) {
    if (packet_bytes != probe_) return;
    probe_ = 0;
    if (++failures_ < tries) return;
    bad_ = packet_bytes;
    failures_ = 0;
  } else if (packet_bytes > safe_packet_bytes && ++lost_in_a_row_ >= most_in_a_row) {
    shrink(now);
  }
}

void PacketSize::shrink(TimePoint now) noexcept {
  if (good_ <= safe_packet_bytes) return;
  good_ = safe_packet_bytes;
  lost_in_a_row_ = 0;
  search_from(now + after_black_hole);
}

}  // namespace haul::quic
