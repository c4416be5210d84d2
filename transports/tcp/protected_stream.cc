// Sealing batches, opening records.
#include "tcp/protected_stream.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <utility>

namespace haul::tcp {

namespace {

constexpr size_t max_parts = 63;

}  // namespace

ProtectedStream::ProtectedStream(security::RecordCipher sealer, security::RecordCipher opener, size_t payload_bytes)
    : sealer_(std::move(sealer)),
      opener_(std::move(opener)),
      payload_bytes_(payload_bytes),
      sealed_(buffer_bytes),
      staging_(buffer_bytes),
      content_(security::max_record_content_bytes + 1) {}

// The parts of the next record: payload by itself, or all that comes before the next payload.
size_t ProtectedStream::gather(std::span<iovec> pending, std::span<iovec> parts, size_t& content) const noexcept {
  size_t count = 0;
  content = 0;
  for (const iovec& part : pending) {
    const bool payload = part.iov_len >= payload_bytes_;
    if (count == parts.size() || (payload && count > 0)) break;
    const size_t bytes = std::min(part.iov_len, security::max_record_content_bytes - content);
    parts[count++] = {part.iov_base, bytes};
    content += bytes;
    if (payload || content == security::max_record_content_bytes) break;
  }
  return count;
}

Status ProtectedStream::seal(SendBatch& batch) {
  sealed_bytes_ = 0;
  sent_ = 0;
  std::array<iovec, max_parts> parts;  // NOLINT(cppcoreguidelines-pro-type-member-init)
  while (!batch.done() && sealed_.size() - sealed_bytes_ >= security::max_record_bytes) {
    size_t content = 0;
    const size_t count = gather(batch.pending(), parts, content);
    auto size = sealer_.seal(std::span(parts).first(count), std::span(sealed_).subspan(sealed_bytes_));
    if (!size.ok()) return size.status();
    sealed_bytes_ += *size;
    batch.consume(content);
  }
  return {};
}

std::span<std::byte> ProtectedStream::room() noexcept {
  if (opened_ > 0) {
    std::memmove(staging_.data(), staging_.data() + opened_, filled_ - opened_);
    filled_ -= opened_;
    opened_ = 0;
  }
  return std::span(staging_).subspan(filled_);
}

Result<ProtectedStream::Delivered> ProtectedStream::deliver(Receiver& receiver, uint64_t poll_number) {
  if (copied_ < content_bytes_) return copy_content(receiver, poll_number);
  const auto waiting = std::span<const std::byte>(staging_).subspan(opened_, filled_ - opened_);
  auto size = security::record_size(waiting);
  if (!size.ok()) return size.status();
  if (*size == 0 || waiting.size() < *size) return Delivered::nothing;
  std::array<iovec, 2> ranges{};
  if (receiver.plan(ranges, poll_number) == 0) return Delivered::blocked;
  const size_t room_needed = *size - security::record_overhead_bytes + 1;
  const bool in_place = ranges[0].iov_len >= room_needed;
  const auto out = in_place ? std::span(static_cast<std::byte*>(ranges[0].iov_base), ranges[0].iov_len) : std::span(content_);
  auto opened = opener_.open(waiting.first(*size), out);
  if (!opened.ok()) return opened.status();
  opened_ += *size;
  if (opened->type != security::ContentType::application_data) {
    return Status(StatusCode::peer_lost, "the peer ended the protected connection by a TLS alert");
  }
  if (in_place) {
    if (Status status = receiver.advance(opened->bytes); !status.ok()) return status;
    return Delivered::record;
  }
  copied_ = 0;
  content_bytes_ = opened->bytes;
  return copy_content(receiver, poll_number);
}

Result<ProtectedStream::Delivered> ProtectedStream::copy_content(Receiver& receiver, uint64_t poll_number) {
  while (copied_ < content_bytes_) {
    std::array<iovec, 2> ranges{};
    if (receiver.plan(ranges, poll_number) == 0) return Delivered::blocked;
    const size_t bytes = std::min(ranges[0].iov_len, content_bytes_ - copied_);
    std::memcpy(ranges[0].iov_base, content_.data() + copied_, bytes);
    copied_ += bytes;
    if (Status status = receiver.advance(bytes); !status.ok()) return status;
  }
  return Delivered::record;
}

}  // namespace haul::tcp
