// The window of CUBIC in congestion avoidance (RFC 9438), in bytes.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>

#include "congestion/numbers.h"

namespace haul::congestion {

/// The part of CUBIC that `cubic` and the competitive phase of `hub` share.
class CubicWindow {
 public:
  static constexpr double beta = 0.7;      // RFC 9438, section 4.6
  static constexpr double constant = 0.4;  // RFC 9438, section 5.1: C

  CubicWindow(double window_bytes, double packet_bytes) noexcept : window_(window_bytes), packet_(packet_bytes) {}

  double bytes() const noexcept { return window_; }
  /// Grows or shrinks by other rules than CUBIC's; the next on_ack() starts an epoch.
  void set(double window_bytes) noexcept {
    window_ = window_bytes;
    in_epoch_ = false;
  }
  void set_at_least(double window_bytes) noexcept { window_ = std::max(window_, window_bytes); }

  void on_ack(TimePoint now, double acked_bytes, Duration rtt) noexcept {
    if (!in_epoch_) begin_epoch(now);
    const double elapsed = to_seconds(now - epoch_at_) + to_seconds(rtt);
    // Section 4.2, figures 1 and 2; windows counted in segments.
    const double offset = elapsed - plateau_after_s_;
    const double cubic = (constant * offset * offset * offset) * packet_ + std::max(maximum_, epoch_window_);
    const double target = std::clamp(cubic, window_, 1.5 * window_);
    // Section 4.3, figure 4: as fast as Reno would be; alpha 1 once it has caught up with the window before the loss.
    const double alpha = reno_ < prior_ ? 3.0 * (1.0 - beta) / (1.0 + beta) : 1.0;
    reno_ += alpha * packet_ * acked_bytes / window_;
    // Sections 4.4 and 4.5.
    const double grown = window_ + (target - window_) * std::min(acked_bytes / window_, 1.0);
    window_ = std::max(grown, std::min(reno_, 1.5 * window_));
  }

  /// One reduction for a congestion event.
  void on_congestion() noexcept {
    prior_ = window_;
    // Section 4.7: fast convergence gives room to newcomers.
    maximum_ = window_ < maximum_ ? window_ * (1.0 + beta) / 2.0 : window_;
    window_ *= beta;
    in_epoch_ = false;
  }

  /// After a timeout (section 4.8): K is 0, and W_max where congestion avoidance begins. The window is set by the caller.
  void on_timeout() noexcept {
    prior_ = window_;
    maximum_ = 0;
    in_epoch_ = false;
  }

  /// Time spent without data to send is not time in which the window may grow (section 5.8).
  void on_idle() noexcept { in_epoch_ = false; }

 private:
  void begin_epoch(TimePoint now) noexcept {
    in_epoch_ = true;
    epoch_at_ = now;
    epoch_window_ = reno_ = window_;
    prior_ = std::max(prior_, window_);
    // Section 4.2, figure 2: K.
    plateau_after_s_ = maximum_ > window_ ? std::cbrt((maximum_ - window_) / packet_ / constant) : 0;
  }

  double window_;
  double packet_;
  double maximum_ = 0;  // W_max
  double prior_ = 0;    // cwnd_prior
  double reno_ = 0;     // W_est
  double epoch_window_ = 0;
  double plateau_after_s_ = 0;
  TimePoint epoch_at_;
  bool in_epoch_ = false;
};

}  // namespace haul::congestion
