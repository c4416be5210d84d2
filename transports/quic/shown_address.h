// The addresses that the library is shown in place of the peer's: so that the port counts in them, and under a name.
#pragma once

#include <netinet/in.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <span>

#include "net/endpoint.h"

namespace haul::quic {

// The library keeps its window when only the peer's port changes. If that is full of packets that went to the old port, it
// neither asks the new one whether somebody is there nor sends anything again. So the port is part of the address that it is
// shown; and a name, by which a peer that stays where it is can seem to have moved.

/// Where the name is kept: the library copies this, but does not compare it.
inline std::span<uint8_t, sizeof(uint16_t)> place_of_name(net::Endpoint& shown) noexcept {
  auto* place = shown.family() == AF_INET6
                    ? reinterpret_cast<uint8_t*>(&reinterpret_cast<sockaddr_in6&>(shown.storage).sin6_flowinfo)
                    : reinterpret_cast<uint8_t*>(&reinterpret_cast<sockaddr_in&>(shown.storage).sin_zero);
  return std::span<uint8_t, sizeof(uint16_t)>(place, sizeof(uint16_t));
}

/// Twice leaves the address as it was.
inline void mix_into_address(net::Endpoint& endpoint, uint16_t name) noexcept {
  const uint16_t mixed = htons(static_cast<uint16_t>(endpoint.port() ^ name));
  const bool v6 = endpoint.family() == AF_INET6;
  auto* address = v6 ? reinterpret_cast<uint8_t*>(&reinterpret_cast<sockaddr_in6&>(endpoint.storage).sin6_addr)
                     : reinterpret_cast<uint8_t*>(&reinterpret_cast<sockaddr_in&>(endpoint.storage).sin_addr);
  uint8_t* last = address + (v6 ? sizeof(in6_addr) : sizeof(in_addr)) - sizeof(mixed);
  uint16_t part = 0;
  std::memcpy(&part, last, sizeof(part));
  part = static_cast<uint16_t>(part ^ mixed);
  std::memcpy(last, &part, sizeof(part));
}

inline net::Endpoint shown_as(net::Endpoint endpoint, uint16_t name) noexcept {
  mix_into_address(endpoint, name);
  std::memcpy(place_of_name(endpoint).data(), &name, sizeof(name));
  return endpoint;
}

inline uint16_t name_of(net::Endpoint shown) noexcept {
  uint16_t name = 0;
  std::memcpy(&name, place_of_name(shown).data(), sizeof(name));
  return name;
}

inline net::Endpoint real_of(net::Endpoint shown) noexcept {
  mix_into_address(shown, name_of(shown));
  std::ranges::fill(place_of_name(shown), uint8_t{0});
  return shown;
}

}  // namespace haul::quic
