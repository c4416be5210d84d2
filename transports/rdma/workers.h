// Threads for calls that may block for long, so that the engine's thread never does.
#pragma once

#include <condition_variable>
#include <cstddef>
#include <deque>
#include <functional>
#include <future>
#include <mutex>
#include <thread>
#include <vector>

#include "base/unique_fd.h"
#include "haul/status.h"

namespace haul::rdma {

/// Used by one thread; jobs run on others, a few at a time, and on the caller's own where the system gives no thread.
class Workers {
 public:
  /// `wake`: an eventfd that doesn't block.
  explicit Workers(base::UniqueFd wake) : wake_(std::move(wake)) {}
  /// Every job that was given runs to its end first.
  ~Workers();
  Workers(const Workers&) = delete;
  Workers& operator=(const Workers&) = delete;

  /// What `job` refers to must live until the result is ready; then fd() is readable until take_events().
  std::future<Status> run(std::function<Status()> job);
  int fd() const noexcept { return wake_.get(); }
  void take_events();

 private:
  void work();
  void finish(std::packaged_task<Status()>& job);

  base::UniqueFd wake_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::packaged_task<Status()>> waiting_;
  size_t idle_ = 0;
  bool ending_ = false;
  std::vector<std::thread> threads_;
};

}  // namespace haul::rdma
