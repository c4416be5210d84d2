// One transfer over one link in one way, and what it took.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "quic_carriers/carrier.h"
#include "quic_carriers/pipe.h"

namespace carriers {

struct Run {
  std::shared_ptr<const haul::SecurityContext> security;
  Pipe::Options link;  ///< each way
  size_t streams = 0;  ///< 0: DATAGRAM frames
  uint64_t seed = 0;
  std::span<const std::byte> source;
  std::span<std::byte> target;  ///< as large
};

struct Figures {
  std::string failure;  ///< why it was not over; empty: it was
  std::string cipher;
  double cpu_s = 0;             ///< both ends together, handshake excluded
  double virtual_s = 0;         ///< from the handshake to the last byte in place
  uint64_t sent_bytes = 0;      ///< UDP payload of the sender's
  uint64_t repeated_bytes = 0;  ///< of it what is neither payload for the first time nor headers
  // The most that was held beside what an idle connection holds: by the library and by our own bookkeeping.
  size_t sender_bytes = 0;
  size_t receiver_bytes = 0;
};

/// Throws std::runtime_error where what arrived is not what was sent.
Figures transfer(const Run& run);

}  // namespace carriers
