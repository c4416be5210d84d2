// Feeding the controller.
#include "quic/gate.h"

#include <algorithm>
#include <utility>

namespace haul::quic {

namespace {

// How late the loop may come without loss of rate: an eighth of the round trip, which queues bear, and no more than machines
// with more to do than processors are late by.
constexpr int64_t late_by_rtt = 8;
constexpr Duration latest = std::chrono::milliseconds(10);
// What is missed beyond that tells in what arrives: from a hundredth of the round trip on, and from so much.
constexpr int64_t telling_by_rtt = 100;
constexpr Duration telling = std::chrono::milliseconds(1);

// Of what the peer says of its own delay: where it takes longer in the mean, it is the bottleneck, which is to be felt.
constexpr int64_t believed_by_rtt = 4;
// More than this a reader never waits, but for its machine being asleep.
constexpr Duration longest_wait = std::chrono::seconds(1);

// What leaves without being held back delays what is by no more than this: after an outage the rate may be far too low, and
// only what comes back of payload can tell.
constexpr Duration most_ahead = std::chrono::milliseconds(100);

}  // namespace

bool Gate::open(TimePoint now) noexcept {
  // While silent, probes go out by their timer only.
  if (path_.silent() || probe_due_) return probe_due_;
  if (!window_open()) {
    waits_for_window_ = true;
    return false;
  }
  if (burst_left_ == 0 && burst_sent_ > 0) pause(now);
  if (burst_left_ == 0 && pacer_.may_send(now)) burst_left_ = pacer_.quantum_bytes();
  return burst_left_ > 0;
}

void Gate::pause(TimePoint now) {
  if (burst_sent_ > 0) {
    pacer_.on_sent(now, burst_sent_);
    const Duration missed = pacer_.missed();
    // The machine had no time for this sender: what arrives for it is not the path's rate.
    const bool tells = missed > std::max(path_.rtt().lowest() / telling_by_rtt, telling);
    if (tells && path_.rtt().known() && !waited_for_window_) path_.on_app_limited(true);
    waited_for_window_ = std::exchange(waits_for_window_, false);
  }
  burst_left_ = 0;
  burst_sent_ = 0;
}

congestion::SentPacket Gate::on_sent(TimePoint now, uint64_t bytes) {
  probe_due_ = false;
  const congestion::SentPacket packet = path_.on_sent(now, bytes);
  controller_->on_sent(now, bytes, path_.in_flight_bytes());
  burst_left_ -= std::min(burst_left_, bytes);
  burst_sent_ += bytes;
  apply_rate();
  return packet;
}

void Gate::on_other_sent(TimePoint now, uint64_t bytes) {
  if (pacer_.next() - now < most_ahead) pacer_.on_sent(now, bytes);
}

void Gate::take(TimePoint now) {
  if (acknowledged_.empty() && lost_.empty()) return;
  // Losses first: PathModel and controllers want them before the acknowledgement that revealed them.
  for (auto& packet : lost_) controller_->on_loss(now, path_.lost(now, packet, packet.bytes));
  for (auto& packet : acknowledged_) {
    // Which of them were marked nobody tells, nor does it matter.
    const uint64_t marked = marked_packets_ > 0 ? packet.bytes : 0;
    marked_packets_ -= std::min<uint64_t>(marked_packets_, 1);
    path_.acked(now, packet, packet.bytes, marked);
  }
  if (!acknowledged_.empty()) {
    // Those left over were of packets without payload.
    marked_packets_ = 0;
    // Neither end's want of a processor is a queue of the path.
    const Duration believed = std::min(std::exchange(ack_delay_, Duration::zero()), path_.rtt().lowest() / believed_by_rtt);
    const Duration waited = std::clamp(now - told_at_, Duration::zero(), longest_wait);
    const AckSample sample = path_.finish_ack(now, believed, waited);
    if (sample.delivery_rate > 0) delivery_rate_ = sample.delivery_rate;
    controller_->on_ack(now, sample);
    pacer_.forgive_late(std::min(path_.rtt().lowest() / late_by_rtt, latest));
  }
  lost_.clear();
  acknowledged_.clear();
  apply_rate();
}

void Gate::set_rate_limit(std::optional<uint64_t> bytes_s) {
  rate_limit_ = bytes_s;
  apply_rate();
}

void Gate::apply_rate() {
  std::optional<uint64_t> rate = controller_->pacing_rate();
  if (rate_limit_) rate = std::min(*rate_limit_, rate.value_or(*rate_limit_));
  pacer_.set_rate(rate);
}

bool Gate::on_timer(TimePoint now) {
  switch (path_.on_timer(now)) {
    case congestion::PathModel::Timer::nothing: return false;
    case congestion::PathModel::Timer::silence: controller_->on_silence(now); break;
    case congestion::PathModel::Timer::probe: break;
  }
  probe_due_ = true;
  apply_rate();
  return true;
}

}  // namespace haul::quic
