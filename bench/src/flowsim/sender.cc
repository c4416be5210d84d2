// The sender: loss detection by RFC 9002, section 6.1, selective acknowledgement of every packet, repetition from what was
// lost.
#include "flowsim/sender.h"

#include <algorithm>
#include <utility>

namespace flowsim {

namespace {

using haul::congestion::PathModel;

constexpr uint64_t packet_threshold = 3;  // RFC 9002, section 6.1.1
constexpr uint64_t ack_bytes = 80;

haul::congestion::Pacer::Options pacer_options(const Wire& wire) {
  haul::congestion::Pacer::Options options;
  const uint64_t burst = uint64_t{wire.payload_bytes} * wire.burst_packets;
  options.min_quantum_bytes = wire.burst_packets > 1 ? burst : 2 * burst;
  options.max_quantum_bytes = std::max(options.max_quantum_bytes, burst);
  return options;
}

}  // namespace

uint64_t PacketRing::push(const Packet& packet) {
  if (end_ - first_ == slots_.size()) {
    std::vector<Packet> larger(2 * slots_.size());
    for (uint64_t number = first_; number != end_; ++number) larger[number & (larger.size() - 1)] = (*this)[number];
    slots_ = std::move(larger);
  }
  (*this)[end_] = packet;
  return end_++;
}

Sender::Sender(const Flow& flow, const Wire& wire, std::unique_ptr<haul::CongestionController> controller, TimePoint start,
               haul::congestion::Budget* budget)
    : flow_(flow),
      wire_(wire),
      controller_(std::move(controller)),
      pacer_(pacer_options(wire)),
      budget_(budget),
      start_(start),
      back_free_at_(start),
      last_progress_(start),
      next_(start) {}

void Sender::step(TimePoint now) {
  take_acks(now);
  if (finished()) {
    next_ = TimePoint::max();
    return;
  }
  if (loss_timer_ && *loss_timer_ <= now) detect_losses(now);
  switch (path_.on_timer(now)) {
    case PathModel::Timer::nothing: break;
    case PathModel::Timer::silence: controller_->on_silence(now); [[fallthrough]];
    case PathModel::Timer::probe:
      // A probe carries what is missing at the receiver: all that is in flight may be gone.
      if (offered_bytes(now) == 0) {
        again_bytes_ += wire_.payload_bytes;
        probed_bytes_ += wire_.payload_bytes;
      }
      send_packet(now);
      break;
  }
  send(now);
  plan(now);
}

// --- What comes back -------------------------------------------------------------------------------------------------------

void Sender::take_acks(TimePoint now) {
  while (!acks_.empty() && acks_.front().at <= now) {
    const uint64_t number = acks_.front().number;
    acks_.pop_front();
    take_ack(now, number);
    if (finished()) return;
  }
}

void Sender::take_ack(TimePoint now, uint64_t number) {
  PacketRing::Packet& packet = packets_[number];
  if (packet.state == PacketRing::State::lost) {
    // It was late, not lost. What was to be sent again need not be, as far as it has not been.
    reorders_ = true;
    packet.state = PacketRing::State::acked;
    const uint64_t saved = std::min(again_bytes_, packet.arrived_bytes);
    again_bytes_ -= saved;
    unique_bytes_ += saved;
    spurious_bytes_ += packet.arrived_bytes;
    return;
  }
  if (!any_acked_ || number > largest_acked_) largest_acked_ = number;
  any_acked_ = true;
  const uint64_t missing = packet.payload_bytes - packet.arrived_bytes;
  // Losses first: the sample then knows of them.
  if (missing > 0) declare_lost(now, packet, missing);
  packet.state = PacketRing::State::acked;
  path_.acked(now, packet.sent, packet.arrived_bytes, packet.marked ? packet.arrived_bytes : 0);
  detect_losses(now);
  unique_bytes_ += packet.arrived_bytes;
  longest_stall_ = std::max(longest_stall_, now - last_progress_);
  last_progress_ = now;
  controller_->on_ack(now, path_.finish_ack(now));
  pacer_.set_rate(controller_->pacing_rate());
  if (flow_.bytes && unique_bytes_ >= *flow_.bytes) finished_at_ = now;
}

Duration Sender::loss_delay() const {
  // RFC 9002, section 6.1.2.
  const Duration rtt = std::max(path_.rtt().smoothed(), path_.rtt().latest());
  return std::max<Duration>(rtt * 9 / 8, std::chrono::milliseconds(1));
}

void Sender::detect_losses(TimePoint now) {
  loss_timer_.reset();
  if (!any_acked_) return;
  const TimePoint sent_before = now - loss_delay();
  for (uint64_t number = packets_.first(); number != packets_.end() && number < largest_acked_; ++number) {
    PacketRing::Packet& packet = packets_[number];
    if (packet.state != PacketRing::State::in_flight) {
      // A packet that is only late keeps its place until it comes.
      const bool over = packet.state == PacketRing::State::acked || packet.arrived_bytes == 0;
      if (number == packets_.first() && over) packets_.pop();
      continue;
    }
    const bool by_count = !reorders_ && largest_acked_ - number >= packet_threshold;
    if (!by_count && packet.sent.sent_at > sent_before) {
      loss_timer_ = packet.sent.sent_at + loss_delay();
      break;
    }
    packet.state = PacketRing::State::lost;
    declare_lost(now, packet, packet.payload_bytes);
    if (number == packets_.first() && packet.arrived_bytes == 0) packets_.pop();
  }
}

void Sender::declare_lost(TimePoint now, PacketRing::Packet& packet, uint64_t bytes) {
  // What a probe carried again already is not repeated once more.
  const uint64_t repeated = std::min(bytes, probed_bytes_);
  probed_bytes_ -= repeated;
  again_bytes_ += bytes - repeated;
  controller_->on_loss(now, path_.lost(now, packet.sent, bytes));
  pacer_.set_rate(controller_->pacing_rate());
}

// --- What goes out ---------------------------------------------------------------------------------------------------------

uint64_t Sender::offered_bytes(TimePoint now) const {
  uint64_t offered = flow_.bytes.value_or(UINT64_MAX);
  if (flow_.app_rate_bytes_s) {
    const double seconds = static_cast<double>((now - start_).count()) * 1e-9;
    offered =
        std::min(offered, static_cast<uint64_t>(static_cast<double>(*flow_.app_rate_bytes_s) * seconds) + wire_.payload_bytes);
  }
  return again_bytes_ + (offered > new_bytes_taken_ ? offered - new_bytes_taken_ : 0);
}

bool Sender::window_open() const {
  const uint64_t burst = uint64_t{wire_.payload_bytes} * wire_.burst_packets;
  return path_.in_flight_bytes() == 0 || path_.in_flight_bytes() + burst <= controller_->window_bytes();
}

void Sender::send(TimePoint now) {
  // While silent, probes go out by their timer only.
  if (path_.silent()) return;
  uint64_t quantum = pacer_.quantum_bytes();
  while (quantum > 0 && pacer_.may_send(now) && window_open()) {
    if (offered_bytes(now) == 0) {
      path_.on_app_limited();
      return;
    }
    const uint64_t burst = uint64_t{wire_.payload_bytes} * wire_.burst_packets;
    if (budget_ != nullptr && !budget_->spend(now, burst, flow_.priority)) return;
    const uint64_t before = sent_bytes_;
    // One quantum leaves together: the pacer is told once it has left.
    while (quantum > 0 && window_open() && offered_bytes(now) > 0) {
      const uint64_t sent_before = sent_bytes_;
      send_packet(now);
      quantum -= std::min(quantum, sent_bytes_ - sent_before);
      if (budget_ != nullptr) break;
    }
    pacer_.on_sent(now, sent_bytes_ - before);
  }
}

void Sender::send_packet(TimePoint now) {
  const uint64_t full = uint64_t{wire_.payload_bytes} * wire_.burst_packets;
  const uint64_t bytes = std::min(full, offered_bytes(now));
  const uint64_t again = std::min(bytes, again_bytes_);
  again_bytes_ -= again;
  new_bytes_taken_ += bytes - again;
  sent_bytes_ += bytes;

  const auto packets = static_cast<uint32_t>((bytes + wire_.payload_bytes - 1) / wire_.payload_bytes);
  PacketRing::Packet packet;
  packet.sent = path_.on_sent(now, bytes);
  packet.payload_bytes = bytes;
  controller_->on_sent(now, bytes, path_.in_flight_bytes());
  const Passage passage = wire_.bottleneck->pass(now, packets, bytes / packets + wire_.header_bytes);
  packet.arrived_bytes = passage.arrived_packets == packets ? bytes : bytes / packets * passage.arrived_packets;
  packet.marked = passage.marked;
  const uint64_t number = packets_.push(packet);
  if (passage.arrived_packets > 0) schedule_ack(passage.arrives_at, number);
}

void Sender::schedule_ack(TimePoint arrives_at, uint64_t number) {
  if (!wire_.link->outages.empty() && wire_.bottleneck->dead(arrives_at)) {
    unheard_.push_back(number);
    return;
  }
  TimePoint leaves_at = arrives_at;
  if (wire_.link->back_rate_bytes_s != 0) {
    // While an acknowledgement is being sent, others join the next one.
    const Duration takes(
        static_cast<int64_t>(1e9 * static_cast<double>(ack_bytes) / static_cast<double>(wire_.link->back_rate_bytes_s)));
    if (arrives_at + takes > back_free_at_) back_free_at_ = std::max(back_free_at_, arrives_at) + takes;
    leaves_at = back_free_at_;
  }
  const TimePoint at = leaves_at + wire_.link->rtt / 2 + flow_.extra_rtt;
  const auto insert = [&](uint64_t which) {
    auto place = acks_.end();
    while (place != acks_.begin() && std::prev(place)->at > at) --place;
    acks_.insert(place, Ack{at, which});
  };
  for (const uint64_t unheard : unheard_) insert(unheard);
  unheard_.clear();
  insert(number);
}

void Sender::plan(TimePoint now) {
  next_ = acks_.empty() ? TimePoint::max() : acks_.front().at;
  if (loss_timer_) next_ = std::min(next_, *loss_timer_);
  if (const auto deadline = path_.deadline()) next_ = std::min(next_, *deadline);
  if (!path_.silent() && window_open()) {
    if (offered_bytes(now) > 0) {
      TimePoint at = std::max(pacer_.next(), now + Duration(1));
      if (budget_ != nullptr) at = std::max(at, budget_->ready_at(now, flow_.priority).value_or(TimePoint::max()));
      next_ = std::min(next_, at);
    } else if (flow_.app_rate_bytes_s && (!flow_.bytes || new_bytes_taken_ < *flow_.bytes)) {
      const double packet_s = static_cast<double>(wire_.payload_bytes) / static_cast<double>(*flow_.app_rate_bytes_s);
      next_ = std::min(next_, now + Duration(static_cast<int64_t>(packet_s * 1e9) + 1));
    }
  }
  next_ = std::max(next_, now + Duration(1));
}

}  // namespace flowsim
