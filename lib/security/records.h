// The protection of bytes after a handshake: TLS 1.3 records (RFC 8446 section 5.2), sealed and opened with GnuTLS's AEAD
// calls, so that payload goes from the sender's memory to the socket, and from received records to its destination, in one
// pass each.
#pragma once

#include <sys/uio.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "haul/credentials.h"
#include "haul/status.h"

struct api_aead_cipher_hd_st;

namespace haul::security {

enum class Cipher : uint8_t { aes_128_gcm, aes_256_gcm, chacha20_poly1305 };

const char* to_string(Cipher cipher) noexcept;

/// Of one direction. Wiped when destroyed.
struct RecordKeys {
  Cipher cipher = Cipher::aes_128_gcm;
  std::array<std::byte, 32> key{};
  std::array<std::byte, 12> iv{};
  uint64_t sequence = 0;  ///< of the next record

  size_t key_bytes() const noexcept { return cipher == Cipher::aes_128_gcm ? 16 : 32; }
  RecordKeys() = default;
  RecordKeys(const RecordKeys&) = default;
  RecordKeys& operator=(const RecordKeys&) = default;
  ~RecordKeys();
};

inline constexpr size_t record_header_bytes = 5;
inline constexpr size_t record_tag_bytes = 16;
inline constexpr size_t max_record_content_bytes = 16384;
/// What a record is larger than its content: header, content type, tag.
inline constexpr size_t record_overhead_bytes = record_header_bytes + 1 + record_tag_bytes;
inline constexpr size_t max_record_bytes = max_record_content_bytes + record_overhead_bytes;

/// Sixteen-byte blocks that one key may protect: a little less than the 2^34.5 that RFC 8446 section 5.5 permits (it counts
/// full-size records). Lanes are replaced long before.
inline constexpr uint64_t max_blocks = uint64_t{22} << 30;

/// The TLS content types that occur after a handshake.
enum class ContentType : uint8_t { alert = 21, application_data = 23 };

/// A cipher with its key, and the counter of records.
class RecordCipher {
 public:
  /// `mode` encrypted: TLS records. integrity_only: records of the same shape whose content is readable (GMAC, NIST SP 800-38D;
  /// the content is the associated data). Errors: unsupported, exhausted.
  static Result<RecordCipher> make(const RecordKeys& keys, Protection mode);
  RecordCipher(RecordCipher&&) noexcept = default;
  RecordCipher& operator=(RecordCipher&&) noexcept = default;
  ~RecordCipher() = default;

  /// Writes one record with the parts' content (1 … max_record_content_bytes in all) to `out` and returns its size.
  /// `parts` has at most 63 elements. Errors: exhausted (the key was used up), internal.
  Result<size_t> seal(std::span<const iovec> parts, std::span<std::byte> out);

  struct Opened {
    ContentType type = ContentType::application_data;
    size_t bytes = 0;
  };
  /// Opens a whole record into `out`, which has room for its content and one byte more. Errors: protocol (altered on the way,
  /// repeated, out of order, or of another key; nothing of `out` may be used), exhausted.
  Result<Opened> open(std::span<const std::byte> record, std::span<std::byte> out);

  /// What the key protected so far.
  uint64_t blocks() const noexcept { return blocks_; }
  /// For handing the direction to the kernel: the keys as they stand.
  const RecordKeys& keys() const noexcept { return *keys_; }

 private:
  struct Free {
    void operator()(api_aead_cipher_hd_st* handle) const noexcept;
  };
  RecordCipher(std::unique_ptr<api_aead_cipher_hd_st, Free> handle, const RecordKeys& keys, Protection mode);
  std::array<std::byte, 12> next_nonce() noexcept;
  Status count(size_t bytes);

  std::unique_ptr<api_aead_cipher_hd_st, Free> handle_;
  std::unique_ptr<RecordKeys> keys_;
  Protection mode_;
  uint64_t blocks_ = 0;
};

/// What is said of a record that does not open, and of bytes that are none: whoever finds it, this library or the kernel.
Status record_damaged();
Status not_a_record();

/// Bytes of the record that begins `in`, header included; 0: its header is not there yet. Errors: protocol.
Result<size_t> record_size(std::span<const std::byte> in);

}  // namespace haul::security
