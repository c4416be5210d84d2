// Chunks of records, and records out of pieces.
#include "quic/stream.h"

#include <algorithm>
#include <array>

#include "base/check.h"

namespace haul::quic {

void StreamSender::put(const wire::Record& record, std::span<const std::byte> payload) {
  std::array<std::byte, wire::Record::max_bytes> bytes{};
  const auto own = std::span(bytes).first(wire::record_bytes(record.type));
  wire::encode(record, own);
  append(own);
  append(payload);
}

void StreamSender::append(std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    if (chunks_.empty() || chunks_.back().size() == chunk_bytes) {
      if (chunks_.empty()) front_ = end_;
      chunks_.emplace_back().reserve(chunk_bytes);
    }
    auto& chunk = chunks_.back();
    const size_t taken = std::min(bytes.size(), chunk_bytes - chunk.size());
    chunk.insert(chunk.end(), bytes.begin(), bytes.begin() + static_cast<ptrdiff_t>(taken));
    bytes = bytes.subspan(taken);
    end_ += taken;
  }
}

std::span<const std::byte> StreamSender::unsent() const noexcept {
  if (sent_ == end_) return {};
  // Every chunk but the last is full, and the first begins at front_.
  const uint64_t offset = sent_ - front_;
  const auto& chunk = chunks_[offset / chunk_bytes];
  return std::span(chunk).subspan(offset % chunk_bytes);
}

void StreamSender::acknowledged(uint64_t offset) {
  if (offset <= begin_ || offset > sent_) return;
  begin_ = offset;
  while (!chunks_.empty() && front_ + chunks_.front().size() <= begin_ && (chunks_.front().size() == chunk_bytes)) {
    front_ += chunk_bytes;
    chunks_.pop_front();
  }
}

Result<size_t> RecordReader::wanted() const {
  constexpr size_t head = wire::Record::head_bytes;
  if (part_.size() < head) return head;
  const auto own = wire::record_bytes(std::span<const std::byte, head>(part_.data(), head));
  if (!own.ok()) return own.status();
  if (part_.size() < *own) return *own;
  const auto record = wire::decode_record(std::span(part_).first(*own));
  if (!record.ok()) return record.status();
  if (record->payload_bytes() > max_payload_) return Status(StatusCode::protocol, "a record above the announced size");
  return *own + record->payload_bytes();
}

Status RecordReader::take(std::span<const std::byte> bytes, const OnRecord& on_record) {
  while (!bytes.empty()) {
    const auto want = wanted();
    if (!want.ok()) return want.status();
    const size_t taken = std::min(bytes.size(), *want - part_.size());
    part_.insert(part_.end(), bytes.begin(), bytes.begin() + static_cast<ptrdiff_t>(taken));
    bytes = bytes.subspan(taken);
    const auto whole = wanted();
    if (!whole.ok()) return whole.status();
    if (part_.size() < *whole) continue;
    const auto own = wire::record_bytes(static_cast<wire::RecordType>(part_.front()));
    const auto record = wire::decode_record(std::span(part_).first(own));
    if (Status status = on_record(*record, std::span(part_).subspan(own)); !status.ok()) return status;
    part_.clear();
  }
  return {};
}

}  // namespace haul::quic
