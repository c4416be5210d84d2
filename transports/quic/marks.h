// What the peer says in ACK frames, of which the library tells nothing: congestion marks (ECN, RFC 3168), and its delay.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <utility>

namespace haul::quic {

/// What an ACK frame of type 0x03 says, for all packets of its space so far (RFC 9000 section 19.3.2).
struct MarkCounts {
  uint64_t ect0 = 0;
  uint64_t ect1 = 0;
  uint64_t ce = 0;
};

/// An ACK frame (RFC 9000 section 19.3), as far as it is of interest here.
struct AckFrame {
  uint64_t largest = 0;  ///< packet number
  uint64_t delay = 0;    ///< between that packet's coming and the frame, in units that the peer chose when it began
  std::optional<MarkCounts> counts;
};

/// The first one in a decrypted packet. It is looked for behind the small frames that a peer may put before it: where payload
/// comes first, nothing is.
std::optional<AckFrame> read_ack(std::span<const std::byte> frames) noexcept;

/// How many packets arrived marked, since the last question. Reports are believed only as far as RFC 9000 section 13.4.2 has
/// it: no more than left with ECT(0), none of them changed to ECT(1), and some unmarked, since a path that marks everything
/// says nothing of its queues.
class Marks {
 public:
  /// A packet left with ECT(0).
  void on_sent() noexcept { ++sent_; }
  void on_report(const MarkCounts& counts) noexcept {
    // Counts never fall: this one was overtaken.
    if (counts.ce <= reported_) return;
    const uint64_t fresh = counts.ce - std::exchange(reported_, counts.ce);
    const bool possible = counts.ce <= sent_ && counts.ect0 <= sent_ - counts.ce && counts.ect1 == 0;
    if (possible && counts.ect0 > 0) fresh_ += fresh;
  }
  uint64_t take() noexcept { return std::exchange(fresh_, 0); }

 private:
  uint64_t sent_ = 0;
  uint64_t reported_ = 0;
  uint64_t fresh_ = 0;
};

}  // namespace haul::quic
