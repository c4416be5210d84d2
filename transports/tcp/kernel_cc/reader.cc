// Samples between two looks at the kernel's sums.
#include "tcp/kernel_cc/reader.h"

#include <linux/tcp.h>

#include <algorithm>
#include <limits>

namespace haul::tcp {

namespace {

constexpr uint64_t marks_in_a_round_trip = 16;

TimePoint time_of(const KernelSamples& samples) noexcept { return TimePoint(Duration(static_cast<int64_t>(samples.time_ns))); }

Duration rtt_of(const KernelSamples& samples) noexcept {
  constexpr uint64_t longest_us = 120'000'000;  // a longer one is a clock that jumped
  return samples.rtt_us <= longest_us ? std::chrono::microseconds(samples.rtt_us) : Duration::zero();
}

bool has_gap(const KernelSamples& samples) noexcept { return samples.state != TCP_CA_Open && samples.state != TCP_CA_CWR; }

uint64_t rate_of(const KernelSamples& samples) noexcept {
  constexpr uint64_t us_in_a_second = 1'000'000;
  const uint64_t bytes = std::min(samples.rate_delivered_bytes, std::numeric_limits<uint64_t>::max() / us_in_a_second);
  return samples.rate_interval_us > 0 ? bytes * us_in_a_second / samples.rate_interval_us : 0;
}

}  // namespace

std::optional<LaneReport> SampleReader::read(const KernelSamples& samples) noexcept {
  const bool timed_out = samples.timeouts != last_.timeouts;
  const bool acknowledged = samples.acks != last_.acks;
  if (!timed_out && !acknowledged) return std::nullopt;
  LaneReport report{.at = time_of(samples),
                    .timed_out = timed_out,
                    .loss = {},
                    .ack = {},
                    .packet_bytes = samples.mss,
                    .obeyed = samples.obeys != 0};
  if (timed_out) silent_ = true;
  if (samples.lost_bytes != last_.lost_bytes) report.loss = loss_of(samples, timed_out);
  if (samples.delivered_bytes != last_.delivered_bytes) report.ack = ack_of(samples);
  if (silent_ && acknowledged) {
    silent_ = false;
    silence_ended_at_ = report.at;
  }
  remember(samples);
  last_ = samples;
  return report;
}

void SampleReader::remember(const KernelSamples& samples) noexcept {
  const uint64_t apart_ns = samples.rtt_us * 1000 / marks_in_a_round_trip;
  if (mark_count_ > 0 && samples.time_ns - marked_at_ns_ < apart_ns) return;
  marked_at_ns_ = samples.time_ns;
  marks_[next_mark_] = {samples.delivered_bytes, samples.lost_bytes};
  next_mark_ = (next_mark_ + 1) % marks_.size();
  mark_count_ = std::min(mark_count_ + 1, marks_.size());
}

uint64_t SampleReader::lost_since(uint64_t delivered_at_send, uint64_t lost) const noexcept {
  Mark before;
  for (size_t age = 1; age <= mark_count_; ++age) {
    before = marks_[(next_mark_ + marks_.size() - age) % marks_.size()];
    if (static_cast<int64_t>(delivered_at_send - before.delivered) >= 0) break;  // sums may wrap
  }
  return lost - before.lost;  // of what is older than the history, from its oldest entry on
}

LossSample SampleReader::loss_of(const KernelSamples& samples, bool timed_out) const noexcept {
  const uint64_t since_send = lost_since(samples.delivered_at_send, samples.lost_bytes);
  const TimePoint sent_at = time_of(samples) - rtt_of(samples);
  return {.lost_bytes = samples.lost_bytes - last_.lost_bytes,
          .in_flight_bytes = samples.in_flight_bytes + (samples.delivered_bytes - last_.delivered_bytes),
          .delivered_bytes = last_.delivered_bytes,
          .in_flight_at_send = samples.rate_delivered_bytes + since_send,
          .lost_since_send = since_send,
          .sent_at = sent_at,
          .in_silence = timed_out || silent_ || (silence_ended_at_ && sent_at <= *silence_ended_at_)};
}

AckSample SampleReader::ack_of(const KernelSamples& samples) noexcept {
  const uint64_t since_send = lost_since(samples.delivered_at_send, samples.lost_bytes);
  const bool has_rtt = samples.round_trips != last_.round_trips && rtt_of(samples) > Duration::zero();
  const bool has_rate = samples.rates != last_.rates;
  return {.acked_bytes = samples.delivered_bytes - last_.delivered_bytes,
          .in_flight_bytes = samples.in_flight_bytes,
          .delivered_bytes = samples.delivered_bytes,
          .delivered_at_send = samples.delivered_at_send,
          .in_flight_at_send = samples.rate_delivered_bytes + since_send,
          .lost_since_send = since_send,
          .marked_bytes = samples.marked_bytes - last_.marked_bytes,
          .delivery_rate = has_rate ? rate_of(samples) : 0,
          .rtt = has_rtt ? gap_delay_.without(time_of(samples), rtt_of(samples), has_gap(samples)) : Duration::zero(),
          .app_limited = samples.app_limited != 0};
}

}  // namespace haul::tcp
