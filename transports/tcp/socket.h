// Small helpers around sockets and their addresses.
#pragma once

#include <netinet/in.h>
#include <sys/socket.h>

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/unique_fd.h"
#include "haul/address.h"
#include "haul/status.h"
#include "haul/tcp.h"
#include "haul/telemetry.h"
#include "net/endpoint.h"

namespace haul::tcp {

using net::code_of;
using net::Endpoint;
using net::local_endpoint;
using net::remedy;
using net::remote_endpoint;

/// A TCP socket with what must be set before connect() or listen(). Errors: exhausted, unavailable (no such family here).
Result<base::UniqueFd> make_socket(int family, const Options& options);

/// How far away a peer is: in the rack where the round trip was under 2 ms when the connection was made.
enum class Distance : uint8_t { loopback, rack, wan };
Distance distance_of(int fd) noexcept;
/// Offers the peer all the room that the kernel lets this socket have (half of the most in tcp_rmem), at once instead of what
/// it finds out round trip by round trip: that goes by what was read, so that a start with a lost packet waits for the window.
/// What the kernel does by itself goes on from there. Nothing happens where Options::receive_buffer_bytes has fixed the buffer.
void open_window(int fd) noexcept;

/// Why payload for such a peer is copied, as describe() says it; null: large payload is not. `available`: the kernel can.
const char* why_copied(ZeroCopy wanted, bool available, Distance distance) noexcept;

/// The congestion control of a connected socket.
struct Congestion {
  std::string name;      ///< in force
  bool rack = true;      ///< it was Options::congestion_rack that was asked, else congestion_wan
  bool as_asked = true;  ///< false: nothing on that list could be set, so that it is the kernel's default
};

/// Sets what a connected socket needs. `steerable`: haul's congestion control is installed, and this process may drive it.
Congestion tune_socket(int fd, Distance distance, const Options& options, bool steerable);

/// For the log, where a congestion control is not as asked.
std::string congestion_warning(const Congestion& congestion, const Options& options);

/// Sends a few bytes without waiting: into the buffer of a socket that has room for them, as new ones do. False: it broke, or
/// is full.
bool send_now(int fd, std::span<const std::byte> bytes) noexcept;

void set_nonblocking(int fd, bool on) noexcept;

/// Ends both directions at once. What was not acknowledged is dropped, so that zero-copy sends let go of their memory.
void reset_socket(int fd) noexcept;

/// What the kernel knows of the path, into the fields it can fill. `queued_bytes` wait here for room in the socket: where its
/// buffer is full, there is not too little to send.
void sample_socket(int fd, uint64_t queued_bytes, PathSample& sample) noexcept;

/// The rate to pace a socket at, where a controller asks for this one: not below twenty bursts a second of the two segments
/// that the kernel sends together at least. The time it waits after a burst is fixed by then, whatever the rate becomes, and a
/// socket that waits for hours is dead.
uint64_t endurable_rate(int fd, uint64_t rate_bytes_s) noexcept;
/// Paces what the kernel sends at such a rate (SO_MAX_PACING_RATE). What waits unsent is bounded, too.
void pace(int fd, std::optional<uint64_t> rate_bytes_s) noexcept;
/// Of what leaves at this rate only so much is taken as does within some milliseconds (TCP_NOTSENT_LOWAT). Absent: as much as
/// the send buffer holds.
void bound_unsent(int fd, std::optional<uint64_t> rate_bytes_s) noexcept;

/// Room in the send buffer for so many bytes on the way, where the kernel's own limit for it (tcp_wmem) is lower. False: it is
/// lower, and may not be exceeded.
bool hold_path(int fd, uint64_t bytes) noexcept;
/// For describe(), when it is so.
std::string send_buffer_limit(uint64_t bytes);

/// A bound, listening socket. Errors: unavailable, refused, exhausted.
Result<base::UniqueFd> listen_on(const Endpoint& endpoint, bool both_families, const Options& options);

}  // namespace haul::tcp
