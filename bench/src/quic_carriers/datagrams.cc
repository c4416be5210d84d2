// Pieces of the payload in DATAGRAM frames: each says where it belongs, and is sent again until one of its packets arrived.
#include <algorithm>
#include <array>
#include <cstring>
#include <stdexcept>

#include "quic/wire.h"
#include "quic_carriers/carrier.h"
#include "quic_carriers/pipe.h"

namespace carriers {

namespace wire = haul::quic::wire;

namespace {

// What Session::max_datagram_bytes() leaves of a packet to a peer with ids of eight bytes.
constexpr size_t packet_overhead_bytes = 1 + 8 + 4 + 3 + 16;
constexpr size_t piece_bytes = packet_bytes - packet_overhead_bytes - wire::Piece::write_bytes;
// As transports/quic: a probe timeout of the library makes it forget what became of a datagram.
constexpr int64_t overdue_probes = 3;
// Of a node of a std::map with two numbers.
constexpr size_t run_bytes = 64;

}  // namespace

void Datagrams::repeat_what_is_overdue(Endpoint& sender, haul::TimePoint now) {
  if (looked_ == now || under_way_ == 0) return;
  looked_ = now;
  const bool at_the_end = next_ == source_.size();
  if (!ledger_.overtaken() && !at_the_end) return;
  const haul::TimePoint sent_until = now - overdue_probes * sender.probe_timeout();
  while (const auto entry = at_the_end ? ledger_.give_up_oldest(sent_until) : ledger_.give_up_overtaken(sent_until)) {
    --under_way_;
    ledger_.lost(entry->id);
  }
}

Written Datagrams::write(Endpoint& sender, std::span<std::byte> out, haul::TimePoint now) {
  repeat_what_is_overdue(sender, now);
  const bool again = ledger_.has_lost();
  haul::quic::PieceId id;
  if (again) {
    id = ledger_.first_lost();
  } else {
    id.offset = static_cast<uint32_t>(next_);
    id.length = static_cast<uint32_t>(std::min<uint64_t>(piece_bytes, source_.size() - next_));
  }
  if (id.length == 0) return {.bytes = sender.write_rest(out, now)};
  std::array<std::byte, wire::Piece::write_bytes> header{};
  wire::encode(wire::Piece{.write = true, .sequence = 1, .key = 1, .offset = id.offset, .payload = {}}, header);
  bool taken = false;
  const size_t bytes =
      sender.write_datagram(out, ledger_.next_number(), header, source_.subspan(id.offset, id.length), taken, now);
  if (!taken) return {.bytes = bytes};
  ledger_.sent(id, {.sent_at = now, .first_sent_at = now, .delivered_at = now, .bytes = bytes});
  ++under_way_;
  if (again) {
    ledger_.drop_first_lost();
    return {.bytes = bytes};
  }
  next_ += id.length;
  return {.bytes = bytes, .fresh_bytes = id.length};
}

void Datagrams::on_datagram(std::span<const std::byte> datagram) {
  const auto piece = wire::decode_piece(datagram);
  if (!piece || piece->offset + piece->payload.size() > target_.size()) throw std::runtime_error("a piece that was never sent");
  std::memcpy(target_.data() + piece->offset, piece->payload.data(), piece->payload.size());
  arrived_.add(piece->offset, piece->offset + piece->payload.size());
}

void Datagrams::on_datagram_acknowledged(uint64_t number) {
  if (ledger_.acknowledged(number)) --under_way_;
}

void Datagrams::on_datagram_lost(uint64_t number) {
  const auto entry = ledger_.finish(number);
  if (!entry) return;
  --under_way_;
  ledger_.lost(entry->id);
}

size_t Datagrams::sender_bytes() const { return under_way_ * sizeof(haul::quic::PieceLedger::Entry); }
size_t Datagrams::receiver_bytes() const { return arrived_.apart() * run_bytes; }

}  // namespace carriers
