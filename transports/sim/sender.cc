// Acknowledgements, losses, the window and the timer of a simulated connection's sending half.
#include "sender.h"

#include <algorithm>

#include "base/check.h"

namespace haul::sim {
namespace {

constexpr Duration first_retransmit_after = std::chrono::milliseconds(50);
constexpr Duration retransmit_slack = std::chrono::microseconds(300);
constexpr Duration longest_retransmit_after = std::chrono::seconds(1);
constexpr uint32_t first_window_packets = 16;
constexpr uint32_t smallest_window_packets = 4;

}  // namespace

Sender::Sender(uint32_t mtu_bytes, Duration dead_after)
    : mtu_bytes_(mtu_bytes), dead_after_(dead_after), window_bytes_(uint64_t{first_window_packets} * mtu_bytes) {}

void Sender::set_mtu(uint32_t mtu_bytes) {
  mtu_bytes_ = mtu_bytes;
  window_bytes_ = uint64_t{first_window_packets} * mtu_bytes;
}

bool Sender::may_send(TimePoint now) const { return in_flight_bytes_ < window_bytes_ && now >= paced_until_; }

std::optional<uint64_t> Sender::take_lost() {
  if (lost_.empty()) return std::nullopt;
  const uint64_t sequence = *lost_.begin();
  lost_.erase(lost_.begin());
  ++retransmits_;
  return sequence;
}

uint64_t Sender::add(Frame frame) {
  const uint64_t sequence = next_sequence_++;
  segments_[sequence].frame = std::move(frame);
  return sequence;
}

uint64_t Sender::on_sent(uint64_t sequence, uint32_t bytes, TimePoint now) {
  Segment& segment = segments_.at(sequence);
  base::check(!segment.in_flight, "a simulated segment was sent twice at a time");
  if (in_flight_bytes_ == 0) timer_from_ = now;
  if (segments_.size() == 1 && segment.transmission == 0) last_progress_ = now;
  segment.transmission = next_transmission_++;
  segment.sent_at = now;
  segment.bytes = bytes;
  segment.in_flight = true;
  in_flight_bytes_ += bytes;
  bytes_sent_ += bytes;
  transmissions_.emplace_back(segment.transmission, sequence);
  if (rate_bytes_s_) {
    const auto took = Duration(static_cast<int64_t>(uint64_t{bytes} * 1'000'000'000U / std::max<uint64_t>(1, *rate_bytes_s_)));
    paced_until_ = std::max(now, paced_until_) + took;
  }
  return segment.transmission;
}

std::vector<Frame> Sender::on_ack(const Ack& ack, TimePoint now) {
  std::vector<Frame> arrived;
  const uint64_t bytes_before = bytes_acknowledged_;
  acknowledge(0, ack.all_below, arrived);
  for (const auto& [begin, end] : ack.ranges) acknowledge(begin, end, arrived);
  if (!arrived.empty()) {
    last_progress_ = now;
    timer_from_ = now;
    timeouts_ = 0;
    const uint64_t bytes = bytes_acknowledged_ - bytes_before;
    const bool was_limiting = (in_flight_bytes_ + bytes) * 2 >= window_bytes_;
    if (was_limiting) window_bytes_ += window_bytes_ < slow_start_until_bytes_ ? bytes : mtu_bytes_ * bytes / window_bytes_;
    window_bytes_ = std::min(window_bytes_, max_window_bytes);
    measure_delivery(now);
  }
  detect_losses(ack.newest_transmission);
  return arrived;
}

void Sender::acknowledge(uint64_t begin, uint64_t end, std::vector<Frame>& arrived) {
  auto it = segments_.lower_bound(begin);
  while (it != segments_.end() && it->first < end) {
    Segment& segment = it->second;
    if (segment.in_flight) {
      in_flight_bytes_ -= segment.bytes;
    } else {
      lost_.erase(it->first);
    }
    bytes_acknowledged_ += segment.bytes;
    arrived.push_back(std::move(segment.frame));
    it = segments_.erase(it);
  }
}

void Sender::detect_losses(uint64_t newest_transmission) {
  while (!transmissions_.empty() && transmissions_.front().first + reorder_threshold <= newest_transmission) {
    const auto [transmission, sequence] = transmissions_.front();
    transmissions_.pop_front();
    const auto found = segments_.find(sequence);
    if (found == segments_.end() || !found->second.in_flight || found->second.transmission != transmission) continue;
    lose(sequence, found->second);
    on_loss(transmission);
  }
}

void Sender::on_loss(uint64_t transmission) {
  if (transmission < recovery_ends_) return;
  recovery_ends_ = next_transmission_;
  window_bytes_ = std::max(window_bytes_ / 2, uint64_t{smallest_window_packets} * mtu_bytes_);
  slow_start_until_bytes_ = window_bytes_;
}

void Sender::lose(uint64_t sequence, Segment& segment) {
  segment.in_flight = false;
  in_flight_bytes_ -= segment.bytes;
  lost_.insert(sequence);
}

void Sender::on_rtt(Duration rtt) {
  rtt_min_ = std::min(rtt, rtt_min_.value_or(rtt));
  if (!rtt_smoothed_) {
    rtt_smoothed_ = rtt;
    rtt_variation_ = rtt / 2;
    return;
  }
  const Duration difference = rtt > *rtt_smoothed_ ? rtt - *rtt_smoothed_ : *rtt_smoothed_ - rtt;
  rtt_variation_ = (3 * rtt_variation_ + difference) / 4;
  rtt_smoothed_ = (7 * *rtt_smoothed_ + rtt) / 8;
}

Duration Sender::retransmit_after() const {
  Duration wait = first_retransmit_after;
  if (rtt_smoothed_) wait = *rtt_smoothed_ + 4 * rtt_variation_ + retransmit_slack;
  const Duration longest = std::max(wait, std::min(longest_retransmit_after, dead_after_ / 8));
  return std::min(longest, wait * (int64_t{1} << std::min(timeouts_, 16U)));
}

void Sender::on_timer(TimePoint now) {
  if (in_flight_bytes_ == 0 || now < timer_from_ + retransmit_after()) return;
  ++timeouts_;
  timer_from_ = now;
  for (auto& [sequence, segment] : segments_) {
    if (segment.in_flight) lose(sequence, segment);
  }
  transmissions_.clear();
  recovery_ends_ = next_transmission_;
  slow_start_until_bytes_ = std::max(window_bytes_ / 2, uint64_t{smallest_window_packets} * mtu_bytes_);
  window_bytes_ = uint64_t{smallest_window_packets} * mtu_bytes_;
}

void Sender::measure_delivery(TimePoint now) {
  const Duration passed = now - measured_at_;
  const Duration window = std::max<Duration>(rtt_smoothed_.value_or(Duration::zero()), std::chrono::milliseconds(1));
  if (passed < window) return;
  const uint64_t bytes = bytes_acknowledged_ - measured_bytes_;
  if (measured_at_ != TimePoint{}) {
    const double seconds = std::chrono::duration<double>(passed).count();
    delivery_rate_bytes_s_ = static_cast<uint64_t>(static_cast<double>(bytes) / seconds);
  }
  measured_at_ = now;
  measured_bytes_ = bytes_acknowledged_;
}

std::optional<TimePoint> Sender::deadline() const {
  if (idle()) return std::nullopt;
  TimePoint earliest = last_progress_ + dead_after_;
  if (in_flight_bytes_ > 0) earliest = std::min(earliest, timer_from_ + retransmit_after());
  return earliest;
}

}  // namespace haul::sim
