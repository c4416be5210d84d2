// What `hub` measures: the lowest round trip, delivery over the last round trip, the queue, losses by chance.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>

#include "congestion/lowest_rtt.h"
#include "congestion/numbers.h"
#include "haul/congestion.h"

namespace haul::congestion {

/// Time in quarters of a round trip: what arrived and what was lost in each, and the shortest round trip seen.
class QuarterRounds {
 public:
  struct Quarter {
    Duration length = Duration::zero();
    double delivered = 0;
    double lost = 0;
    double marked = 0;
    Duration lowest_rtt = Duration::max();
    bool limited = false;  ///< the sender held back: says nothing about the path's rate
    bool starved = false;  ///< … because it had too little to send
  };
  static constexpr size_t count = 4;

  void restart(TimePoint now) noexcept {
    *this = QuarterRounds();
    began_ = now;
    started_ = true;
  }
  bool started() const noexcept { return started_; }

  void on_ack(double acked, double marked, Duration rtt, bool limited, bool starved) noexcept {
    open_.delivered += acked;
    open_.marked += marked;
    if (rtt > Duration::zero()) open_.lowest_rtt = std::min(open_.lowest_rtt, rtt);
    open_.limited |= limited;
    open_.starved |= starved;
  }
  void on_loss(double bytes) noexcept { open_.lost += bytes; }

  /// Closes the quarter when it has lasted long enough and holds enough packets to say something.
  bool close(TimePoint now, Duration length, double least_bytes) noexcept {
    if (now - began_ < length || open_.delivered < least_bytes || open_.lowest_rtt == Duration::max()) return false;
    open_.length = now - began_;
    quarters_[next_] = open_;
    next_ = (next_ + 1) % count;
    filled_ = std::min(filled_ + 1, count);
    open_ = Quarter();
    began_ = now;
    return true;
  }

  const Quarter& last() const noexcept { return quarters_[(next_ + count - 1) % count]; }
  bool full() const noexcept { return filled_ == count; }
  /// Of the shortest in each quarter. Zero: none ended yet.
  Duration longest_rtt() const noexcept {
    Duration longest = Duration::zero();
    for (size_t i = 0; i < filled_; ++i) longest = std::max(longest, quarters_[i].lowest_rtt);
    return longest;
  }

  /// All the quarters together.
  Quarter sum() const noexcept {
    Quarter sum;
    for (size_t i = 0; i < filled_; ++i) {
      sum.length += quarters_[i].length;
      sum.delivered += quarters_[i].delivered;
      sum.lost += quarters_[i].lost;
      sum.marked += quarters_[i].marked;
      sum.lowest_rtt = std::min(sum.lowest_rtt, quarters_[i].lowest_rtt);
      sum.limited |= quarters_[i].limited;
    }
    return sum;
  }

 private:
  std::array<Quarter, count> quarters_{};
  Quarter open_;
  size_t next_ = 0;
  size_t filled_ = 0;
  TimePoint began_;
  bool started_ = false;
};

constexpr double rate_of(const QuarterRounds::Quarter& quarter) noexcept {
  const double length = to_seconds(quarter.length);
  return length > 0 ? quarter.delivered / length : 0;
}
constexpr double loss_of(const QuarterRounds::Quarter& quarter) noexcept {
  const double all = quarter.delivered + quarter.lost;
  return all > 0 ? quarter.lost / all : 0;
}

/// Tells loss by chance from loss by a full queue that is too short to be seen as delay: when much is lost, the sender slows
/// down for a round trip and looks whether the loss goes away.
class LossJudge {
 public:
  /// Loss that is carried without asking: what a test costs is not worth it.
  static constexpr double unquestioned = 0.02;
  /// More than this is never made up for: such a path is broken, or policed.
  static constexpr double most = 0.1;
  static constexpr double test_gain = 0.85;

  /// Loss to make up for by sending more.
  double accepted() const noexcept { return std::min(average_, verified_); }
  bool slows() const noexcept { return stage_ == Stage::slow; }

  enum class Verdict : uint8_t { none, chance, congestion };
  /// Once a quarter, with the last whole round trip. `hold`: losses of this time are already explained.
  Verdict on_quarter(TimePoint now, const QuarterRounds::Quarter& round, double packet, Duration rtt, bool hold) noexcept {
    const double loss = loss_of(round);
    switch (stage_) {
      case Stage::idle:
        if (hold) return Verdict::none;
        average(loss);
        if (loss < 0.03 || loss < 2 * verified_ || round.lost < 8 * packet || now < next_test_) return Verdict::none;
        stage_ = Stage::slow;
        before_ = loss;
        until_ = now + rtt;
        return Verdict::none;
      case Stage::slow:
        if (now < until_) return Verdict::none;
        stage_ = Stage::watch;
        // What was sent slowly comes back in the round trip that begins now; its losses a little later.
        until_ = now + rtt + rtt / 4;
        return Verdict::none;
      case Stage::watch: break;
    }
    if (now < until_) return Verdict::none;
    stage_ = Stage::idle;
    next_test_ = now + 10 * rtt;
    if (loss < before_ / 2) {
      verified_ = unquestioned;
      average_ = loss;
      quarters_ = most_quarters;
      return Verdict::congestion;
    }
    verified_ = std::min(std::max(verified_, 1.25 * loss), most);
    average_ = loss;
    return Verdict::chance;
  }

 private:
  enum class Stage : uint8_t { idle, slow, watch };
  static constexpr double most_quarters = 32;

  void average(double loss) noexcept {
    quarters_ = std::min(quarters_ + 1, most_quarters);
    average_ += (loss - average_) / quarters_;
  }

  Stage stage_ = Stage::idle;
  double average_ = 0;
  double quarters_ = 0;
  double verified_ = unquestioned;
  double before_ = 0;
  TimePoint until_;
  TimePoint next_test_;
};

}  // namespace haul::congestion
