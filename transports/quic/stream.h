// The one stream of a connection: records out, kept until they are acknowledged; records in, as they become whole.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <span>
#include <vector>

#include "haul/status.h"
#include "quic/wire.h"

namespace haul::quic {

/// Bytes keep their place until they are acknowledged: a QUIC library refers to them to send them again.
class StreamSender {
 public:
  static constexpr size_t chunk_bytes = 16U << 10;

  void put(const wire::Record& record, std::span<const std::byte> payload);

  /// What is to be sent next, as far as it lies together.
  std::span<const std::byte> unsent() const noexcept;
  void sent(size_t bytes) noexcept { sent_ += bytes; }
  /// All before this offset arrived. Ignored where it is not ahead of what is known, and what was never sent.
  void acknowledged(uint64_t offset);

  /// Where the next record will begin.
  uint64_t end() const noexcept { return end_; }
  uint64_t acknowledged_to() const noexcept { return begin_; }
  /// Not acknowledged, sent or not.
  uint64_t held_bytes() const noexcept { return end_ - begin_; }
  bool has_unsent() const noexcept { return sent_ != end_; }
  bool all_acknowledged() const noexcept { return begin_ == end_; }

 private:
  void append(std::span<const std::byte> bytes);

  std::deque<std::vector<std::byte>> chunks_;
  uint64_t front_ = 0;  // the offset of the first chunk
  uint64_t begin_ = 0;  // of the first byte that is not acknowledged
  uint64_t sent_ = 0;
  uint64_t end_ = 0;
};

/// Takes the stream apart, wherever packets cut it.
class RecordReader {
 public:
  using OnRecord = std::function<Status(const wire::Record&, std::span<const std::byte> payload)>;
  /// `max_payload`: the longest that a record may carry.
  explicit RecordReader(size_t max_payload) : max_payload_(max_payload) {}
  /// Errors: protocol, and those of `on_record`.
  Status take(std::span<const std::byte> bytes, const OnRecord& on_record);

 private:
  Result<size_t> wanted() const;

  size_t max_payload_;
  std::vector<std::byte> part_;  // of a record that is not whole yet
};

}  // namespace haul::quic
