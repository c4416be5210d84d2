// What a transport takes from the world around it, beside time, which every call brings. Tests put other things in its place.
#pragma once

#include <functional>
#include <memory>
#include <span>

#include "base/random.h"
#include "haul/quic.h"
#include "quic/udp.h"

namespace haul::quic {

/// Fills with bytes that nobody can guess.
using FillRandom = std::function<void(std::span<std::byte>)>;

/// Used by the transport's thread only.
struct Surroundings {
  /// As open_udp().
  std::function<Result<std::unique_ptr<DatagramSocket>>(const net::Endpoint& local, bool both_families, uint32_t buffer_bytes)>
      open_socket = open_udp;
  /// Connection ids, tokens, and all that ngtcp2 draws. What GnuTLS draws changes no packet's size.
  FillRandom random = base::system_random;
};

/// As haul::quic::make_transport(), in other surroundings.
Result<std::unique_ptr<Transport>> make_transport(Options options, Surroundings surroundings);

}  // namespace haul::quic
