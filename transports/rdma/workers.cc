// A few threads, begun when they are needed.
#include "rdma/workers.h"

#include <unistd.h>

#include <cstdint>
#include <system_error>

namespace haul::rdma {

namespace {

constexpr size_t max_threads = 8;

}  // namespace

Workers::~Workers() {
  {
    const std::lock_guard lock(mutex_);
    ending_ = true;
  }
  changed_.notify_all();
  for (std::thread& each : threads_) each.join();
}

std::future<Status> Workers::run(std::function<Status()> job) {
  std::packaged_task<Status()> task(std::move(job));
  auto result = task.get_future();
  std::unique_lock lock(mutex_);
  if (idle_ <= waiting_.size() && threads_.size() < max_threads) {
    try {
      threads_.emplace_back([this] { work(); });
    } catch (const std::system_error&) {
      if (threads_.empty()) {
        lock.unlock();
        finish(task);
        return result;
      }
    }
  }
  waiting_.push_back(std::move(task));
  lock.unlock();
  changed_.notify_one();
  return result;
}

void Workers::take_events() {
  uint64_t count = 0;
  [[maybe_unused]] const ssize_t got = read(wake_.get(), &count, sizeof(count));
}

void Workers::work() {
  std::unique_lock lock(mutex_);
  while (true) {
    ++idle_;
    changed_.wait(lock, [this] { return ending_ || !waiting_.empty(); });
    --idle_;
    if (waiting_.empty()) return;
    auto job = std::move(waiting_.front());
    waiting_.pop_front();
    lock.unlock();
    finish(job);
    lock.lock();
  }
}

void Workers::finish(std::packaged_task<Status()>& job) {
  job();
  const uint64_t one = 1;
  [[maybe_unused]] const ssize_t put = write(wake_.get(), &one, sizeof(one));
}

}  // namespace haul::rdma
