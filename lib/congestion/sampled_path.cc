// Counters of lanes as one flow.
#include "congestion/sampled_path.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "congestion/numbers.h"

namespace haul::congestion {

namespace {

// Eight samples a round trip give the controllers their quarters. Each costs a system call a lane.
constexpr int64_t samples_a_round_trip = 8;
constexpr Duration shortest_interval = std::chrono::milliseconds(1);
constexpr Duration longest_interval = std::chrono::milliseconds(25);
// … but where the round trip is so long that what is remembered of them would not reach back to its beginning.
constexpr int64_t samples_a_long_round_trip = 16;
// While a window grows fast, as a start's does, each look that is late holds it back by so much: twice as often then, for as
// long as it grew by this part between two looks within a round trip. What is remembered still reaches back over it.
constexpr int64_t samples_while_growing = 16;
constexpr uint64_t part_that_grows = 64;
// With this part of the whole, lanes that carry nothing may start: beside what the others have, since a controller that sees
// less arrive than it allowed takes that for all that the path carries, and allows less again.
constexpr double idle_share = 0.125;
// A new rate is a system call or two. Controllers send what arrives: what they are kept below they lose each round trip.
constexpr double most_untold = 1.001;
// Of what the pace allowed in about so many samples, a lane that is not held back sends this part at least.
constexpr double lately = 4;
constexpr double least_kept = 0.9;
constexpr double much_lost = 0.03;
// What is missing of a pace is averaged over so many samples; more than the first figure has other reasons, and more than the
// second is not made up for.
constexpr double shortfall_memory = 64;
constexpr double most_missing = 0.25;
constexpr double most_shortfall = 0.05;
// Of a command to a steered lane. It is repeated when a third of that is over.
constexpr int64_t valid_round_trips = 8;
constexpr Duration least_validity = std::chrono::seconds(1);
constexpr Duration most_validity = std::chrono::seconds(10);
constexpr int64_t commands_in_validity = 3;
// Far from overflow, whatever a controller of the user's says.
constexpr uint64_t most_bytes = uint64_t{1} << 62;
// The kernel's retransmission timer is never shorter, and it is the kernel that probes.
constexpr Duration least_silence = std::chrono::milliseconds(200);

/// How far a counter went, which it remembers.
uint64_t advance(uint64_t& counter, uint64_t to) noexcept {
  if (!reached(to, counter)) return 0;
  return to - std::exchange(counter, to);
}

/// Less must be told at once, or the lanes together would have too much.
bool differs(std::optional<uint64_t> told, std::optional<uint64_t> now) noexcept {
  if (!told || !now) return told.has_value() != now.has_value();
  return *now < *told || static_cast<double>(*now) > most_untold * static_cast<double>(*told);
}

}  // namespace

void SampledPath::add_lane(LaneNumber lane, bool steered) {
  if (find(lane) != nullptr) return;
  Lane& added = lanes_.emplace_back();
  added.number = lane;
  added.steered = steered;
}

void SampledPath::stop_steering(LaneNumber number) noexcept {
  Lane* lane = find(number);
  if (lane == nullptr) return;
  lane->steered = lane->obeys = lane->known = false;
  lane->told_rate.reset();
  lane->told_bytes = 0;
}

bool SampledPath::steered(LaneNumber lane) const noexcept {
  return std::any_of(lanes_.begin(), lanes_.end(), [lane](const Lane& each) { return each.number == lane && each.steered; });
}

size_t SampledPath::steered_lanes() const noexcept {
  const auto count = std::count_if(lanes_.begin(), lanes_.end(), [](const Lane& lane) { return lane.steered; });
  return static_cast<size_t>(count);
}

size_t SampledPath::obeying_lanes() const noexcept {
  const auto count = std::count_if(lanes_.begin(), lanes_.end(), [](const Lane& lane) { return lane.obeys; });
  return static_cast<size_t>(count);
}

bool SampledPath::is_one_flow() const noexcept {
  if (!controller_ || lanes_.empty() || steered_lanes() != lanes_.size()) return false;
  // Between a command and the acknowledgement with which it takes effect a lane does not obey.
  std::ptrdiff_t balance = 0;
  for (const Lane& lane : lanes_) {
    if (lane.active) balance += lane.obeys ? 1 : -1;
  }
  return balance >= 0;
}

void SampledPath::remove_lane(LaneNumber lane) {
  if (const Lane* found = find(lane)) in_flight_ -= std::min(in_flight_, found->in_flight);
  std::erase_if(lanes_, [lane](const Lane& each) { return each.number == lane; });
}

SampledPath::Lane* SampledPath::find(LaneNumber lane) noexcept {
  const auto found = std::find_if(lanes_.begin(), lanes_.end(), [lane](const Lane& each) { return each.number == lane; });
  return found != lanes_.end() ? &*found : nullptr;
}

SampledPath::News SampledPath::counted(Lane& lane, const PathSample& sample) noexcept {
  return {.delivered = advance(lane.last.delivered, sample.bytes_delivered),
          .lost = advance(lane.last.lost, sample.bytes_lost),
          .marked = advance(lane.last.marked, sample.bytes_marked),
          .rtt = sample.rtt_latest ? sample.rtt_latest : sample.rtt_smoothed};
}

SampledPath::News SampledPath::reported(Lane& lane, const LaneReport& report) noexcept {
  News news;
  const bool newest = report.at >= lane.reported_at;
  if (report.ack) {
    news.delivered = report.ack->acked_bytes;
    news.marked = report.ack->marked_bytes;
    if (newest) news.rtt = report.ack->rtt;
  }
  if (report.loss) news.lost = report.loss->lost_bytes;
  timed_out_ |= report.timed_out;
  if (newest) {
    lane.reported_at = report.at;
    lane.obeys = report.obeyed;
  }
  return news;
}

void SampledPath::take(LaneNumber number, const PathSample& sample, const std::optional<LaneReport>& report) noexcept {
  Lane* lane = find(number);
  if (lane == nullptr) return;
  // The first sample says only where its counters stand.
  if (!std::exchange(lane->known, true))
    lane->last = {sample.bytes_sent, sample.bytes_delivered, sample.bytes_lost, sample.bytes_marked};
  News news;
  if (!lane->steered) {
    news = counted(*lane, sample);
  } else if (report) {
    news = reported(*lane, *report);
  }
  new_delivered_ += news.delivered;
  // Of a time that began or ended without anything to send.
  const bool was_limited = std::exchange(lane->app_limited, sample.app_limited);
  new_limited_ += was_limited || sample.app_limited ? news.delivered : 0;
  new_sent_ += advance(lane->last.sent, sample.bytes_sent);
  new_lost_ += news.lost;
  new_marked_ += std::min(news.marked, news.delivered);
  if (news.delivered > 0 && news.rtt && plausible_rtt(*news.rtt)) {
    rtt_by_bytes_ += static_cast<double>(news.delivered) * to_seconds(*news.rtt);
    rtt_bytes_ += news.delivered;
  }
  // Between two bursts of a pace, where the round trip is short, nothing may be under way.
  lane->active = news.delivered > 0 || sample.bytes_in_flight > 0 || sample.bytes_unsent > 0 || !sample.app_limited;
  lane->in_flight = sample.bytes_in_flight;
}

Duration SampledPath::interval() const noexcept {
  // What stirs again without a word, as what peers read here does, is seen at the next look.
  if (!moving_) return longest_interval;
  const Duration longest = std::max(longest_interval, rtt_.smoothed() / samples_a_long_round_trip);
  const bool grows = settled_at_ - grew_at_ < rtt_.smoothed();
  return std::clamp(rtt_.smoothed() / (grows ? samples_while_growing : samples_a_round_trip), shortest_interval, longest);
}

const SampledPath::Moment& SampledPath::a_round_trip_ago(TimePoint now) const noexcept {
  const TimePoint sent_at = now - (rtt_.known() ? rtt_.latest() : Duration::zero());
  const Moment* oldest = &history_[next_moment_];
  const Moment* best = nullptr;
  for (const Moment& moment : history_) {
    if (moment.at == TimePoint()) continue;
    if (oldest->at == TimePoint() || moment.at < oldest->at) oldest = &moment;
    if (moment.at <= sent_at && (best == nullptr || moment.at > best->at)) best = &moment;
  }
  return best != nullptr ? *best : *oldest;
}

void SampledPath::stir(TimePoint now) noexcept {
  if (std::exchange(moving_, true)) return;
  next_ = std::min(next_, now + interval());
}

void SampledPath::settle(TimePoint now) {
  uint64_t in_flight = 0;
  for (const Lane& lane : lanes_) in_flight += lane.in_flight;
  if (in_flight_ == 0 && in_flight > 0) progress_at_ = now;
  in_flight_ = in_flight;
  if (rtt_bytes_ > 0) rtt_.on_sample(now, from_seconds(rtt_by_bytes_ / static_cast<double>(rtt_bytes_)));
  const Moment sent = a_round_trip_ago(now);
  const bool was_limited = app_limited_;
  moving_ = in_flight_ > 0 || new_delivered_ > 0 || new_sent_ > 0;
  if (new_delivered_ > 0) app_limited_ = 2 * new_limited_ > new_delivered_;
  make_up_for_shortfall(now, was_limited || app_limited_);
  delivered_ += new_delivered_;
  lost_ += new_lost_;
  notice_holding_back(now, sent);
  if (controller_) {
    if (new_sent_ > 0) controller_->on_sent(now, new_sent_, in_flight_);
    // A lane may have lost its last packets while others go on: that is no silence of the path.
    if (timed_out_ && new_delivered_ == 0 && now - progress_at_ >= rtt_.smoothed()) fall_silent(now);
    tell_losses(now, sent);
    tell_arrivals(now, sent);
    notice_silence(now);
  }
  history_[next_moment_] = {now, delivered_, lost_, in_flight_, app_limited_ || held_back_, held_back()};
  next_moment_ = (next_moment_ + 1) % moments;
  new_sent_ = new_delivered_ = new_limited_ = new_lost_ = new_marked_ = rtt_bytes_ = 0;
  rtt_by_bytes_ = 0;
  timed_out_ = false;
  settled_at_ = now;
  rate_ = controller_ ? controller_->pacing_rate() : std::nullopt;
  const uint64_t window = controller_ ? controller_->window_bytes() : 0;
  if (window > window_ && window - window_ > window_ / part_that_grows) grew_at_ = now;
  window_ = window;
  next_ = now + interval();
}

bool SampledPath::window_bounds() const noexcept { return 4 * in_flight_ > 3 * controller_->window_bytes(); }

bool SampledPath::loses_much(const Moment& since) const noexcept {
  const auto lost = static_cast<double>(lost_ - since.lost);
  const auto arrived = static_cast<double>(delivered_ - since.delivered);
  return lost > much_lost * (lost + arrived);
}

// Where neither window nor pace is what bounds a lane, but its own algorithm or the peer's window, what arrives tells nothing
// of the path: a controller whose rate is what arrives would follow it down, and never come up again.
void SampledPath::notice_holding_back(TimePoint now, const Moment& sent) {
  held_back_ = false;
  if (!rate_ || now <= settled_at_) return;
  allowed_lately_ += static_cast<double>(*rate_) * to_seconds(now - settled_at_) - allowed_lately_ / lately;
  sent_lately_ += static_cast<double>(new_sent_) - sent_lately_ / lately;
  // A kernel that only obeys answers no loss: then it is the controller's to do, whatever else holds back.
  const bool unanswered = steered_lanes() == lanes_.size() && loses_much(sent);
  held_back_ = !window_bounds() && !unanswered && sent_lately_ < least_kept * allowed_lately_;
}

// A pace is kept by timers that are a little late; the kernel makes up for half of a packet's time, which for the single
// packets that are sent again is not enough. A controller whose rate is what arrives would lose that each round trip.
void SampledPath::make_up_for_shortfall(TimePoint now, bool was_limited) {
  if (!rate_ || *rate_ == 0 || was_limited || now <= settled_at_) return;
  const double wanted = static_cast<double>(*rate_) * to_seconds(now - settled_at_);
  if (window_bounds()) return;
  const double missing = 1 - static_cast<double>(new_sent_) / wanted;
  // A new rate is not in force at once.
  if (std::abs(missing) > most_missing) return;
  shortfall_ = std::clamp(shortfall_ + missing / shortfall_memory, 0.0, most_shortfall);
}

void SampledPath::tell_losses(TimePoint now, const Moment& sent) {
  if (new_lost_ == 0) return;
  controller_->on_loss(now, {.lost_bytes = new_lost_,
                             .in_flight_bytes = in_flight_,
                             .delivered_bytes = delivered_ - new_delivered_,
                             .in_flight_at_send = sent.in_flight,
                             .lost_since_send = lost_ - sent.lost,
                             .sent_at = sent.at,
                             .in_silence = silent_ || (silence_ended_at_ && sent.at <= *silence_ended_at_)});
}

void SampledPath::tell_arrivals(TimePoint now, const Moment& sent) {
  if (new_delivered_ == 0) return;
  progress_at_ = now;
  if (std::exchange(silent_, false)) silence_ended_at_ = now;
  AckSample sample;
  sample.acked_bytes = new_delivered_;
  sample.marked_bytes = new_marked_;
  sample.in_flight_bytes = in_flight_;
  sample.delivered_bytes = delivered_;
  sample.delivered_at_send = sent.delivered;
  sample.in_flight_at_send = sent.in_flight;
  sample.lost_since_send = lost_ - sent.lost;
  sample.rtt = rtt_bytes_ > 0 ? rtt_.latest() : Duration::zero();
  sample.app_limited = sent.app_limited;
  sample.held_back = sent.held_back;
  // From a time before the first sample nothing is known.
  if (sent.at != TimePoint() && now > sent.at)
    sample.delivery_rate = to_rate(static_cast<double>(delivered_ - sent.delivered) / to_seconds(now - sent.at));
  controller_->on_ack(now, sample);
}

void SampledPath::notice_silence(TimePoint now) {
  if (in_flight_ == 0 || silent_ || new_delivered_ > 0) return;
  const Duration patience = rtt_.smoothed() + std::max({4 * rtt_.variation(), rtt_.smoothed() / 2, least_silence});
  if (now - progress_at_ >= patience) fall_silent(now);
}

void SampledPath::fall_silent(TimePoint now) {
  if (std::exchange(silent_, true)) return;
  controller_->on_silence(now);
}

double SampledPath::share(const Lane& lane) const noexcept {
  const auto active = std::count_if(lanes_.begin(), lanes_.end(), [](const Lane& each) { return each.active; });
  const auto idle = static_cast<std::ptrdiff_t>(lanes_.size()) - active;
  const double part = lane.active || active == 0 ? 1.0 : idle_share;
  return part / static_cast<double>(lane.active ? active : idle);
}

Duration SampledPath::validity() const noexcept {
  return std::clamp(valid_round_trips * rtt_.smoothed(), least_validity, most_validity);
}

bool SampledPath::worth_telling(const Lane& lane, std::optional<uint64_t> rate, uint64_t bytes) const noexcept {
  if (lane.told_bytes == 0 || differs(lane.told_rate, rate)) return true;
  // What a backend holds for the window need not be exact.
  if (!lane.steered) return bytes > 2 * lane.told_bytes || 2 * bytes < lane.told_bytes;
  const Duration ago = settled_at_ - lane.told_at;
  return differs(lane.told_bytes, bytes) || ago < Duration::zero() || ago >= validity() / commands_in_validity;
}

std::optional<Limits> SampledPath::command(LaneNumber number) noexcept {
  Lane* lane = find(number);
  if (lane == nullptr || !controller_) return std::nullopt;
  const double part = share(*lane);
  std::optional<uint64_t> rate;
  // Rounded down, so that the sum is never more than the whole, but for what lanes would not send.
  if (const auto whole = controller_->pacing_rate()) rate = to_rate(part * (1 + shortfall_) * static_cast<double>(*whole));
  const uint64_t bytes = to_bytes(part * static_cast<double>(controller_->window_bytes()), 0, most_bytes);
  if (!worth_telling(*lane, rate, bytes)) return std::nullopt;
  lane->told_rate = rate;
  lane->told_bytes = std::max<uint64_t>(bytes, 1);
  lane->told_at = settled_at_;
  return Limits{.window_bytes = {}, .rate_bytes_s = rate, .path_bytes = lane->told_bytes};
}

}  // namespace haul::congestion
