// Trials of more and of fewer lanes.
#include "congestion/lane_count.h"

#include <algorithm>
#include <cmath>

#include "congestion/numbers.h"

namespace haul::congestion {

namespace {

constexpr double worth_more = 0.05;
constexpr double worth_fewer = 0.02;
// A difference within twice its standard error is noise, one time in forty it is not.
constexpr double errors_apart = 2.0;
// Of a median, for rates that are spread normally: from their median deviation.
constexpr double median_error = 1.2533 * 1.4826;
// Of what trials saw of one step down.
constexpr double least_noise = 0.003;
constexpr double errors_of_change = 3.0;
constexpr double evidence_ages = 1.02;
constexpr uint32_t windows_to_repeat = 25;
// Forty round trips: a new lane has left its slow start, and a controller that may send a quarter more each round trip has
// found out that it may.
constexpr uint32_t windows_to_settle = 10;
constexpr uint32_t windows_to_open = 60;
constexpr uint32_t most_idle = 4;
constexpr uint32_t most_wait = 8192;
// Of many lanes one is too little to be seen.
constexpr uint32_t lanes_by_step = 8;
constexpr int64_t round_trips_a_window = 4;
constexpr Duration shortest_window = std::chrono::milliseconds(50);
constexpr Duration longest_window = std::chrono::seconds(2);

template <size_t size>
double median_of(std::array<double, size> values, size_t count) {
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(count / 2);
  std::nth_element(values.begin(), middle, values.begin() + static_cast<std::ptrdiff_t>(count));
  return count > 0 ? *middle : 0.0;
}

}  // namespace

void LaneCount::Rates::add(double rate) noexcept {
  rates[next] = rate;
  next = (next + 1) % compared;
  size = std::min(size + 1, compared);
}

double LaneCount::Rates::median() const noexcept { return median_of(rates, size); }

double LaneCount::Rates::error() const noexcept {
  if (size == 0) return 0.0;
  const double middle = median();
  std::array<double, compared> apart = rates;
  for (double& each : apart) each = std::abs(each - middle);
  return median_error * median_of(apart, size) / std::sqrt(static_cast<double>(size));
}

// What contradicts all that was seen before is of another path.
void LaneCount::Evidence::add(double seen, double noise) noexcept {
  const double spread = noise * noise + least_noise * least_noise;
  if (variance == 0 || std::abs(seen - gain) > errors_of_change * std::sqrt(spread + variance)) {
    gain = seen;
    variance = spread;
    return;
  }
  variance *= evidence_ages;
  gain = (gain * spread + seen * variance) / (spread + variance);
  variance = spread * variance / (spread + variance);
}

void LaneCount::Patience::fail() noexcept {
  wait = next;
  next = std::min(2 * next, most_wait);
}

LaneCount::LaneCount(uint32_t usual) noexcept : usual_(std::max(usual, 1U)), wanted_(usual_), from_(usual_) {}

std::string_view LaneCount::state() const noexcept {
  switch (state_) {
    case State::watching: return "watching";
    case State::opening: return "opening";
    case State::settling: return "settling";
    case State::measuring: return "measuring";
  }
  return "unknown";
}

Duration LaneCount::window(std::optional<Duration> rtt) noexcept {
  const auto known = rtt ? plausible_rtt(*rtt) : std::nullopt;
  return std::clamp(round_trips_a_window * known.value_or(Duration::zero()), shortest_window, longest_window);
}

void LaneCount::look(TimePoint now, const Look& look) noexcept {
  const TimePoint begin = looked_at_.value_or(now);
  looked_at_ = now;
  if (now <= begin) return;
  const uint32_t most = std::max(look.most, 1U);
  if (wanted_ > most) {
    from_ = wanted_ = most;
    forget_costs();
    settle_again();
  }
  if (state_ == State::opening) return await_lanes(look);
  if (look.ready < wanted_) return miss_lane();
  if (!look.busy) return watch_idle();
  denied_ = look.may_add ? 0 : denied_ + 1;
  const double rate = static_cast<double>(look.delivered_bytes) / to_seconds(now - begin);
  if (state_ == State::watching) return watch(look, rate);
  if (adding() && denied_ >= compared) return end_trial(Outcome::not_allowed);
  if (state_ == State::settling) {
    if (--unsettled_ == 0) state_ = State::measuring;
    return;
  }
  rates_.add(rate);
  if (rates_.full()) decide();
}

void LaneCount::watch(const Look& look, double rate) noexcept {
  idle_ = 0;
  if (more_.wait > 0) --more_.wait;
  if (fewer_.wait > 0) --fewer_.wait;
  if (unsettled_ > 0) {
    --unsettled_;
    return;
  }
  rates_.add(rate);
  if (!rates_.full()) return;
  const uint32_t most = std::max(look.most, 1U);
  const uint32_t least_step = std::max(wanted_ / lanes_by_step, 1U);
  if (denied_ >= compared && wanted_ > usual_) {
    shed();
  } else if (look.may_add && more_.wait == 0 && wanted_ < most) {
    start_trial(wanted_ + std::min(std::max(step_, least_step), most - wanted_));
  } else if (fewer_.wait == 0 && wanted_ > 1) {
    start_trial(wanted_ - least_step);
  }
}

void LaneCount::watch_idle() noexcept {
  if (++idle_ <= most_idle) return;
  if (state_ != State::watching) return end_trial(Outcome::not_enough);
  idle_ = most_idle;
  rates_.clear();
}

// What fewer lanes carry than are wanted belongs to no number of lanes that is compared.
void LaneCount::miss_lane() noexcept {
  if (state_ != State::watching) return end_trial(Outcome::lane_lost);
  settle_again();
}

void LaneCount::start_trial(uint32_t count) noexcept {
  from_ = wanted_;
  wanted_ = count;
  before_ = rates_;
  rates_.clear();
  // Fewer stand at once.
  state_ = adding() ? State::opening : State::settling;
  unsettled_ = windows_to_settle;
  opening_ = idle_ = 0;
}

void LaneCount::await_lanes(const Look& look) noexcept {
  if (look.ready >= wanted_) {
    state_ = State::settling;
  } else if (++opening_ >= windows_to_open) {
    end_trial(Outcome::not_opened);
  }
}

void LaneCount::decide() noexcept {
  const double before = before_.median();
  const double after = rates_.median();
  const double gain = before > 0 ? after / before - 1 : 0.0;
  const double noise = before > 0 ? std::hypot(before_.error(), rates_.error()) / before : 0.0;
  if (!adding()) return decide_fewer(gain, noise);
  gain >= std::max(worth_more, errors_apart * noise) ? keep(gain) : take_back();
}

// Steps that cost a little each must not add up, and noise must not hide what lanes are added for: where it may, the same is
// tried again before long, and all such trials count together.
void LaneCount::decide_fewer(double gain, double noise) noexcept {
  step_down_.add(gain, noise);
  const double error = errors_apart * std::sqrt(step_down_.variance);
  const double error_of_all = errors_apart * std::sqrt(steps_down_.variance + step_down_.variance);
  const bool costs_too_much = steps_down_.gain + step_down_.gain + error_of_all <= -worth_fewer;
  const bool costs_little = step_down_.gain > -worth_fewer && step_down_.gain - error > -worth_more;
  if (!costs_too_much && costs_little) return keep(step_down_.gain);
  take_back();
  if (!costs_too_much && error >= worth_fewer / 2) fewer_.wait = windows_to_repeat;
}

// What was measured is what the next trial compares with.
void LaneCount::keep(double gain) noexcept {
  last_ = Trial{from_, wanted_, Outcome::kept, before_.median(), rates_.median()};
  state_ = State::watching;
  steps_down_ =
      steps_down_.gain + gain < 0 ? Evidence{steps_down_.gain + gain, steps_down_.variance + step_down_.variance} : Evidence{};
  step_down_ = {};
  if (adding()) {
    // Where lanes bring nearly what they would on a path that has room for all of them, twice as many are tried next.
    const double part = static_cast<double>(wanted_ - from_) / static_cast<double>(from_);
    step_ = gain >= part / 2 ? std::min(2 * (wanted_ - from_), wanted_) : 1;
    more_.succeed();
    fewer_ = Patience{fewer_.first / 2, fewer_.first, fewer_.first};
  } else {
    fewer_.succeed();
    more_.wait = std::max(more_.wait, more_.first);
  }
  from_ = wanted_;
}

void LaneCount::take_back() noexcept {
  const bool one_of_many = adding() && wanted_ - from_ > 1 && step_ > 1;
  const Patience kept = more_;
  end_trial(Outcome::taken_back);
  if (!one_of_many) return;
  // Half of it may bring something.
  more_ = kept;
  step_ /= 2;
}

void LaneCount::end_trial(Outcome outcome) noexcept {
  last_ = Trial{from_, wanted_, outcome, before_.median(), rates_.full() ? rates_.median() : 0.0};
  Patience& patience = adding() ? more_ : fewer_;
  if (outcome == Outcome::not_enough) {
    patience.wait = patience.first;
  } else {
    patience.fail();
  }
  wanted_ = from_;
  settle_again();
}

void LaneCount::shed() noexcept {
  from_ = wanted_;
  wanted_ -= std::max((wanted_ - usual_) / lanes_by_step, 1U);
  last_ = Trial{from_, wanted_, Outcome::shed, rates_.median(), 0.0};
  from_ = wanted_;
  denied_ = 0;
  step_ = 1;
  forget_costs();
  more_.fail();
  settle_again();
}

void LaneCount::forget_costs() noexcept { steps_down_ = step_down_ = {}; }

// Other lanes stand, or will, than those that were measured last.
void LaneCount::settle_again() noexcept {
  state_ = State::watching;
  rates_.clear();
  unsettled_ = windows_to_settle;
  idle_ = 0;
}

}  // namespace haul::congestion
