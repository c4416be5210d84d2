// Operations as the packets of a path.
#include "congestion/operation_path.h"

#include <algorithm>
#include <utility>

namespace haul::congestion {

namespace {

// What an operation takes depends on its size, and on the engine at the other end, which answers when it is polled: silence is
// not to be heard in what is only slow.
constexpr Duration granularity = std::chrono::milliseconds(100);
// A pace may be set by an operation of a mebibyte on a path that had almost stopped. Nothing hangs for it.
constexpr Duration longest_pause = std::chrono::seconds(1);
// A burst is a quarter of a millisecond at the rate (Pacer), at most 4 MiB where operations are of 64 KiB: of what comes due
// while the engine is elsewhere, no more is made up for.
constexpr uint64_t burst_operations = 64;

Pacer::Options pacing_of(uint64_t operation_bytes) {
  return {.min_quantum_bytes = operation_bytes, .max_quantum_bytes = burst_operations * operation_bytes};
}

}  // namespace

OperationPath::OperationPath(uint32_t operation_bytes) noexcept
    : model_(granularity), pacer_(pacing_of(std::max(operation_bytes, 1U))) {}

void OperationPath::steer_by(std::unique_ptr<CongestionController> controller) noexcept {
  controller_ = std::move(controller);
  obey();
}

void OperationPath::obey() noexcept { pacer_.set_rate(controller_ ? controller_->pacing_rate() : std::nullopt); }

bool OperationPath::admits(TimePoint now, uint64_t pending, uint64_t bytes) noexcept {
  if (!controller_) return true;
  const uint64_t outstanding = model_.in_flight_bytes() + pending;
  const uint64_t window = controller_->window_bytes();
  const bool fits = outstanding == 0 || (outstanding < window && bytes <= window - outstanding);
  if (!fits && !(probe_ && pending == 0)) {
    limit_ = PathLimit::window;
    return false;
  }
  const bool in_time = now >= next_post() && (pending == 0 || pending + bytes <= pacer_.quantum_bytes());
  if (!in_time && pacer_.rate()) {
    limit_ = PathLimit::pacing;
    return false;
  }
  limit_ = PathLimit::nothing_to_send;
  return true;
}

TimePoint OperationPath::next_post() const noexcept {
  const TimePoint paced = pacer_.next();
  return model_.in_flight_bytes() == 0 ? std::min(paced, posted_at_ + longest_pause) : paced;
}

OperationPath::Ticket OperationPath::posted(TimePoint now, uint64_t bytes) {
  if (free_.empty()) {
    slots_.emplace_back();
    free_.push_back(static_cast<Ticket>(slots_.size()));
  }
  const Ticket ticket = free_.back();
  free_.pop_back();
  slots_[ticket - 1] = model_.on_sent(now, std::max<uint64_t>(bytes, 1));
  posted_at_ = std::max(posted_at_, now);
  probe_ = false;
  pacer_.on_sent(now, bytes);
  if (controller_) controller_->on_sent(now, bytes, model_.in_flight_bytes());
  return ticket;
}

void OperationPath::ended(TimePoint now, Ticket ticket, End end) {
  if (ticket == 0 || ticket > slots_.size() || slots_[ticket - 1].bytes == 0) return;
  SentPacket& operation = slots_[ticket - 1];
  const uint64_t bytes = operation.bytes;
  if (acknowledged_ && now != acknowledged_at_) settle_acknowledged();
  switch (end) {
    case End::arrived:
      model_.acked(now, operation, bytes, 0);
      ++arrived_operations_;
      acknowledged_ = true;
      acknowledged_at_ = now;
      break;
    case End::lost: {
      const LossSample sample = model_.lost(now, operation, bytes);
      if (controller_) controller_->on_loss(now, sample);
      obey();
      break;
    }
    case End::withdrawn: model_.withdrawn(operation); break;
  }
  operation.bytes = 0;
  free_.push_back(ticket);
}

void OperationPath::on_unused(PathLimit why) noexcept {
  limit_ = why;
  // A rate of the application's can be lifted at any time: what goes beneath it is no sign of the path.
  if (model_.in_flight_bytes() < window_bytes()) model_.on_app_limited(why == PathLimit::backend);
}

void OperationPath::settle_acknowledged() {
  acknowledged_ = false;
  const AckSample sample = model_.finish_ack(acknowledged_at_);
  probe_ = false;
  if (!controller_) return;
  controller_->on_ack(acknowledged_at_, sample);
  obey();
}

void OperationPath::settle() {
  if (acknowledged_) settle_acknowledged();
}

bool OperationPath::notice_silence(TimePoint now) {
  settle();
  if (model_.in_flight_bytes() == 0) return false;
  const PathModel::Timer timer = model_.on_timer(now);
  if (timer == PathModel::Timer::nothing) return false;
  probe_ = true;
  if (timer == PathModel::Timer::silence && controller_) {
    controller_->on_silence(now);
    obey();
  }
  return true;
}

std::optional<TimePoint> OperationPath::deadline(bool waiting) const noexcept {
  if (!controller_) return std::nullopt;
  const uint64_t outstanding = model_.in_flight_bytes();
  // With nothing outstanding the next operation may go, and is all the probe that silence asks for.
  std::optional<TimePoint> next = outstanding > 0 ? model_.deadline() : std::nullopt;
  const bool has_room = outstanding == 0 || probe_ || outstanding < controller_->window_bytes();
  // What waits for room waits for an end, or for silence.
  if (waiting && has_room && pacer_.rate() && limit_ == PathLimit::pacing) {
    const TimePoint paced = next_post();
    next = next ? std::min(*next, paced) : paced;
  }
  return next;
}

}  // namespace haul::congestion
