// What the program in the kernel and this library tell each other of a socket: the values of its two maps. In C, for both.
// A change of anything here, or of what it means, changes HAUL_KERNEL_CC_VERSION.
#pragma once

#include <linux/bpf.h>
#include <stdint.h>  // NOLINT(modernize-deprecated-headers): in C too

#ifdef __cplusplus
namespace haul::tcp {
#endif

// The names of the maps end with it, so that an installation by another version is told from this one's. See also
// haul.bpf.c, where the map of the operations is named.
#define HAUL_KERNEL_CC_VERSION "2"

/// What the kernel saw of a socket, since haul drives it. Written by the program only. The kernel counts packets; bytes are
/// packets × mss, as windows are counted. Read with BPF_F_LOCK, all that is counted or measured is of one moment; what concerns
/// commands, and `state`, is noted beside it, and may be of the next.
struct KernelSamples {
  uint64_t acks;                  ///< acknowledgements
  uint64_t time_ns;               ///< CLOCK_MONOTONIC, of the newest one, or of a retransmission timeout since
  uint64_t delivered_bytes;       ///< acknowledged, selectively too
  uint64_t lost_bytes;            ///< taken for lost; a packet lost twice counts twice
  uint64_t marked_bytes;          ///< of `delivered_bytes`, those with a congestion mark (the peer counts them, by ECE)
  uint64_t in_flight_bytes;       ///< after the newest acknowledgement
  uint64_t timeouts;              ///< of the retransmission timer
  uint64_t rates;                 ///< rate samples that were valid; the newest one is:
  uint64_t rate_delivered_bytes;  ///< delivered between the sending of its packet and its acknowledgement
  uint64_t rate_interval_us;      ///< in this time
  uint64_t delivered_at_send;     ///< `delivered_bytes` when that packet was sent
  uint64_t round_trips;           ///< samples of the round trip, without lone packets, which receivers acknowledge late
  uint64_t rtt_us;                ///< the newest of these
  uint64_t sequence;              ///< of the command seen last
  uint64_t command_seen_ns;       ///< when it was seen first
  uint64_t fallbacks;             ///< how often commands ran out
  uint32_t app_limited;           ///< of the newest rate sample
  uint32_t mss;                   ///< payload of a full packet
  uint32_t obeys;                 ///< 1: the command is in force; 0: the program's own rules (rules.h) are
  uint32_t state;                 ///< the kernel's enum tcp_ca_state
  // What the kernel's own counters, which wrap, were at the last look.
  uint32_t kernel_delivered;
  uint32_t kernel_lost;
  uint32_t kernel_marked;
  struct bpf_spin_lock lock;
};

/// What a socket is to do. Written by user space only.
struct KernelCommand {
  uint64_t sequence;      ///< another one with each command: the program's clock for `valid_for_ns` starts when it sees it
  uint64_t window_bytes;  ///< that may be in flight; at least two packets are
  uint64_t rate_bytes_s;  ///< payload, also when sent again. 0: as fast as the window allows
  uint64_t valid_for_ns;  ///< at most HAUL_LONGEST_COMMAND_NS. 0: withdraws it at once
  // Nobody takes it, since commands are replaced as a whole. But maps whose values have one cannot be frozen (BPF_MAP_FREEZE),
  // which one process of the group could do to all others.
  struct bpf_spin_lock lock;
};

#ifdef __cplusplus
}  // namespace haul::tcp
#endif
