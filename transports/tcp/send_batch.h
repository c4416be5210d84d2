// What one sendmsg carries: frames whose headers and records lie in an arena, and whose payload stays where it is.
#pragma once

#include <sys/uio.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "tcp/wire.h"

namespace haul::tcp {

/// Filled, then handed to the kernel in one or (when it takes less) several calls, then cleared. Payload given by reference
/// must stay until then.
class SendBatch {
 public:
  SendBatch();

  void clear() noexcept;
  bool empty() const noexcept { return bytes_ == 0; }
  size_t bytes() const noexcept { return bytes_; }

  /// Enough was gathered, or the next large frame or small record may not fit.
  bool full() const noexcept;

  /// The number that the next operation gets; a bundle says it in its header.
  uint64_t next_sequence = 0;

  /// Bytes as they are (the preface).
  void raw(std::span<const std::byte> bytes);
  /// A record and its payload, in the open bundle or a new one. `copy`: the payload does not live until the batch is sent.
  /// False, and nothing added: no room.
  bool record(const wire::Record& record, std::span<const std::byte> payload, bool copy);
  /// A header, then `payload` by reference (may be empty).
  void frame(const wire::FrameHeader& header, std::span<const std::byte> payload);
  /// Payload without a header: the rest of a frame whose header went before.
  void payload(std::span<const std::byte> payload);
  void finish() noexcept { end_bundle(); }

  /// What is still to be sent.
  std::span<iovec> pending() noexcept { return std::span(parts_).subspan(first_part_, part_count_ - first_part_); }
  /// Takes `sent` bytes off the front.
  void consume(size_t sent) noexcept;
  bool done() const noexcept { return first_part_ == part_count_; }

 private:
  static constexpr size_t max_parts = 1024;  // IOV_MAX
  static constexpr size_t arena_bytes = 64U << 10;

  size_t arena_left() const noexcept { return arena_bytes - arena_used_; }
  std::span<std::byte> reserve(size_t bytes);
  void begin_bundle();
  void end_bundle() noexcept;

  std::unique_ptr<std::byte[]> arena_;
  size_t arena_used_ = 0;
  std::array<iovec, max_parts> parts_;
  size_t first_part_ = 0;
  size_t part_count_ = 0;
  size_t bytes_ = 0;

  std::byte* bundle_header_ = nullptr;  // of the open bundle, in the arena
  size_t bundle_body_bytes_ = 0;
  uint64_t bundle_sequence_ = 0;
};

}  // namespace haul::tcp
