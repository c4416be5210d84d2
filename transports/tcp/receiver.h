// The receive machine: turns the bytes of a connection into frames, and says where the next bytes go.
#pragma once

#include <sys/uio.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "haul/status.h"
#include "tcp/wire.h"

namespace haul::tcp {

/// Who understands the frames. Every error is a broken protocol: the connection must close.
class FrameHandler {
 public:
  virtual ~FrameHandler() = default;
  /// A write or read_data begins: where its payload goes; null: nowhere.
  virtual Result<std::byte*> on_payload_begin(const wire::FrameHeader& header) = 0;
  virtual Status on_payload_end(const wire::FrameHeader& header) = 0;
  /// `body` may be kept until staging_free() would say so: see Receiver::hold_staging.
  virtual Status on_bundle(const wire::FrameHeader& header, std::span<const std::byte> body) = 0;
  virtual Status on_close() = 0;
};

/// No I/O of its own. plan() says where bytes may be received; advance() says how many came; in turn. Large payload goes
/// straight to its destination: at a frame's boundary exactly a header is asked for, and behind a body the next header.
class Receiver {
 public:
  explicit Receiver(FrameHandler& handler);

  /// Fills up to two ranges and returns how many. None: a bundle or unwanted payload comes, and all staging memory is held.
  size_t plan(std::array<iovec, 2>& ranges, uint64_t poll_number);
  Status advance(size_t bytes);

  /// The rest of the payload under way is not wanted any more.
  void discard_payload() noexcept;
  /// The staging memory of the bundle being handled is in use until this poll is over.
  void hold_staging(uint64_t poll_number) noexcept { staging_[current_staging_].held = poll_number; }
  /// Nothing of a frame is there: an end of the stream here cuts nothing off.
  bool at_boundary() const noexcept { return header_filled_ == 0 && !in_body_; }

 private:
  struct Staging {
    std::unique_ptr<std::byte[]> memory;
    uint64_t held = 0;  // by the events of this poll; 0: by none
  };

  bool choose_staging(uint64_t poll_number);
  bool uses_staging() const noexcept { return header_.type == wire::FrameType::bundle || destination_ == nullptr; }
  Status begin_frame();
  Status end_frame();

  FrameHandler& handler_;
  std::array<std::byte, wire::header_bytes> raw_header_{};
  size_t header_filled_ = 0;
  wire::FrameHeader header_;  // of the frame whose body is under way
  bool in_body_ = false;
  size_t body_filled_ = 0;
  std::byte* destination_ = nullptr;  // of the payload under way; null: discarded
  std::array<Staging, 2> staging_;
  size_t current_staging_ = 0;
  bool has_staging_ = false;  // the current one was chosen for the body under way
};

}  // namespace haul::tcp
