// The link-free clock: a packet's departure is known when it arrives, so a packet costs no event of its own.
#include "flowsim/link.h"

#include <algorithm>
#include <cmath>

#include "congestion/numbers.h"

namespace flowsim {

using haul::congestion::to_seconds;

std::string contradiction(const Link& link) {
  if (link.rtt <= Duration::zero()) return "the round trip must be above 0: 1ms, 100ms";
  for (size_t i = 0; i < link.steps.size(); ++i) {
    if (link.steps[i].rate_bytes_s == 0) return "steps: each needs a rate (for no rate at all there are outages)";
    if (i > 0 && link.steps[i].at < link.steps[i - 1].at) return "steps must be ordered by time";
  }
  if (link.burst_loss && link.burst_loss->leave <= 0) {
    return "a burst of losses must end some time: its probability of turning good again must be above 0";
  }
  return {};
}

bool Codel::drops(TimePoint leaves_at, Duration sojourn) {
  if (target_ == Duration::zero()) return false;
  if (sojourn < target_) {
    above_ = dropping_ = false;
    return false;
  }
  if (!above_) {
    above_ = true;
    first_above_at_ = leaves_at + interval;
    return false;
  }
  const auto next = [&](TimePoint from) {
    return from +
           Duration(static_cast<int64_t>(static_cast<double>(interval.count()) / std::sqrt(static_cast<double>(count_))));
  };
  if (!dropping_) {
    if (leaves_at < first_above_at_) return false;
    dropping_ = true;
    // Section 5.5: resume near the rate that controlled the queue last time.
    const uint32_t delta = count_ - last_count_;
    count_ = delta > 1 && leaves_at - next_drop_at_ < 16 * interval ? delta : 1;
    last_count_ = count_;
    next_drop_at_ = next(leaves_at);
    return true;
  }
  if (leaves_at < next_drop_at_) return false;
  ++count_;
  next_drop_at_ = next(next_drop_at_);
  return true;
}

Bottleneck::Bottleneck(const Link& link, TimePoint start, uint64_t seed)
    : link_(link), start_(start), random_(seed), codel_(link.codel_target), free_at_(start), last_arrival_(start) {}

void Bottleneck::follow(const Bottleneck& before) {
  free_at_ = std::max(free_at_, before.free_at_);
  last_arrival_ = std::max(last_arrival_, before.last_arrival_);
}

bool Bottleneck::dead(TimePoint at) const {
  return std::any_of(link_.outages.begin(), link_.outages.end(),
                     [&](const Outage& outage) { return at >= start_ + outage.at && at < start_ + outage.at + outage.length; });
}

double Bottleneck::rate_at(TimePoint at, TimePoint& until) const {
  double rate = static_cast<double>(link_.rate_bytes_s);
  until = TimePoint::max();
  for (const RateStep& step : link_.steps) {
    if (start_ + step.at > at) {
      until = start_ + step.at;
      break;
    }
    rate = static_cast<double>(step.rate_bytes_s);
  }
  return rate;
}

TimePoint Bottleneck::finish(TimePoint from, double bytes) const {
  for (;;) {
    TimePoint until;
    const double rate = rate_at(from, until);
    const double needed_ns = bytes / rate * 1e9;
    if (until == TimePoint::max() || needed_ns <= static_cast<double>((until - from).count())) {
      return from + Duration(std::llround(needed_ns));
    }
    bytes -= rate * to_seconds(until - from);
    from = until;
  }
}

double Bottleneck::capacity_bytes(TimePoint from, TimePoint to) const {
  double bytes = 0;
  while (from < to) {
    TimePoint until;
    const double rate = rate_at(from, until);
    const TimePoint end = std::min(until, to);
    bytes += rate * to_seconds(end - from);
    from = end;
  }
  return bytes;
}

bool Bottleneck::lost_in_burst() {
  const BurstLoss& burst = *link_.burst_loss;
  bad_ = bad_ ? !random_.chance(burst.leave) : random_.chance(burst.enter);
  return bad_ && random_.chance(burst.loss);
}

uint32_t Bottleneck::survivors(uint32_t packets) {
  if (link_.loss <= 0 && !link_.burst_loss) return packets;
  uint32_t alive = packets;
  for (uint32_t i = 0; i < packets; ++i) {
    if (random_.chance(link_.loss) || (link_.burst_loss && lost_in_burst())) --alive;
  }
  return alive;
}

Passage Bottleneck::pass(TimePoint now, uint32_t packets, uint64_t packet_bytes) {
  if (!link_.outages.empty() && dead(now)) {
    lost_ += packets;
    return {};
  }
  const double waiting = free_at_ > now ? capacity_bytes(now, free_at_) : 0;
  const double room = static_cast<double>(link_.buffer_bytes) - waiting;
  // The packet in service has a place of its own, so that a queue of nothing still passes packets.
  const double places = std::floor(room / static_cast<double>(packet_bytes));
  uint32_t taken = places > 0 ? static_cast<uint32_t>(std::min(places, static_cast<double>(packets))) : 0;
  if (taken == 0 && waiting == 0) taken = 1;
  Duration waited = queue_delay(now);
  if (taken > 0 && codel_.drops(now + waited, waited)) --taken;
  dropped_ += packets - taken;
  if (taken == 0) return {};

  free_at_ = finish(std::max(now, free_at_), static_cast<double>(packet_bytes) * taken);
  passed_ += taken;
  const uint32_t alive = survivors(taken);
  lost_ += taken - alive;

  Passage passage;
  passage.arrived_packets = alive;
  passage.marked = link_.mark_above > Duration::zero() && waited > link_.mark_above;
  passage.arrives_at = free_at_ + link_.rtt / 2;
  if (link_.jitter > Duration::zero()) {
    passage.arrives_at += Duration(static_cast<int64_t>(random_.below(static_cast<uint64_t>(link_.jitter.count()) + 1)));
  }
  // Jitter keeps the order; reordering is asked for by itself.
  passage.arrives_at = last_arrival_ = std::max(last_arrival_, passage.arrives_at);
  if (link_.reorder > 0 && random_.chance(link_.reorder)) passage.arrives_at += link_.reorder_delay;
  return passage;
}

}  // namespace flowsim
