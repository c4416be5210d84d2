// Gathers frames for one sendmsg.
#include "tcp/send_batch.h"

#include <algorithm>
#include <cstring>

#include "base/check.h"

namespace haul::tcp {

namespace {

// More in one call gains nothing, and makes urgent frames wait longer.
constexpr size_t enough_bytes = 1U << 20;
// A memcpy of so little is cheaper than a part of its own.
constexpr size_t copy_below_bytes = 256;
constexpr size_t largest_step_bytes = wire::header_bytes + wire::Record::write_bytes + copy_below_bytes;
constexpr size_t largest_step_parts = 3;

}  // namespace

// Not value-initialized: pages of the arena that are never used are never touched.
SendBatch::SendBatch() : arena_(new std::byte[arena_bytes]) {}  // NOLINT

void SendBatch::clear() noexcept {
  base::check(bundle_header_ == nullptr, "a send batch was cleared with an open bundle");
  arena_used_ = 0;
  first_part_ = 0;
  part_count_ = 0;
  bytes_ = 0;
}

bool SendBatch::full() const noexcept {
  return bytes_ >= enough_bytes || arena_left() < largest_step_bytes || part_count_ + largest_step_parts > max_parts;
}

std::span<std::byte> SendBatch::reserve(size_t bytes) {
  base::check(bytes <= arena_left() && part_count_ < max_parts, "a send batch overflows");
  std::byte* begin = arena_.get() + arena_used_;
  arena_used_ += bytes;
  bytes_ += bytes;
  if (part_count_ > 0) {
    iovec& last = parts_[part_count_ - 1];
    if (static_cast<std::byte*>(last.iov_base) + last.iov_len == begin) {
      last.iov_len += bytes;
      return {begin, bytes};
    }
  }
  parts_[part_count_++] = {begin, bytes};
  return {begin, bytes};
}

void SendBatch::payload(std::span<const std::byte> payload) {
  if (payload.empty()) return;
  base::check(part_count_ < max_parts, "a send batch overflows");
  parts_[part_count_++] = {const_cast<std::byte*>(payload.data()), payload.size()};  // NOLINT: sendmsg only reads
  bytes_ += payload.size();
}

void SendBatch::raw(std::span<const std::byte> bytes) {
  end_bundle();
  std::memcpy(reserve(bytes.size()).data(), bytes.data(), bytes.size());
}

void SendBatch::frame(const wire::FrameHeader& header, std::span<const std::byte> payload) {
  end_bundle();
  wire::encode(header, reserve(wire::header_bytes).first<wire::header_bytes>());
  this->payload(payload);
}

bool SendBatch::record(const wire::Record& record, std::span<const std::byte> payload, bool copy) {
  const size_t head_bytes = wire::record_bytes(record.type);
  copy = copy || payload.size() < copy_below_bytes;
  const size_t arena_needed = wire::header_bytes + head_bytes + (copy ? payload.size() : 0);
  if (arena_needed > arena_left() || part_count_ + largest_step_parts > max_parts) return false;
  if (bundle_header_ != nullptr && bundle_body_bytes_ + head_bytes + payload.size() > wire::max_bundle_bytes) end_bundle();
  if (bundle_header_ == nullptr) begin_bundle();
  bundle_body_bytes_ += head_bytes + payload.size();
  wire::encode(record, reserve(head_bytes));
  if (!copy) {
    this->payload(payload);
  } else if (!payload.empty()) {
    std::memcpy(reserve(payload.size()).data(), payload.data(), payload.size());
  }
  return true;
}

void SendBatch::begin_bundle() {
  bundle_header_ = reserve(wire::header_bytes).data();
  bundle_body_bytes_ = 0;
  bundle_sequence_ = next_sequence;
}

void SendBatch::end_bundle() noexcept {
  if (bundle_header_ == nullptr) return;
  wire::FrameHeader header;
  header.type = wire::FrameType::bundle;
  header.body_bytes = static_cast<uint32_t>(bundle_body_bytes_);
  header.sequence = bundle_sequence_;
  wire::encode(header, std::span<std::byte, wire::header_bytes>(bundle_header_, wire::header_bytes));
  bundle_header_ = nullptr;
}

void SendBatch::consume(size_t sent) noexcept {
  while (sent > 0 && first_part_ < part_count_) {
    iovec& part = parts_[first_part_];
    const size_t taken = std::min(sent, part.iov_len);
    part.iov_base = static_cast<std::byte*>(part.iov_base) + taken;
    part.iov_len -= taken;
    sent -= taken;
    if (part.iov_len == 0) ++first_part_;
  }
}

}  // namespace haul::tcp
