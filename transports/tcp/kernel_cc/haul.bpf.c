// A congestion control for kernel TCP that has no opinion: it collects what acknowledgements tell, for user space to read, and
// sets window and pacing as user space commands. docs/congestion-control.md, "Ours in the kernel", tells the whole; rules.h
// what holds while there is no command.
//
// Compiled twice, for the kernel's two forms of cong_control(): HAUL_CONG_CONTROL_ARGUMENTS is 2 (Linux 6.1) or 4 (since 6.10).
// The kernel admits programs to its congestion control only under the GPL: this file, and the headers that it includes from this
// folder, may be used under version 2 of the GPL as well as under the project's licence.
#include "kernel.h"
#include "rules.h"
#include "values.h"
// They lean on the types that linux/bpf.h brings.
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

char license_of_program[] SEC("license") = "GPL";

struct {
  __uint(type, BPF_MAP_TYPE_SK_STORAGE);
  __uint(map_flags, BPF_F_NO_PREALLOC);
  __type(key, int);
  __type(value, struct KernelSamples);
} haul_samples_2 SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_SK_STORAGE);
  __uint(map_flags, BPF_F_NO_PREALLOC);
  __type(key, int);
  __type(value, struct KernelCommand);
} haul_command_2 SEC(".maps");

static struct tcp_sock *tcp_sk(struct sock *sk) { return (struct tcp_sock *)sk; }
static struct inet_connection_sock *inet_csk(struct sock *sk) { return (struct inet_connection_sock *)sk; }

static uint32_t packets_in_flight(const struct tcp_sock *tp) {
  return tp->packets_out - (tp->sacked_out + tp->lost_out) + tp->retrans_out;
}

// Null: the kernel has no memory for it. Then the window stays as it is.
static struct KernelSamples *samples_of(struct sock *sk) {
  return bpf_sk_storage_get(&haul_samples_2, sk, 0, BPF_SK_STORAGE_GET_F_CREATE);
}

static void pace(struct sock *sk, uint64_t rate) {
  if (sk->sk_pacing_status == SK_PACING_NONE) sk->sk_pacing_status = SK_PACING_NEEDED;
  sk->sk_pacing_rate = least(rate, sk->sk_max_pacing_rate);
}

static void pace_by_window(struct sock *sk) {
  const struct tcp_sock *tp = tcp_sk(sk);
  pace(sk, rate_of(tp->snd_cwnd, tp->snd_ssthresh, tp->mss_cache, tp->srtt_us));
}

// Adds up what the kernel counted since the last look. `rs` is null where it is not an acknowledgement, but a timeout.
static void collect(struct tcp_sock *tp, const struct rate_sample *rs, struct KernelSamples *samples, uint64_t now_ns) {
  // No loads from the kernel's memory under the lock: it is held for the sums only.
  const uint32_t mss = tp->mss_cache, delivered = tp->delivered, lost = tp->lost, marked = tp->delivered_ce;
  const uint64_t in_flight = packets_in_flight(tp);
  const int has_rate = rs && rs->delivered > 0 && rs->interval_us > 0;
  const int has_rtt = rs && rs->rtt_us > 0 && !rs->is_ack_delayed;
  const uint64_t rate_delivered = has_rate ? rs->delivered : 0, interval_us = has_rate ? rs->interval_us : 0;
  const uint32_t since_send = has_rate ? delivered - rs->prior_delivered : 0, app_limited = has_rate && rs->is_app_limited;
  const uint64_t rtt_us = has_rtt ? rs->rtt_us : 0;

  bpf_spin_lock(&samples->lock);
  if (rs)
    samples->acks += 1;
  else
    samples->timeouts += 1;
  samples->time_ns = now_ns;
  samples->mss = mss;
  samples->delivered_bytes += (uint64_t)(uint32_t)(delivered - samples->kernel_delivered) * mss;
  samples->lost_bytes += (uint64_t)(uint32_t)(lost - samples->kernel_lost) * mss;
  samples->marked_bytes += (uint64_t)(uint32_t)(marked - samples->kernel_marked) * mss;
  samples->kernel_delivered = delivered;
  samples->kernel_lost = lost;
  samples->kernel_marked = marked;
  samples->in_flight_bytes = in_flight * mss;
  if (has_rate) {
    samples->rates += 1;
    samples->rate_delivered_bytes = rate_delivered * mss;
    samples->rate_interval_us = interval_us;
    samples->delivered_at_send = delivered_before(samples->delivered_bytes, (uint64_t)since_send * mss);
    samples->app_limited = app_limited;
  }
  if (has_rtt) {
    samples->round_trips += 1;
    samples->rtt_us = rtt_us;
  }
  bpf_spin_unlock(&samples->lock);
}

// Sets what the command says, if there is one that holds. Returns whether there is.
static int obey(struct sock *sk, struct KernelSamples *samples, uint64_t now_ns) {
  const struct KernelCommand *command = bpf_sk_storage_get(&haul_command_2, sk, 0, 0);
  if (!command) return 0;
  const uint64_t sequence = command->sequence;
  if (sequence != samples->sequence) {
    samples->sequence = sequence;
    samples->command_seen_ns = now_ns;
  }
  if (!holds(command->valid_for_ns, samples->command_seen_ns, now_ns)) return 0;
  struct tcp_sock *tp = tcp_sk(sk);
  tp->snd_cwnd = packets_of(command->window_bytes, tp->mss_cache, tp->snd_cwnd_clamp);
  pace(sk, command->rate_bytes_s ? command->rate_bytes_s : HAUL_UNLIMITED_RATE);
  samples->obeys = 1;
  return 1;
}

