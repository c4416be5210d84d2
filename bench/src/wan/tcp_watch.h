// What the kernel knows of the TCP connections at one end, asked while they run.
#pragma once

#include <array>
#include <cstdint>

#include "base/unique_fd.h"
#include "haul/time.h"
#include "wan/end.h"

namespace wan {

/// Of all connections of one program together.
struct TcpState {
  uint32_t connections = 0;
  uint64_t window_bytes = 0;
  uint64_t in_flight_bytes = 0;
  uint64_t pacing_bytes_s = 0;
  haul::Duration rtt = haul::Duration::zero();  ///< smoothed, of the connection with the largest window
};

/// Asks by inet_diag, as ss(8) does, whatever program the connections belong to.
class TcpWatch {
 public:
  /// `rival_port`: connections to it are the rival's; 0: there is none.
  static haul::Result<TcpWatch> make(const End& end, uint16_t rival_port);
  /// Everybody's but the rival's, and the rival's. Zeros where the kernel tells nothing (payload that goes over no TCP).
  std::array<TcpState, 2> ask();

 private:
  TcpWatch(haul::base::UniqueFd socket, uint16_t rival_port) : socket_(std::move(socket)), rival_port_(rival_port) {}

  haul::base::UniqueFd socket_;
  uint16_t rival_port_;
};

}  // namespace wan
