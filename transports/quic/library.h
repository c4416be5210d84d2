// Between our types and those of ngtcp2: for the files that know the library, and no others.
#pragma once

#include <ngtcp2/ngtcp2.h>

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

// The library keeps its window when only the peer's port changes. If that is full of packets that went to the old port, it
// neither asks the new one whether somebody is there nor sends anything again. So it is shown addresses in which the port
// counts. Twice gives the address itself.
inline net::Endpoint with_port_in_address(net::Endpoint endpoint) noexcept {
  const uint16_t port = htons(endpoint.port());
  const bool v6 = endpoint.family() == AF_INET6;
  auto* address = v6 ? reinterpret_cast<uint8_t*>(&reinterpret_cast<sockaddr_in6&>(endpoint.storage).sin6_addr)
                     : reinterpret_cast<uint8_t*>(&reinterpret_cast<sockaddr_in&>(endpoint.storage).sin_addr);
  uint8_t* last = address + (v6 ? sizeof(in6_addr) : sizeof(in_addr)) - sizeof(port);
  uint16_t part = 0;
  std::memcpy(&part, last, sizeof(part));
  part = static_cast<uint16_t>(part ^ port);
  std::memcpy(last, &part, sizeof(part));
  return endpoint;
}

inline ngtcp2_path path_of(const net::Endpoint& local, const net::Endpoint& remote) noexcept {
  return {.local = address_of(local), .remote = address_of(remote), .user_data = nullptr};
}

}  // namespace haul::quic
