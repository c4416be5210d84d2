// A connection's bytes as records that this library seals and opens itself, where the kernel does not.
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <vector>

#include "haul/status.h"
#include "security/records.h"
#include "tcp/receiver.h"
#include "tcp/send_batch.h"

namespace haul::tcp {

/// Sends through one bounded buffer and receives through another. Payload is sealed from its memory into the first, and opened
/// from the second straight into its destination, but for the last record of each frame: opening writes one byte more than
/// the content (TLS's content type), for which only the inside of a destination has room.
class ProtectedStream {
 public:
  /// Parts of a batch of at least `payload_bytes` get records of their own, so that they can be opened in place.
  ProtectedStream(security::RecordCipher sealer, security::RecordCipher opener, size_t payload_bytes);

  /// Seals from the front of the batch what fits, and takes it off. Nothing may be unsent. Errors: exhausted, internal.
  Status seal(SendBatch& batch);
  std::span<std::byte> unsent() noexcept { return std::span(sealed_).subspan(sent_, sealed_bytes_ - sent_); }
  void sent(size_t bytes) noexcept { sent_ += bytes; }

  /// Where received bytes go; empty: deliver() first.
  std::span<std::byte> room() noexcept;
  void received(size_t bytes) noexcept { filled_ += bytes; }

  enum class Delivered : uint8_t {
    record,   ///< one was opened and the receiver has it: there may be another
    nothing,  ///< none is complete
    blocked,  ///< the receiver has no memory for it before the next poll
  };
  /// Opens the next record and hands its content to the receiver. Errors: protocol, exhausted, or the receiver's.
  Result<Delivered> deliver(Receiver& receiver, uint64_t poll_number);
  /// Bytes were received that the receiver has not got.
  bool has_undelivered() const noexcept { return copied_ < content_bytes_ || filled_ > opened_; }

 private:
  static constexpr size_t buffer_bytes = 256U << 10;

  size_t gather(std::span<iovec> pending, std::span<iovec> parts, size_t& content) const noexcept;
  Result<Delivered> copy_content(Receiver& receiver, uint64_t poll_number);

  security::RecordCipher sealer_;
  security::RecordCipher opener_;
  size_t payload_bytes_;

  std::vector<std::byte> sealed_;
  size_t sealed_bytes_ = 0;
  size_t sent_ = 0;

  std::vector<std::byte> staging_;  // received: [opened_, filled_) is still to be opened
  size_t opened_ = 0;
  size_t filled_ = 0;
  std::vector<std::byte> content_;  // of a record that was not opened in place: [copied_, content_bytes_) is to be copied
  size_t copied_ = 0;
  size_t content_bytes_ = 0;
};

}  // namespace haul::tcp
