// A connection's sending half: which packet is next.
#include <algorithm>
#include <array>

#include "quic/connection.h"

namespace haul::quic {

bool Connection::has_pieces() const noexcept {
  return established() && (ledger_.has_lost() || outbound_->has_pieces() || inbound_->has_pieces());
}

void Connection::write() {
  if (!session_ || outlet_ == nullptr || state_ == State::over || outlet_->blocked()) return;
  if (established()) {
    inbound_->frame(stream_);
    outbound_->frame(stream_);
  }
  if (established()) session_->renew_keys_if_due(context_.now);
  BurstWriter burst(host_.packet_memory(), *outlet_);
  answer_challenge(burst);
  while (!burst.blocked() && write_packet(burst)) {
  }
  burst.flush();
  if (gate_) gate_->pause(context_.now);
  if (gate_ && !has_pieces()) gate_->on_idle(context_.now);
}

// The peer asks a dialer that has another address now whether it is there, and the library fills the packet with the answer to
// the full size: where that has begun to vanish no answer would ever arrive. So answers are given the first chance, in a packet
// that every path carries.
void Connection::answer_challenge(BurstWriter& burst) {
  if (!dialed_ || !established() || burst.blocked() || session_->ending()) return;
  count(session_->write_rest(packet_room(burst, safe_packet_bytes), context_.now), burst);
}

// What is to tell whether anybody is there at all must not be too large for the way.
size_t Connection::packet_bytes() const { return gate_ && gate_->path().silent() ? safe_packet_bytes : size_.bytes(); }

std::span<std::byte> Connection::packet_room(BurstWriter& burst, size_t bytes) { return burst.room(bytes).first(bytes); }

// False: there is nothing more to be sent now.
bool Connection::write_packet(BurstWriter& burst) {
  if (session_->ending()) return false;
  if (handshake_done_ && stream_.has_unsent() && write_stream_packet(burst)) return true;
  if (has_pieces() && !library_blocked_ && gate_->open(context_.now) && write_piece(burst)) return true;
  // Also so that the library believes, after every burst, that there is too little to send: else its own controller would be
  // the one that limits.
  return write_rest(burst);
}

bool Connection::write_rest(BurstWriter& burst) {
  const Session::Packet packet = session_->write_rest(packet_room(burst, packet_bytes()), context_.now);
  count(packet, burst);
  return packet.bytes > 0;
}

void Connection::count(const Session::Packet& packet, BurstWriter& burst) {
  if (packet.bytes == 0) return;
  bytes_sent_ += packet.bytes;
  burst.add(packet.bytes, packet.ecn, packet.remote);
}

bool Connection::write_stream_packet(BurstWriter& burst) {
  size_t taken = 0;
  const Session::Packet packet =
      session_->write_stream(packet_room(burst, packet_bytes()), stream_.unsent(), taken, context_.now);
  stream_.sent(taken);
  if (gate_ && packet.bytes > 0) gate_->on_other_sent(context_.now, packet.bytes);
  count(packet, burst);
  return packet.bytes > 0;
}

bool Connection::write_piece(BurstWriter& burst) {
  const auto probe = gate_->path().silent() ? std::nullopt : size_.probe(context_.now);
  // The library fills a packet with what it repeats, as large as it may be, and that must arrive: before a size is tried on a
  // piece, all else that is due leaves in packets of a size that is known.
  if (probe && write_rest(burst)) return true;
  const size_t limit = probe.value_or(packet_bytes());
  const auto piece = next_piece(limit);
  if (!piece) return false;
  session_->watch_flight();
  std::array<std::byte, wire::Piece::write_bytes> bytes{};
  const auto header = std::span(bytes).first(wire::Piece::header_bytes(piece->header.write));
  wire::encode(piece->header, header);
  bool taken = false;
  const Session::Packet packet = session_->write_datagram(packet_room(burst, limit), ledger_.next_number(), header,
                                                          piece->header.payload, taken, context_.now);
  if (taken) {
    ledger_.sent(piece->id, gate_->on_sent(context_.now, packet.bytes));
    size_.sent(packet.bytes);
  } else {
    ledger_.put_back(piece->id);
    library_blocked_ = packet.bytes == 0;
    if (library_blocked_) gate_->on_held_back();
  }
  count(packet, burst);
  return packet.bytes > 0;
}

std::optional<OutgoingPiece> Connection::next_piece(size_t packet_limit_bytes) {
  const size_t max_bytes = session_->max_datagram_bytes(packet_limit_bytes);
  if (auto piece = next_lost_piece(max_bytes)) return piece;
  reply_next_ = !reply_next_;
  if (reply_next_) {
    auto piece = inbound_->next_piece(max_bytes);
    return piece ? piece : outbound_->next_piece(max_bytes);
  }
  auto piece = outbound_->next_piece(max_bytes);
  return piece ? piece : inbound_->next_piece(max_bytes);
}

std::optional<OutgoingPiece> Connection::next_lost_piece(size_t max_bytes) {
  while (ledger_.has_lost()) {
    PieceId id = ledger_.first_lost();
    ledger_.drop_first_lost();
    const size_t header_bytes = wire::Piece::header_bytes(!id.reply);
    if (header_bytes + id.length > max_bytes) {
      // Packets have become smaller since.
      const auto length = static_cast<uint32_t>(max_bytes - header_bytes);
      ledger_.put_back({id.reply, id.sequence, id.offset + length, id.length - length});
      id.length = length;
    }
    auto piece = id.reply ? inbound_->piece_again(id) : outbound_->piece_again(id);
    if (piece) return piece;
  }
  return {};
}

}  // namespace haul::quic