static void bound_window(struct tcp_sock *tp, uint32_t packets) {
  if (tp->snd_cwnd <= packets) return;
  tp->snd_cwnd = packets;
  tp->snd_cwnd_cnt = 0;
}

// Commands ran out: from here on by the rules.
static void fall_back(struct tcp_sock *tp, struct KernelSamples *samples, uint32_t in_flight) {
  if (!samples->obeys) return;
  samples->obeys = 0;
  samples->fallbacks += 1;
  const uint32_t ssthresh = after_silence(tp->snd_cwnd, in_flight);
  tp->snd_ssthresh = ssthresh;
  tp->snd_cwnd_cnt = 0;
  bound_window(tp, ssthresh);
}

static void on_ack(struct sock *sk, const struct rate_sample *rs) {
  struct KernelSamples *samples = samples_of(sk);
  if (!samples) return;
  struct tcp_sock *tp = tcp_sk(sk);
  const uint64_t now_ns = bpf_ktime_get_ns();
  collect(tp, rs, samples, now_ns);
  if (obey(sk, samples, now_ns)) return;
  fall_back(tp, samples, rs->prior_in_flight);
  const int recovers = samples->state == TCP_CA_CWR || samples->state == TCP_CA_RECOVERY;
  struct Window window = {tp->snd_cwnd, tp->snd_cwnd_cnt};
  window = next_window(window, tp->snd_ssthresh, rs->acked_sacked, rs->prior_in_flight, recovers, tp->snd_cwnd_clamp);
  tp->snd_cwnd = window.packets;
  tp->snd_cwnd_cnt = window.count;
  pace_by_window(sk);
}

SEC("struct_ops/haul_init")
void BPF_PROG(haul_init, struct sock *sk) {
  const struct tcp_sock *tp = tcp_sk(sk);
  struct KernelSamples *samples = samples_of(sk);
  // Sums begin now, also where the socket had other algorithms before: then what was noted of it is old. A loss that is being
  // repaired right now was answered by the algorithm before.
  if (samples) {
    samples->state = TCP_CA_OPEN;
    samples->obeys = 0;
    samples->kernel_delivered = tp->delivered;
    samples->kernel_lost = tp->lost;
    samples->kernel_marked = tp->delivered_ce;
    samples->mss = tp->mss_cache;
  }
  pace_by_window(sk);
}

SEC("struct_ops/haul_ssthresh")
uint32_t BPF_PROG(haul_ssthresh, struct sock *sk) { return after_loss(tcp_sk(sk)->snd_cwnd); }

// Never called, since there is cong_control(); older kernels insist on it.
SEC("struct_ops/haul_cong_avoid")
void BPF_PROG(haul_cong_avoid, struct sock *sk, uint32_t ack, uint32_t acked) {}

SEC("struct_ops/haul_set_state")
void BPF_PROG(haul_set_state, struct sock *sk, uint8_t new_state) {
  struct KernelSamples *samples = samples_of(sk);
  if (!samples) return;
  samples->state = new_state;
  if (new_state != TCP_CA_LOSS) return;
  collect(tcp_sk(sk), 0, samples, bpf_ktime_get_ns());
}

// The first packet after nothing was under way: what was commanded meanwhile holds for it already, and what ran out does not; nor
// does, without commands, a window from before a pause. The kernel has cut this packet already, which may be a burst of segments.
SEC("struct_ops/haul_cwnd_event")
void BPF_PROG(haul_cwnd_event, struct sock *sk, uint32_t event) {
  if (event != CA_EVENT_TX_START) return;
  struct KernelSamples *samples = samples_of(sk);
  if (!samples || obey(sk, samples, bpf_ktime_get_ns())) return;
  struct tcp_sock *tp = tcp_sk(sk);
  fall_back(tp, samples, 0);
  const uint32_t idle = (uint32_t)bpf_jiffies64() - tp->lsndtime;
  bound_window(tp, after_idle(tp->snd_cwnd, idle, inet_csk(sk)->icsk_rto));
  pace_by_window(sk);
}

SEC("struct_ops/haul_undo_cwnd")
uint32_t BPF_PROG(haul_undo_cwnd, struct sock *sk) { return most(tcp_sk(sk)->snd_cwnd, tcp_sk(sk)->prior_cwnd); }

// Windows of send buffer, beyond what is in flight: selective acknowledgements hold it for long where much is lost.
SEC("struct_ops/haul_sndbuf_expand")
uint32_t BPF_PROG(haul_sndbuf_expand, struct sock *sk) { return 3; }

SEC("struct_ops/haul_cong_control")
#if HAUL_CONG_CONTROL_ARGUMENTS == 4
void BPF_PROG(haul_cong_control, struct sock *sk, uint32_t ack, int flag, const struct rate_sample *rs) { on_ack(sk, rs); }
#else
void BPF_PROG(haul_cong_control, struct sock *sk, const struct rate_sample *rs) { on_ack(sk, rs); }
#endif

SEC(".struct_ops")
struct tcp_congestion_ops haul_ops_2 = {
    .flags = TCP_CONG_NON_RESTRICTED,
    .init = (void *)haul_init,
    .ssthresh = (void *)haul_ssthresh,
    .cong_avoid = (void *)haul_cong_avoid,
    .set_state = (void *)haul_set_state,
    .cwnd_event = (void *)haul_cwnd_event,
    .undo_cwnd = (void *)haul_undo_cwnd,
    .sndbuf_expand = (void *)haul_sndbuf_expand,
    .cong_control = (void *)haul_cong_control,
    .name = "haul",
};
