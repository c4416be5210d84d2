// How large packets may be on this path, found by sending larger ones now and then (RFC 8899, with payload in the probes).
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>

#include "haul/time.h"

namespace haul::quic {

/// Every path carries so much UDP payload (RFC 9000 section 14).
inline constexpr size_t safe_packet_bytes = 1200;
// Of Ethernet, over IPv6: most paths carry so much, and those within a data centre often.
inline constexpr size_t ethernet_packet_bytes = 1452;
inline constexpr size_t jumbo_packet_bytes = 8952;

/// Sizes are bytes of UDP payload. A probe is a packet larger than all that arrived.
class PacketSize {
 public:
  /// `most_bytes`: larger packets are not tried.
  explicit PacketSize(size_t most_bytes) noexcept : most_(most_bytes) {}

  /// What packets may have, since as large a one arrived.
  size_t bytes() const noexcept { return good_; }
  /// The size that a packet should have, to see whether it arrives: absent while the fate of another is open, and when all is
  /// known. Whoever sends such a packet says so.
  std::optional<size_t> probe(TimePoint now) noexcept;
  void sent(size_t packet_bytes) noexcept {
    if (packet_bytes <= good_) return;
    probe_ = packet_bytes;
    ++probes_;
  }

  /// Larger than all that arrived so far: its loss is no sign of congestion.
  bool is_probe(size_t packet_bytes) const noexcept { return packet_bytes > good_; }
  // What became of a packet whose fate is known.
  void acknowledged(size_t packet_bytes) noexcept;
  void lost(TimePoint now, size_t packet_bytes) noexcept;
  /// So many timeouts of the library's since anything was acknowledged.
  void timeouts(TimePoint now, uint64_t in_a_row) noexcept {
    if (in_a_row >= most_timeouts) shrink(now);
  }

 private:
  static constexpr uint32_t most_in_a_row = 10;
  static constexpr uint64_t most_timeouts = 2;
  static constexpr uint32_t tries = 3;         // of one size
  static constexpr uint32_t most_probes = 30;  // of one search
  static constexpr size_t worthwhile = 32;     // a gain of less than one part in so many is none
  static constexpr Duration after_black_hole = std::chrono::seconds(1);
  static constexpr Duration again_soon = std::chrono::minutes(1);
  static constexpr Duration again = std::chrono::minutes(10);  // RFC 8899 section 5.1.1
  static constexpr std::array<size_t, 2> usual = {ethernet_packet_bytes, jumbo_packet_bytes};
  static constexpr size_t ordinary = 1400;

  size_t next() const noexcept;
  void shrink(TimePoint now) noexcept;
  void search_from(TimePoint at) noexcept;

  size_t most_;
  size_t good_ = safe_packet_bytes;
  size_t bad_ = SIZE_MAX;  // vanishes, as far as is known
  size_t probe_ = 0;       // under way
  uint32_t failures_ = 0;  // of the size that is tried
  uint32_t probes_ = 0;
  std::optional<TimePoint> search_at_;  // not before
  uint32_t lost_in_a_row_ = 0;
};

}  // namespace haul::quic
