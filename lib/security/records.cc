// TLS 1.3 records by GnuTLS's AEAD calls.
#include "security/records.h"

#include <fmt/format.h>
#include <gnutls/crypto.h>
#include <gnutls/gnutls.h>

#include <cstring>
#include <utility>

#include "base/check.h"

namespace haul::security {

namespace {

constexpr size_t max_parts = 63;
constexpr size_t block_bytes = 16;
constexpr auto outer_type = std::byte{23};  // every record looks like application data from outside

gnutls_cipher_algorithm_t algorithm(Cipher cipher) {
  switch (cipher) {
    case Cipher::aes_128_gcm: return GNUTLS_CIPHER_AES_128_GCM;
    case Cipher::aes_256_gcm: return GNUTLS_CIPHER_AES_256_GCM;
    case Cipher::chacha20_poly1305: return GNUTLS_CIPHER_CHACHA20_POLY1305;
  }
  return GNUTLS_CIPHER_UNKNOWN;
}

std::array<std::byte, record_header_bytes> header_for(size_t protected_bytes) {
  return {outer_type, std::byte{3}, std::byte{3}, static_cast<std::byte>(protected_bytes >> 8U),
          static_cast<std::byte>(protected_bytes & 0xffU)};
}

}  // namespace

Status record_damaged() {
  return Status(
      StatusCode::protocol,
      "a record failed its authentication: bytes were altered, repeated, dropped or reordered on the way. Nothing of it "
      "was accepted");
}

Status not_a_record() {
  return Status(StatusCode::protocol, "what came is not a TLS record: the stream was altered on the way");
}

const char* to_string(Cipher cipher) noexcept {
  switch (cipher) {
    case Cipher::aes_128_gcm: return "AES-128-GCM";
    case Cipher::aes_256_gcm: return "AES-256-GCM";
    case Cipher::chacha20_poly1305: return "ChaCha20-Poly1305";
  }
  return "unknown";
}

RecordKeys::~RecordKeys() {
  gnutls_memset(key.data(), 0, key.size());
  gnutls_memset(iv.data(), 0, iv.size());
}

void RecordCipher::Free::operator()(api_aead_cipher_hd_st* handle) const noexcept { gnutls_aead_cipher_deinit(handle); }

RecordCipher::RecordCipher(std::unique_ptr<api_aead_cipher_hd_st, Free> handle, const RecordKeys& keys, Protection mode)
    : handle_(std::move(handle)), keys_(std::make_unique<RecordKeys>(keys)), mode_(mode) {}

Result<RecordCipher> RecordCipher::make(const RecordKeys& keys, Protection mode) {
  base::check(mode != Protection::plain, "plain bytes need no record cipher");
  RecordKeys own = keys;
  const gnutls_datum_t key{reinterpret_cast<unsigned char*>(own.key.data()), static_cast<unsigned>(own.key_bytes())};
  gnutls_aead_cipher_hd_t handle = nullptr;
  const int error = gnutls_aead_cipher_init(&handle, algorithm(keys.cipher), &key);
  if (error < 0) {
    return Status(StatusCode::unsupported, fmt::format("the cipher cannot be used: {}", gnutls_strerror(error)));
  }
  return RecordCipher(std::unique_ptr<api_aead_cipher_hd_st, Free>(handle), own, mode);
}

// RFC 8446 section 5.3.
std::array<std::byte, 12> RecordCipher::next_nonce() noexcept {
  std::array<std::byte, 12> nonce = keys_->iv;
  for (size_t i = 0; i < 8; ++i) nonce[11 - i] ^= static_cast<std::byte>(keys_->sequence >> (8 * i));
  ++keys_->sequence;
  return nonce;
}

Status RecordCipher::count(size_t bytes) {
  blocks_ += bytes / block_bytes + 2;
  if (blocks_ <= max_blocks) return {};
  return Status(StatusCode::exhausted, "the keys of this connection are used up; it has to be made anew");
}

Result<size_t> RecordCipher::seal(std::span<const iovec> parts, std::span<std::byte> out) {
  base::check(parts.size() <= max_parts, "too many parts for one record");
  size_t content = 0;
  for (const iovec& part : parts) content += part.iov_len;
  base::check(content > 0 && content <= max_record_content_bytes && out.size() >= content + record_overhead_bytes,
              "a record does not fit");
  if (Status status = count(content); !status.ok()) return status;
  auto header = header_for(content + 1 + record_tag_bytes);
  std::memcpy(out.data(), header.data(), header.size());
  std::byte type{static_cast<uint8_t>(ContentType::application_data)};
  std::array<giovec_t, max_parts + 2> pieces;  // NOLINT(cppcoreguidelines-pro-type-member-init)
  const auto nonce = next_nonce();
  std::byte* body = out.data() + record_header_bytes;
  size_t sealed = out.size() - record_header_bytes;
  int error = 0;
  if (mode_ == Protection::encrypted) {
    std::copy(parts.begin(), parts.end(), pieces.begin());
    pieces[parts.size()] = {&type, 1};
    const giovec_t associated{header.data(), header.size()};
    error = gnutls_aead_cipher_encryptv(handle_.get(), nonce.data(), nonce.size(), &associated, 1, record_tag_bytes,
                                        pieces.data(), static_cast<int>(parts.size() + 1), body, &sealed);
  } else {
    size_t filled = 0;
    for (const iovec& part : parts) {
      std::memcpy(body + filled, part.iov_base, part.iov_len);
      filled += part.iov_len;
    }
    body[filled++] = type;
    sealed -= filled;
    error = gnutls_aead_cipher_encrypt(handle_.get(), nonce.data(), nonce.size(), out.data(), record_header_bytes + filled,
                                       record_tag_bytes, nullptr, 0, body + filled, &sealed);
    sealed += filled;
  }
  if (error < 0) return Status(StatusCode::internal, fmt::format("a record could not be sealed: {}", gnutls_strerror(error)));
  return record_header_bytes + sealed;
}

Result<RecordCipher::Opened> RecordCipher::open(std::span<const std::byte> record, std::span<std::byte> out) {
  base::check(record.size() >= record_overhead_bytes && out.size() >= record.size() - record_overhead_bytes + 1,
              "a record does not fit");
  const auto header = record.first(record_header_bytes);
  const auto body = record.subspan(record_header_bytes);
  const size_t inner = body.size() - record_tag_bytes;  // content and its type
  if (Status status = count(inner - 1); !status.ok()) return status;
  const auto nonce = next_nonce();
  size_t opened = out.size();
  int error = 0;
  if (mode_ == Protection::encrypted) {
    error = gnutls_aead_cipher_decrypt(handle_.get(), nonce.data(), nonce.size(), header.data(), header.size(),
                                       record_tag_bytes, body.data(), body.size(), out.data(), &opened);
  } else {
    error = gnutls_aead_cipher_decrypt(handle_.get(), nonce.data(), nonce.size(), record.data(), record_header_bytes + inner,
                                       record_tag_bytes, body.data() + inner, record_tag_bytes, nullptr, &(opened = 0));
    if (error >= 0) std::memcpy(out.data(), body.data(), inner);
    opened = inner;
  }
  if (error < 0 || opened != inner) return record_damaged();
  // Padding (RFC 8446 section 5.4) is not used: the type follows the content at once.
  const auto type = static_cast<uint8_t>(out[inner - 1]);
  if (type != static_cast<uint8_t>(ContentType::application_data) && type != static_cast<uint8_t>(ContentType::alert)) {
    return Status(StatusCode::protocol, fmt::format("the peer sent a TLS record of type {}, which haul does not use", type));
  }
  return Opened{static_cast<ContentType>(type), inner - 1};
}

Result<size_t> record_size(std::span<const std::byte> in) {
  if (in.size() < record_header_bytes) return size_t{0};
  const size_t bytes = (static_cast<size_t>(in[3]) << 8U) | static_cast<size_t>(in[4]);
  if (in[0] != outer_type || in[1] != std::byte{3} || in[2] != std::byte{3} || bytes < 1 + record_tag_bytes ||
      bytes > max_record_bytes - record_header_bytes) {
    return not_a_record();
  }
  return record_header_bytes + bytes;
}

}  // namespace haul::security
