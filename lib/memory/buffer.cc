// Buffer and RemoteBuffer.
#include "haul/buffer.h"

#include "base/bytes.h"
#include "base/crc32c.h"
#include "memory/registration.h"

namespace haul {

Buffer::Buffer() noexcept = default;
Buffer::~Buffer() = default;
Buffer::Buffer(Buffer&&) noexcept = default;
Buffer& Buffer::operator=(Buffer&&) noexcept = default;
Buffer::Buffer(std::shared_ptr<detail::Registration> registration) noexcept : registration_(std::move(registration)) {}

std::byte* Buffer::data() const noexcept { return registration_ ? registration_->memory.data() : nullptr; }
uint64_t Buffer::size() const noexcept { return registration_ ? registration_->memory.size() : 0; }

namespace {

constexpr uint32_t remote_buffer_magic = 0x4c554148;  // "HAUL"
constexpr uint8_t remote_buffer_version = 1;

}  // namespace

std::array<std::byte, RemoteBuffer::serialized_bytes> RemoteBuffer::serialize() const noexcept {
  std::array<std::byte, serialized_bytes> bytes{};
  base::ByteWriter writer(bytes);
  writer.put(remote_buffer_magic);
  writer.put(remote_buffer_version);
  writer.put(static_cast<uint8_t>(rights_));
  writer.put(uint16_t{0});
  writer.put(owner_incarnation_);
  writer.put(grant_id_);
  writer.put(length_);
  writer.put(uint32_t{0});
  writer.put(base::crc32c(writer.written()));
  return bytes;
}

Result<RemoteBuffer> RemoteBuffer::deserialize(std::span<const std::byte> bytes) {
  if (bytes.size() != serialized_bytes) {
    return Status(StatusCode::invalid, "a serialised remote buffer has 40 bytes, not " + std::to_string(bytes.size()));
  }
  base::ByteReader reader(bytes);
  const auto magic = reader.get<uint32_t>();
  const auto version = reader.get<uint8_t>();
  const auto rights = reader.get<uint8_t>();
  reader.get<uint16_t>();
  const auto incarnation = reader.get<uint64_t>();
  const auto grant_id = reader.get<uint64_t>();
  const auto length = reader.get<uint64_t>();
  reader.get<uint32_t>();
  const auto checksum = reader.get<uint32_t>();
  if (magic != remote_buffer_magic) return Status(StatusCode::invalid, "these bytes are not a serialised remote buffer");
  if (version != remote_buffer_version) {
    return Status(StatusCode::invalid, "the remote buffer has format version " + std::to_string(version) +
                                           ", this library reads version 1: upgrade the older side");
  }
  if (checksum != base::crc32c(bytes.first(serialized_bytes - sizeof(checksum))) || rights > 3) {
    return Status(StatusCode::invalid, "the serialised remote buffer is damaged (checksum)");
  }
  return RemoteBuffer(incarnation, grant_id, length, static_cast<Rights>(rights));
}

}  // namespace haul
