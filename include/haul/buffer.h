// Memory that transfers move: Buffer (ours, registered), Slice (a view of it), RemoteBuffer (a peer's, granted to us).
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "haul/export.h"
#include "haul/status.h"
#include "haul/transport.h"

namespace haul {

namespace detail {
struct Registration;
class EngineCore;
}  // namespace detail

class Buffer;

/// A range of a Buffer. Never owns: the Buffer must live until transfers of the slice are done and grants of it revoked.
struct Slice {
  const Buffer* buffer = nullptr;
  uint64_t offset = 0;
  uint64_t length = 0;
};

/// Memory registered once and usable by every transport of its engine. Move-only; made by Engine::allocate and
/// Engine::register_memory; must not outlive its engine's thread of use.
///
/// Ownership: a Buffer from allocate() owns its memory. Destroying it while transfers or grants use it is safe for that memory:
/// it is kept until the last of them is over. Memory given to register_memory() stays the caller's, and must stay valid until
/// every transfer that uses it is done and every grant of it is revoked. Of device memory data() and bytes() are addresses that
/// name it, not to be read or written by the processor.
class HAUL_API Buffer {
 public:
  Buffer() noexcept;
  ~Buffer();
  Buffer(Buffer&&) noexcept;
  Buffer& operator=(Buffer&&) noexcept;
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;

  std::byte* data() const noexcept;
  uint64_t size() const noexcept;
  std::span<std::byte> bytes() const noexcept { return {data(), static_cast<size_t>(size())}; }
  bool empty() const noexcept { return size() == 0; }

  /// The whole buffer, or a range of it. The range is checked when it is used.
  Slice slice() const noexcept { return {this, 0, size()}; }
  Slice slice(uint64_t offset, uint64_t length) const noexcept { return {this, offset, length}; }

 private:
  friend class detail::EngineCore;
  explicit Buffer(std::shared_ptr<detail::Registration> registration) noexcept;
  std::shared_ptr<detail::Registration> registration_;
};

class RemoteBuffer;

/// A range of a RemoteBuffer. Never owns.
struct RemoteSlice {
  const RemoteBuffer* buffer = nullptr;
  uint64_t offset = 0;
  uint64_t length = 0;
};

/// A grant on a peer's memory, as a small value that can be copied, serialised and sent to the peer it was made for.
/// It is only a name: rights are checked by the owner on every use, for the peer it was granted to, until it expires or is
/// revoked. Of an engine that restarted since, it is stale and refused.
class HAUL_API RemoteBuffer {
 public:
  static constexpr size_t serialized_bytes = 40;

  RemoteBuffer() noexcept = default;
  RemoteBuffer(uint64_t owner_incarnation, uint64_t grant_id, uint64_t length, Rights rights) noexcept
      : owner_incarnation_(owner_incarnation), grant_id_(grant_id), length_(length), rights_(rights) {}

  uint64_t owner_incarnation() const noexcept { return owner_incarnation_; }
  uint64_t grant_id() const noexcept { return grant_id_; }
  uint64_t size() const noexcept { return length_; }
  Rights rights() const noexcept { return rights_; }

  RemoteSlice slice() const noexcept { return {this, 0, length_}; }
  RemoteSlice slice(uint64_t offset, uint64_t length) const noexcept { return {this, offset, length}; }

  /// docs/wire-format.md, "Remote buffer".
  std::array<std::byte, serialized_bytes> serialize() const noexcept;
  /// Errors: invalid (size, magic, version or check sum). Accepts exactly serialized_bytes.
  static Result<RemoteBuffer> deserialize(std::span<const std::byte> bytes);

  bool operator==(const RemoteBuffer&) const = default;

 private:
  uint64_t owner_incarnation_ = 0;
  uint64_t grant_id_ = 0;
  uint64_t length_ = 0;
  Rights rights_ = Rights::none;
};

}  // namespace haul
