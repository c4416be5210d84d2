// The kernel's types, as far as the program uses them: the loader looks up where the members are in the kernel that runs
// (CO-RE).
#pragma once

#include <stdint.h>

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct sock {
  unsigned long sk_pacing_rate;
  unsigned long sk_max_pacing_rate;
  uint32_t sk_pacing_status;
};

struct inet_connection_sock {
  uint32_t icsk_rto;
};

struct tcp_sock {
  uint32_t lsndtime;
  uint32_t mss_cache;
  uint32_t srtt_us;
  uint32_t snd_ssthresh;
  uint32_t snd_cwnd;
  uint32_t snd_cwnd_cnt;
  uint32_t snd_cwnd_clamp;
  uint32_t prior_cwnd;
  uint32_t packets_out;
  uint32_t retrans_out;
  uint32_t sacked_out;
  uint32_t lost_out;
  uint32_t delivered;
  uint32_t delivered_ce;
  uint32_t lost;
};

struct rate_sample {
  uint32_t prior_delivered;
  int32_t delivered;
  long interval_us;
  long rtt_us;
  uint32_t acked_sacked;
  uint32_t prior_in_flight;
  _Bool is_app_limited;
  _Bool is_ack_delayed;
};

struct tcp_congestion_ops {
  uint32_t flags;
  void (*init)(struct sock* sk);
  uint32_t (*ssthresh)(struct sock* sk);
  void (*cong_avoid)(struct sock* sk, uint32_t ack, uint32_t acked);
  void (*set_state)(struct sock* sk, uint8_t new_state);
  void (*cwnd_event)(struct sock* sk, uint32_t event);
  uint32_t (*undo_cwnd)(struct sock* sk);
  uint32_t (*sndbuf_expand)(struct sock* sk);
#if HAUL_CONG_CONTROL_ARGUMENTS == 4
  void (*cong_control)(struct sock* sk, uint32_t ack, int flag, const struct rate_sample* rs);
#else
  void (*cong_control)(struct sock* sk, const struct rate_sample* rs);
#endif
  char name[16];
  void* owner;
};

#pragma clang attribute pop

// include/net/tcp.h and include/net/sock.h, and linux/tcp.h, which clashes with the types above.
enum { TCP_CONG_NON_RESTRICTED = 1 };
enum { CA_EVENT_TX_START = 0 };
enum { SK_PACING_NONE = 0, SK_PACING_NEEDED = 1 };
enum { TCP_CA_OPEN = 0, TCP_CA_CWR = 2, TCP_CA_RECOVERY = 3, TCP_CA_LOSS = 4 };
