// Where the bytes of frames go.
#include "tcp/receiver.h"

#include <algorithm>

#include "base/check.h"

namespace haul::tcp {

Receiver::Receiver(FrameHandler& handler) : handler_(handler) {
  for (Staging& staging : staging_)
    staging.memory.reset(new std::byte[wire::max_bundle_bytes]);  // NOLINT: untouched until used
}

bool Receiver::choose_staging(uint64_t poll_number) {
  if (has_staging_) return true;
  for (size_t i = 0; i < staging_.size(); ++i) {
    if (staging_[i].held != 0 && staging_[i].held >= poll_number) continue;
    current_staging_ = i;
    has_staging_ = true;
    return true;
  }
  return false;
}

size_t Receiver::plan(std::array<iovec, 2>& ranges, uint64_t poll_number) {
  const iovec header{raw_header_.data() + header_filled_, raw_header_.size() - header_filled_};
  if (!in_body_) {
    ranges[0] = header;
    return 1;
  }
  const size_t left = header_.body_bytes - body_filled_;
  if (!uses_staging()) {
    ranges = {iovec{destination_ + body_filled_, left}, header};
    return 2;
  }
  if (!choose_staging(poll_number)) return 0;
  std::byte* memory = staging_[current_staging_].memory.get();
  if (header_.type == wire::FrameType::bundle) {
    ranges = {iovec{memory + body_filled_, left}, header};
    return 2;
  }
  ranges[0] = {memory, std::min<size_t>(left, wire::max_bundle_bytes)};
  return 1;
}

Status Receiver::advance(size_t bytes) {
  if (in_body_) {
    const size_t of_body = std::min<size_t>(bytes, header_.body_bytes - body_filled_);
    body_filled_ += of_body;
    bytes -= of_body;
    if (body_filled_ < header_.body_bytes) return {};
    if (Status status = end_frame(); !status.ok()) return status;
  }
  header_filled_ += bytes;
  base::check(header_filled_ <= raw_header_.size(), "more bytes were received than asked for");
  if (header_filled_ < raw_header_.size()) return {};
  header_filled_ = 0;
  return begin_frame();
}

Status Receiver::begin_frame() {
  auto header = wire::decode_header(raw_header_);
  if (!header.ok()) return header.status();
  header_ = *header;
  destination_ = nullptr;
  body_filled_ = 0;
  if (header_.type == wire::FrameType::close) return handler_.on_close();
  if (header_.type != wire::FrameType::bundle) {
    auto destination = handler_.on_payload_begin(header_);
    if (!destination.ok()) return destination.status();
    destination_ = *destination;
  }
  in_body_ = true;
  return {};
}

Status Receiver::end_frame() {
  in_body_ = false;
  has_staging_ = false;
  if (header_.type != wire::FrameType::bundle) return handler_.on_payload_end(header_);
  return handler_.on_bundle(header_, {staging_[current_staging_].memory.get(), header_.body_bytes});
}

void Receiver::discard_payload() noexcept {
  if (in_body_ && header_.type != wire::FrameType::bundle) destination_ = nullptr;
}

}  // namespace haul::tcp
