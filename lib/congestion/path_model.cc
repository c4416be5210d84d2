// Delivery-rate samples (draft-ietf-ccwg-bbr, section 4.1; before, draft-cheng-iccrg-delivery-rate-estimation), round trips,
// silence.
#include "congestion/path_model.h"

#include <algorithm>

#include "congestion/numbers.h"

namespace haul::congestion {

namespace {

// RFC 9002, section 6.2.2: before the first sample, a third of a second stands for the round trip.
constexpr Duration initial_rtt = std::chrono::milliseconds(333);
// A probe every half round trip finds the end of an outage early and costs nothing beside the path's rate. A path that is gone
// for long is left in peace: the interval grows with the silence, so that what it adds stays below a hundredth. RFC 9002,
// section 6.2.1, doubles the interval with every probe; ours does not.
constexpr int64_t silence_by_interval = 128;
constexpr Duration longest_probe_interval = std::chrono::seconds(1);

}  // namespace

void RttEstimator::on_sample(TimePoint, Duration rtt) noexcept {
  if (!plausible_rtt(rtt)) return;
  latest_ = rtt;
  if (!known()) {
    // RFC 9002, section 5.3: the first sample.
    smoothed_ = lowest_ever_ = rtt;
    variation_ = rtt / 2;
    return;
  }
  lowest_ever_ = std::min(lowest_ever_, rtt);
  const Duration deviation = smoothed_ > rtt ? smoothed_ - rtt : rtt - smoothed_;
  variation_ = (3 * variation_ + deviation) / 4;
  smoothed_ = (7 * smoothed_ + rtt) / 8;
}

SentPacket PathModel::on_sent(TimePoint now, uint64_t bytes) noexcept {
  // Section 4.1.2.2: a flight starts with nothing under way, and so do its intervals.
  if (in_flight_ == 0) {
    first_sent_at_ = delivered_at_ = now;
    if (!silent_) last_progress_ = now;
  }
  in_flight_ += bytes;
  return {.sent_at = now,
          .first_sent_at = first_sent_at_,
          .delivered_at = delivered_at_,
          .delivered = delivered_,
          .lost = lost_,
          .in_flight = in_flight_,
          .bytes = bytes,
          .app_limited = app_limited_until_ != 0,
          .held_back = app_limited_until_ != 0 && too_little_until_ == 0};
}

void PathModel::acked(TimePoint now, SentPacket& packet, uint64_t bytes, uint64_t marked_bytes) noexcept {
  const uint64_t taken = std::min({bytes, packet.bytes, in_flight_});
  if (taken == 0) return;
  packet.bytes -= taken;
  in_flight_ -= taken;
  delivered_ += taken;
  delivered_at_ = now;
  newly_acked_ += taken;
  newly_marked_ += std::min(marked_bytes, taken);
  // Section 4.1.2.3 (UpdateRateSample): the packet sent last tells most; of those sent at one time, the last one.
  const bool newer = !has_newest_ || packet.sent_at > newest_.sent_at ||
                     (packet.sent_at == newest_.sent_at && reached(packet.delivered, newest_.delivered));
  if (newer) {
    newest_ = packet;
    has_newest_ = true;
    first_sent_at_ = packet.sent_at;
  }
}

AckSample PathModel::finish_ack(TimePoint now, Duration ack_delay, Duration waited) noexcept {
  AckSample sample;
  if (!has_newest_) {
    sample.in_flight_bytes = in_flight_;
    sample.delivered_bytes = sample.delivered_at_send = delivered_;
    return sample;
  }
  // RFC 9002, section 5.3: the peer's delay does not push a sample below the lowest one. What would do so is not ignored, as
  // there, but counts down to the lowest: with delays as long as queues, what is left else would be mistaken for a queue. Its
  // bound (max_ack_delay) is the caller's.
  Duration rtt = now - waited - newest_.sent_at;
  if (ack_delay > Duration::zero() && rtt_.known()) rtt = std::max(rtt - ack_delay, std::min(rtt, rtt_.lowest()));
  rtt_.on_sample(now, rtt);
  // Section 4.1.2.3: beyond the bubble, not at its end; what follows a pause is marked, too.
  for (uint64_t* until : {&app_limited_until_, &too_little_until_}) {
    if (*until != 0 && !reached(*until, delivered_)) *until = 0;
  }

  sample.acked_bytes = newly_acked_;
  sample.marked_bytes = newly_marked_;
  sample.in_flight_bytes = in_flight_;
  sample.delivered_bytes = delivered_;
  sample.delivered_at_send = newest_.delivered;
  sample.in_flight_at_send = newest_.in_flight;
  sample.lost_since_send = lost_ - newest_.lost;
  sample.rtt = plausible_rtt(rtt).value_or(Duration::zero());
  sample.app_limited = newest_.app_limited;
  sample.held_back = newest_.held_back;
  // Section 4.1.2.3 (GenerateRateSample): the slower of sending and acknowledging, so that compressed acknowledgements don't
  // show a rate that the path never had.
  const Duration send_interval = newest_.sent_at - newest_.first_sent_at;
  const Duration ack_interval = delivered_at_ - newest_.delivered_at;
  const Duration interval = std::max(send_interval, ack_interval);
  // An interval shorter than the path's round trip is an artefact.
  if (interval > Duration::zero() && interval >= rtt_.lowest()) {
    const double delivered = static_cast<double>(delivered_ - newest_.delivered);
    sample.delivery_rate = to_rate(delivered / to_seconds(interval));
  }

  if (silent_) {
    silent_ = false;
    has_been_silent_ = true;
    silence_ended_at_ = now;
  }
  last_progress_ = now;
  newly_acked_ = newly_marked_ = 0;
  has_newest_ = false;
  return sample;
}

LossSample PathModel::lost(TimePoint, SentPacket& packet, uint64_t bytes) noexcept {
  const uint64_t taken = std::min({bytes, packet.bytes, in_flight_});
  packet.bytes -= taken;
  in_flight_ -= taken;
  lost_ += taken;
  return {.lost_bytes = taken,
          .in_flight_bytes = in_flight_,
          .delivered_bytes = delivered_,
          .in_flight_at_send = packet.in_flight,
          .lost_since_send = lost_ - packet.lost,
          .sent_at = packet.sent_at,
          .in_silence = silent_ || (has_been_silent_ && packet.sent_at <= silence_ended_at_)};
}

void PathModel::withdrawn(SentPacket& packet) noexcept {
  in_flight_ -= std::min(packet.bytes, in_flight_);
  packet.bytes = 0;
}

void PathModel::on_app_limited(bool held_back) noexcept {
  // 0 means none, so a sum of 0 is told apart by one byte.
  app_limited_until_ = std::max<uint64_t>(delivered_ + in_flight_, 1);
  if (!held_back) too_little_until_ = app_limited_until_;
}

Duration PathModel::silence_after() const noexcept {
  if (!rtt_.known()) return 3 * initial_rtt;
  // After RFC 9002, section 6.2.1, without max_ack_delay. At least half a round trip of slack, for paths whose round trip
  // hardly varies.
  return rtt_.smoothed() + std::max({4 * rtt_.variation(), rtt_.smoothed() / 2, granularity_});
}

Duration PathModel::probe_interval(TimePoint now) const noexcept {
  const Duration eager = std::max(rtt_.known() ? rtt_.smoothed() / 2 : initial_rtt, granularity_);
  return std::clamp((now - silent_since_) / silence_by_interval, eager, std::max(longest_probe_interval, eager));
}

std::optional<TimePoint> PathModel::deadline() const noexcept {
  if (silent_) return next_probe_;
  if (in_flight_ == 0) return std::nullopt;
  return last_progress_ + silence_after();
}

PathModel::Timer PathModel::on_timer(TimePoint now) noexcept {
  const auto due = deadline();
  if (!due || now < *due) return Timer::nothing;
  const bool first = !silent_;
  if (first) silent_since_ = now;
  silent_ = true;
  next_probe_ = now + probe_interval(now);
  return first ? Timer::silence : Timer::probe;
}

}  // namespace haul::congestion
