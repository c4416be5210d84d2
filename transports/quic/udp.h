// Datagrams: the small interface between connections and whatever carries their packets, and UDP sockets behind it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>

#include "base/unique_fd.h"
#include "haul/status.h"
#include "haul/time.h"
#include "net/endpoint.h"

namespace haul::quic {

/// Datagrams of one size, the last one perhaps shorter, that lie behind each other.
struct Burst {
  std::span<const std::byte> bytes;
  size_t datagram_bytes = 0;
  uint8_t ecn = 0;  ///< of the IP header (RFC 3168)
  net::Endpoint remote;
  /// When it came, of what was received, if that is known: it may have waited for its reader.
  std::optional<TimePoint> came = {};
};

/// Used by one thread; no call blocks.
class DatagramSocket {
 public:
  virtual ~DatagramSocket() = default;
  /// The bytes belong to the socket, until the next call. Absent bytes: nothing is there.
  virtual Burst receive() = 0;
  /// False: it does not fit now, or not all of it; the socket becomes writable later, and is to be given the same burst again
  /// before any other of several datagrams. What can't be sent at all is lost, as datagrams are.
  virtual bool send(const Burst& burst) = 0;
  /// How late it is, for a caller who was told that it is `now`: time goes on while datagrams are handled, and what one says of
  /// the round trip must not depend on how many came before it. Simulated time stands still meanwhile.
  virtual TimePoint time(TimePoint now) const noexcept { return now; }
  /// Where it is bound.
  virtual const net::Endpoint& local() const noexcept = 0;
  /// To be watched; -1: nothing to watch.
  virtual int fd() const noexcept = 0;
};

/// What one burst may carry: segmentation offload takes that much.
inline constexpr size_t max_burst_bytes = 65000;
inline constexpr size_t max_burst_datagrams = 64;

/// Errors: unavailable, refused, exhausted.
Result<std::unique_ptr<DatagramSocket>> open_udp(const net::Endpoint& local, bool both_families, uint32_t buffer_bytes);

}  // namespace haul::quic
