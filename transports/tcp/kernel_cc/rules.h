// What the program in the kernel decides by itself, as arithmetic on numbers: how long a command holds, and what holds without
// one. In C, for the program and for its tests.
//
// Without a command the window follows RFC 5681: slow start from the kernel's initial window, one packet a round trip beyond
// ssthresh, half of it after a loss. When commands run out, that begins at half of what is in flight, as after a loss, but not
// below the ten packets with which any connection may begin (RFC 6928). With these it also begins again after a pause: where
// there is a cong_control(), the kernel does not see to that.
#pragma once

#include <stdint.h>  // NOLINT(modernize-deprecated-headers): in C too

#ifdef __cplusplus
namespace haul::tcp::rules {
#endif

#define HAUL_LONGEST_COMMAND_NS 10000000000ULL
#define HAUL_INITIAL_WINDOW 10U
#define HAUL_LEAST_WINDOW 2U  // with one packet, every delayed acknowledgement would be waited for
#define HAUL_UNLIMITED_RATE (~0ULL)

/// A window in packets, as the kernel keeps it.
struct Window {
  uint32_t packets;
  uint32_t count;  ///< acknowledged since the last growth by a packet, beyond ssthresh
};

static inline uint64_t least(uint64_t a, uint64_t b) { return a < b ? a : b; }
static inline uint64_t most(uint64_t a, uint64_t b) { return a > b ? a : b; }

/// Whether a command of this validity, seen first at `seen_ns`, still holds.
static inline int holds(uint64_t valid_for_ns, uint64_t seen_ns, uint64_t now_ns) {
  return now_ns - seen_ns < least(valid_for_ns, HAUL_LONGEST_COMMAND_NS);
}

/// A commanded window in packets. `clamp` is the kernel's upper bound (snd_cwnd_clamp).
static inline uint32_t packets_of(uint64_t window_bytes, uint32_t mss, uint32_t clamp) {
  const uint64_t packets = mss > 0 ? window_bytes / mss : 0;
  return (uint32_t)least(most(packets, HAUL_LEAST_WINDOW), clamp);
}

/// ssthresh after a loss (RFC 5681, equation 4).
static inline uint32_t after_loss(uint32_t packets) { return (uint32_t)most(packets / 2, HAUL_LEAST_WINDOW); }

/// ssthresh, and the bound of the window, once commands have run out.
static inline uint32_t after_silence(uint32_t window, uint32_t in_flight) {
  return (uint32_t)most(least(window, in_flight) / 2, HAUL_INITIAL_WINDOW);
}

/// The window for the first packet after nothing was sent for `idle`; `timeout` is the retransmission timer, in the same unit
/// (RFC 5681, 4.1).
static inline uint32_t after_idle(uint32_t window, uint32_t idle, uint32_t timeout) {
  return idle > timeout ? (uint32_t)least(window, HAUL_INITIAL_WINDOW) : window;
}

/// What was delivered when a packet was sent, from the sum of now and what was delivered since. The sum begins when haul is
/// selected: of packets that were sent before, less was delivered since.
static inline uint64_t delivered_before(uint64_t delivered, uint64_t since_send) {
  return delivered > since_send ? delivered - since_send : 0;
}

/// The window after `acked` packets, of which `in_flight` were under way before. `recovers`: a loss is being repaired.
static inline struct Window next_window(struct Window window, uint32_t ssthresh, uint32_t acked, uint32_t in_flight,
                                        int recovers, uint32_t clamp) {
  if (recovers) {
    window.packets = (uint32_t)most(least(window.packets, ssthresh), HAUL_LEAST_WINDOW);
    return window;
  }
  // A window that is not used says nothing about the path (RFC 7661); half allows for slow start's bursts.
  if (in_flight < window.packets / 2) return window;
  if (window.packets < ssthresh) {
    window.packets = (uint32_t)least(least((uint64_t)window.packets + acked, ssthresh), clamp);
    return window;
  }
  window.count += acked;
  if (window.count >= window.packets) {
    window.count -= window.packets;
    window.packets = (uint32_t)least((uint64_t)window.packets + 1, clamp);
  }
  return window;
}

/// Bytes a second for a window, as the kernel paces its own algorithms: twice as fast in slow start, else a fifth faster.
/// `smoothed_rtt_8us`: in eighths of a microsecond, as the kernel keeps it; 0 while unknown.
static inline uint64_t rate_of(uint32_t packets, uint32_t ssthresh, uint32_t mss, uint32_t smoothed_rtt_8us) {
  if (smoothed_rtt_8us == 0) return HAUL_UNLIMITED_RATE;
  const uint64_t bytes = (uint64_t)packets * mss;
  return bytes * 8000000 / smoothed_rtt_8us * (packets < ssthresh / 2 ? 200 : 120) / 100;
}

#ifdef __cplusplus
}  // namespace haul::tcp::rules
#endif
