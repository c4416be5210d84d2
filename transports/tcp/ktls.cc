// setsockopt for kTLS; Documentation/networking/tls.rst of the kernel.
#include "tcp/ktls.h"

#include <linux/tls.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstring>

#ifndef SOL_TLS
#define SOL_TLS 282
#endif

namespace haul::tcp {

namespace {

constexpr size_t salt_bytes = 4;

// The kernel splits the 12-byte nonce of TLS 1.3 into a salt and an "iv".
template <typename Info>
void fill(Info& info, uint16_t cipher, const security::RecordKeys& keys) {
  info.info.version = TLS_1_3_VERSION;
  info.info.cipher_type = cipher;
  std::memcpy(info.key, keys.key.data(), sizeof(info.key));
  std::memcpy(info.salt, keys.iv.data(), salt_bytes);
  std::memcpy(info.iv, keys.iv.data() + salt_bytes, sizeof(info.iv));
  for (size_t i = 0; i < sizeof(info.rec_seq); ++i) {
    info.rec_seq[i] = static_cast<unsigned char>(keys.sequence >> (8 * (sizeof(info.rec_seq) - 1 - i)));
  }
}

int set_direction(int socket, int direction, const security::RecordKeys& keys) {
  if (keys.cipher == security::Cipher::aes_128_gcm) {
    tls12_crypto_info_aes_gcm_128 info{};
    fill(info, TLS_CIPHER_AES_GCM_128, keys);
    const int result = setsockopt(socket, SOL_TLS, direction, &info, sizeof(info));
    explicit_bzero(&info, sizeof(info));
    return result;
  }
  if (keys.cipher == security::Cipher::aes_256_gcm) {
    tls12_crypto_info_aes_gcm_256 info{};
    fill(info, TLS_CIPHER_AES_GCM_256, keys);
    const int result = setsockopt(socket, SOL_TLS, direction, &info, sizeof(info));
    explicit_bzero(&info, sizeof(info));
    return result;
  }
  errno = EOPNOTSUPP;
  return -1;
}

}  // namespace

Status use_kernel_tls(int socket, const security::RecordKeys& sends, const security::RecordKeys& receives) {
  if (sends.cipher == security::Cipher::chacha20_poly1305) {
    return Status(StatusCode::unsupported, "ChaCha20-Poly1305 is left to the library");
  }
  if (setsockopt(socket, SOL_TCP, TCP_ULP, "tls", sizeof("tls")) != 0) {
    return Status::from_errno(StatusCode::unsupported, errno, "this kernel has no TLS (`modprobe tls`)");
  }
  // Without keys the tls layer passes bytes through: a failure here leaves the socket usable.
  if (set_direction(socket, TLS_TX, sends) != 0) {
    return Status::from_errno(StatusCode::unsupported, errno, "the kernel's TLS refused the keys for sending");
  }
  if (set_direction(socket, TLS_RX, receives) != 0) {
    return Status::from_errno(StatusCode::internal, errno, "the kernel's TLS refused the keys for receiving");
  }
  return {};
}

Status kernel_tls_failure(int system_error) {
  switch (system_error) {
    case EBADMSG: return security::record_damaged();
    case EINVAL:
    case EMSGSIZE: return security::not_a_record();
    case EIO: return Status(StatusCode::peer_lost, "the peer ended the protected connection by a TLS alert");
    default: return Status::from_errno(StatusCode::peer_lost, system_error, "the connection broke");
  }
}

}  // namespace haul::tcp
