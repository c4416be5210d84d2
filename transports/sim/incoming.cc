// What the peer asks for: grants, writes that land here, reads served from here, messages, results.
#include <algorithm>

#include "base/check.h"
#include "base/crc32c.h"
#include "connection.h"

namespace haul::sim {
namespace {

constexpr const char* refused_text = "the peer has no such grant (any more), or it does not cover this operation";

}  // namespace

Result<LocalGrant> Connection::grant(uint64_t grant_id, const MemoryRegion& region, Range range, Rights rights) {
  const std::span<std::byte> memory = region.bytes();
  if (state_ == State::closed) return Status(StatusCode::peer_lost, "the connection is closed");
  if (range.length == 0 || range.offset > memory.size() || range.length > memory.size() - range.offset)
    return Status(StatusCode::invalid, "the granted range is empty or reaches past the end of the memory");
  Token key{};
  world_.random.fill(key);
  grants_[key] = Grant{.id = grant_id, .memory = memory.subspan(range.offset, range.length), .rights = rights};
  LocalGrant local;
  local.id = grant_id;
  std::copy(key.begin(), key.end(), local.remote.data.begin());
  local.remote.size = static_cast<uint8_t>(key.size());
  return local;
}

void Connection::revoke(uint64_t grant_id) {
  const auto found =
      std::find_if(grants_.begin(), grants_.end(), [&](const auto& entry) { return entry.second.id == grant_id; });
  if (found == grants_.end()) return;
  grants_.erase(found);
  std::vector<uint64_t> ended;
  for (const auto& [number, incoming] : incoming_) {
    if (incoming.grant_id == grant_id && incoming.placed < incoming.memory.size()) ended.push_back(number);
  }
  for (const auto& [number, serving] : serving_) {
    if (serving.grant_id == grant_id) ended.push_back(number);
  }
  for (const uint64_t number : ended) settle(number, Status(StatusCode::refused, refused_text));
  Event event;
  event.kind = Event::Kind::revoked;
  event.connection = id_;
  event.id = grant_id;
  outlet_.emit(std::move(event), {});
  pump();
}

void Connection::answer(uint64_t landed, const Status& status) {
  const auto found = incoming_.find(landed);
  if (found == incoming_.end() || found->second.placed < found->second.memory.size()) return;
  settle(landed, status);
  pump();
}

void Connection::settle(uint64_t number, const Status& status) {
  settled_.add(number, number + 1);
  incoming_.erase(number);
  serving_.erase(number);
  Frame frame;
  frame.kind = FrameKind::result;
  frame.number = number;
  frame.code = status.code();
  frame.text = status.message().substr(0, max_status_text_bytes);
  control_.push_back(std::move(frame));
}

void Connection::handle_frame(const Packet& packet) {
  switch (packet.frame.kind) {
    case FrameKind::nothing: return;
    case FrameKind::message: return on_message_piece(packet);
    case FrameKind::write: return on_write_piece(packet);
    case FrameKind::read_request: return on_read_request(packet.frame);
    case FrameKind::read_data: return on_read_data(packet);
    case FrameKind::result: return on_result(packet.frame);
    case FrameKind::cancel: return on_cancel(packet.frame);
    case FrameKind::finish: peer_finished_ = packet.sequence; return;
  }
}

void Connection::on_message_piece(const Packet& packet) {
  IncomingMessage& message = arriving_[packet.frame.number];
  message.bytes.resize(packet.frame.total);
  std::copy(packet.payload.begin(), packet.payload.end(), message.bytes.begin() + packet.frame.offset);
  message.arrived += packet.frame.length;
  while (!arriving_.empty()) {
    const auto first = arriving_.begin();
    if (first->first != next_delivery_ || first->second.arrived < first->second.bytes.size()) return;
    Event event;
    event.kind = Event::Kind::message;
    event.connection = id_;
    outlet_.emit(std::move(event), std::move(first->second.bytes));
    arriving_.erase(first);
    ++next_delivery_;
  }
}

const Connection::Grant* Connection::find_grant(const Frame& frame, Rights wanted) const {
  const auto found = grants_.find(frame.key);
  if (found == grants_.end() || !allows(found->second.rights, wanted)) return nullptr;
  const uint64_t bytes = found->second.memory.size();
  const bool inside = frame.remote_offset <= bytes && frame.total <= bytes - frame.remote_offset;
  return inside ? &found->second : nullptr;
}

void Connection::on_write_piece(const Packet& packet) {
  const Frame& frame = packet.frame;
  if (settled_.contains(frame.number)) return;
  auto found = incoming_.find(frame.number);
  if (found == incoming_.end()) {
    const Grant* grant = find_grant(frame, Rights::write);
    if (grant == nullptr) return settle(frame.number, Status(StatusCode::refused, refused_text));
    const auto memory = grant->memory.subspan(frame.remote_offset, frame.total);
    found = incoming_.emplace(frame.number, Incoming{.grant_id = grant->id, .memory = memory, .placed = 0}).first;
  }
  Incoming& incoming = found->second;
  std::copy(packet.payload.begin(), packet.payload.end(), incoming.memory.subspan(frame.offset, frame.length).begin());
  incoming.placed += frame.length;
  if (incoming.placed < incoming.memory.size()) return;
  Event event;
  event.kind = Event::Kind::landed;
  event.connection = id_;
  event.id = frame.number;
  event.tag = frame.tag;
  event.payload = incoming.memory;
  event.crc32c = frame.crc32c;
  outlet_.emit(std::move(event), {});
}

void Connection::on_read_request(const Frame& frame) {
  if (settled_.contains(frame.number)) return;
  const Grant* grant = find_grant(frame, Rights::read);
  if (grant == nullptr) return settle(frame.number, Status(StatusCode::refused, refused_text));
  Serving serving;
  serving.grant_id = grant->id;
  serving.memory = grant->memory.subspan(frame.remote_offset, frame.total);
  if (frame.crc32c) serving.crc32c = base::crc32c(serving.memory);
  serving_.emplace(frame.number, serving);
  jobs_.push_back({.serving = true, .key = frame.number});
}

void Connection::on_read_data(const Packet& packet) {
  const Frame& frame = packet.frame;
  Outgoing* outgoing = find_by_number(frame.number);
  if (outgoing == nullptr || outgoing->cancelling) return;
  std::copy(packet.payload.begin(), packet.payload.end(), outgoing->memory.subspan(frame.offset, frame.length).begin());
  outgoing->moved += frame.length;
  if (outgoing->moved < outgoing->operation.length) return;
  outgoing->crc32c = frame.crc32c;
  complete(*outgoing, Status());
}

void Connection::on_result(const Frame& frame) {
  Outgoing* outgoing = find_by_number(frame.number);
  if (outgoing == nullptr) return;
  complete(*outgoing, frame.code == StatusCode::ok ? Status() : Status(frame.code, frame.text));
}

void Connection::on_cancel(const Frame& frame) {
  const Status cancelled(StatusCode::cancelled, "cancelled; what had arrived was dropped");
  // A read that was served whole says nothing at its end, so its cancellation is answered even then.
  if (frame.read) return settle(frame.number, cancelled);
  if (settled_.contains(frame.number)) return;
  const auto incoming = incoming_.find(frame.number);
  const bool landed = incoming != incoming_.end() && incoming->second.placed == incoming->second.memory.size();
  if (!landed) settle(frame.number, cancelled);
}

}  // namespace haul::sim
