// Between our types and those of ngtcp2: for the files that know the library, and no others.
#pragma once

#include <ngtcp2/ngtcp2.h>
#include <ngtcp2/ngtcp2_crypto.h>

#include <algorithm>
#include <array>
#include <cstring>

#include "quic/session.h"

namespace haul::quic {

inline ngtcp2_tstamp stamp(TimePoint now) noexcept { return static_cast<ngtcp2_tstamp>(now.time_since_epoch().count()); }

inline uint8_t* as_u8(std::span<std::byte> bytes) noexcept { return reinterpret_cast<uint8_t*>(bytes.data()); }
inline const uint8_t* as_u8(std::span<const std::byte> bytes) noexcept {
  return reinterpret_cast<const uint8_t*>(bytes.data());
}

inline ngtcp2_cid cid_of(std::string_view bytes) noexcept {
  ngtcp2_cid cid{};
  ngtcp2_cid_init(&cid, reinterpret_cast<const uint8_t*>(bytes.data()), std::min<size_t>(bytes.size(), NGTCP2_MAX_CIDLEN));
  return cid;
}

inline Cid text_of(const ngtcp2_cid& cid) { return {reinterpret_cast<const char*>(cid.data), cid.datalen}; }

inline ngtcp2_cid random_cid(const FillRandom& random, size_t bytes) {
  ngtcp2_cid cid{};
  std::array<std::byte, NGTCP2_MAX_CIDLEN> drawn{};
  random(drawn);
  ngtcp2_cid_init(&cid, as_u8(std::span<const std::byte>(drawn)), bytes);
  return cid;
}

// The library writes to what these point to only where it is handed a storage of its own for that.
inline ngtcp2_addr address_of(const net::Endpoint& endpoint) noexcept {
  auto* address = const_cast<sockaddr_storage*>(&endpoint.storage);  // NOLINT(cppcoreguidelines-pro-type-const-cast)
  return {reinterpret_cast<ngtcp2_sockaddr*>(address), static_cast<ngtcp2_socklen>(endpoint.bytes)};
}

inline net::Endpoint endpoint_of(const ngtcp2_addr& address) noexcept {
  net::Endpoint endpoint;
  std::memcpy(&endpoint.storage, address.addr, address.addrlen);
  endpoint.bytes = address.addrlen;
  return endpoint;
}

inline ngtcp2_path path_of(const net::Endpoint& local, const net::Endpoint& remote) noexcept {
  return {.local = address_of(local), .remote = address_of(remote), .user_data = nullptr};
}

/// What a connection leaves to the library's own cryptography. The rest is the caller's to add, or to put in its place.
inline ngtcp2_callbacks crypto_callbacks(bool dials) noexcept {
  ngtcp2_callbacks callbacks{};
  callbacks.client_initial = dials ? ngtcp2_crypto_client_initial_cb : nullptr;
  callbacks.recv_client_initial = dials ? nullptr : ngtcp2_crypto_recv_client_initial_cb;
  callbacks.recv_retry = dials ? ngtcp2_crypto_recv_retry_cb : nullptr;
  callbacks.recv_crypto_data = ngtcp2_crypto_recv_crypto_data_cb;
  callbacks.encrypt = ngtcp2_crypto_encrypt_cb;
  callbacks.decrypt = ngtcp2_crypto_decrypt_cb;
  callbacks.hp_mask = ngtcp2_crypto_hp_mask_cb;
  callbacks.update_key = ngtcp2_crypto_update_key_cb;
  callbacks.delete_crypto_aead_ctx = ngtcp2_crypto_delete_crypto_aead_ctx_cb;
  callbacks.delete_crypto_cipher_ctx = ngtcp2_crypto_delete_crypto_cipher_ctx_cb;
  callbacks.version_negotiation = ngtcp2_crypto_version_negotiation_cb;
  return callbacks;
}

}  // namespace haul::quic
