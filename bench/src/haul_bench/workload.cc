// Which ranges of the working sets each transfer moves.
#include "haul_bench/workload.h"

#include <numeric>
#include <utility>

#include "base/random.h"

namespace bench {

namespace {

/// The numbers below `count`, shuffled.
std::vector<uint64_t> shuffled(uint64_t count, uint64_t seed) {
  std::vector<uint64_t> order(count);
  std::iota(order.begin(), order.end(), 0);
  haul::base::Random random(seed);
  for (uint64_t left = count; left > 1; --left) std::swap(order[left - 1], order[random.below(left)]);
  return order;
}

}  // namespace

Workload::Workload(Session& session, const Settings& settings)
    : session_(session),
      get_(settings.get()),
      block_bytes_(settings.block_bytes),
      per_transfer_(settings.mode == Mode::descriptors ? settings.count : 1) {
  const uint64_t blocks = settings.working_set_bytes / block_bytes_;
  if (settings.mode != Mode::descriptors) {
    for (uint64_t block = 0; block < blocks; ++block) {
      const uint64_t offset = block * block_bytes_;
      pieces_.push_back({session.local(offset, block_bytes_), session.remote(offset, block_bytes_)});
    }
    return;
  }
  // Every other block is a gap.
  const uint64_t places = blocks / 2;
  const std::vector<uint64_t> here = shuffled(places, 3);
  const std::vector<uint64_t> there = shuffled(places, 4);
  for (uint64_t i = 0; i < places / per_transfer_ * per_transfer_; ++i) {
    pieces_.push_back(
        {session.local(here[i] * 2 * block_bytes_, block_bytes_), session.remote(there[i] * 2 * block_bytes_, block_bytes_)});
  }
}

std::span<const haul::Piece> Workload::group(uint64_t index) const {
  return std::span(pieces_).subspan(index % groups() * per_transfer_, per_transfer_);
}

haul::Transfer Workload::start(uint64_t index, haul::TransferCallback on_done) const {
  haul::TransferOptions options;
  options.on_done = std::move(on_done);
  haul::Peer peer = session_.peer();
  const std::span<const haul::Piece> pieces = group(index);
  if (per_transfer_ > 1) {
    return get_ ? peer.get_batch(pieces, std::move(options)) : peer.put_batch(pieces, std::move(options));
  }
  const haul::Piece& piece = pieces.front();
  return get_ ? peer.get(piece.local, piece.remote, std::move(options))
              : peer.put(piece.local, piece.remote, std::move(options));
}

}  // namespace bench
