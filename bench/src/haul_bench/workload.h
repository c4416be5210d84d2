// Which ranges of the working sets each transfer moves.
#pragma once

#include <cstdint>
#include <vector>

#include "haul_bench/session.h"

namespace bench {

/// Transfer number n moves group n modulo groups() of pieces. Groups are disjoint, so transfers in flight never overlap.
/// Throughput and latency: one block a transfer, in order. Descriptors: a batch of scattered blocks; no two blocks of the
/// working set that are ever moved touch each other, and their order is random on each side by itself.
class Workload {
 public:
  Workload(Session& session, const Settings& settings);

  uint64_t transfer_bytes() const { return block_bytes_ * per_transfer_; }
  uint64_t groups() const { return pieces_.size() / per_transfer_; }
  std::span<const haul::Piece> group(uint64_t index) const;

  haul::Transfer start(uint64_t index, haul::TransferCallback on_done) const;

 private:
  Session& session_;
  bool get_;
  uint64_t block_bytes_;
  uint64_t per_transfer_;
  std::vector<haul::Piece> pieces_;
};

}  // namespace bench
