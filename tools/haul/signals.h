// SIGINT and SIGTERM as something a loop can look at.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <thread>

#include "base/unique_fd.h"
#include "haul/status.h"

namespace haul::tool {

/// Wants prepare_signals() before. The first signal is noted and `on_signal` is called
/// (on a thread of its own); the second ends the program at once.
class SignalWatch {
 public:
  /// Errors: exhausted (file descriptors, threads).
  static Result<std::unique_ptr<SignalWatch>> start(std::function<void()> on_signal);
  ~SignalWatch();
  SignalWatch(const SignalWatch&) = delete;
  SignalWatch& operator=(const SignalWatch&) = delete;

  /// The signal's number, or 0.
  int caught() const noexcept { return caught_.load(std::memory_order_acquire); }

 private:
  SignalWatch() = default;
  void run();

  std::function<void()> on_signal_;
  base::UniqueFd signals_;
  base::UniqueFd quit_;
  std::atomic<int> caught_{0};
  std::thread thread_;
};

/// To be called first in main(): blocks the signals that SignalWatch takes, ignores those that writes may raise.
void prepare_signals();

}  // namespace haul::tool
