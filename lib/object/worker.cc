// The worker thread, and its inline stand-in.
#include "object/worker.h"

#include <condition_variable>
#include <deque>
#include <mutex>
#include <system_error>
#include <thread>

namespace haul::object {

Worker::~Worker() = default;

namespace {

struct Task {
  std::function<void()> work;
  std::function<void()> done;
};

class ThreadWorker final : public Worker {
 public:
  explicit ThreadWorker(std::function<void()> notify) : notify_(std::move(notify)), thread_([this] { run(); }) {}

  ~ThreadWorker() override {
    {
      const std::lock_guard lock(mutex_);
      stopping_ = true;
      waiting_.clear();
    }
    changed_.notify_one();
    thread_.join();
  }

  void post(std::function<void()> work, std::function<void()> done) override {
    {
      const std::lock_guard lock(mutex_);
      waiting_.push_back({std::move(work), std::move(done)});
    }
    ++pending_;
    changed_.notify_one();
  }

  void collect() override {
    std::deque<std::function<void()>> over;
    {
      const std::lock_guard lock(mutex_);
      over.swap(over_);
    }
    for (auto& done : over) {
      --pending_;
      done();
    }
  }

  void drop_waiting() override {
    std::deque<Task> dropped;  // destroyed outside the lock
    const std::lock_guard lock(mutex_);
    dropped.swap(waiting_);
    pending_ -= dropped.size();
  }

  size_t pending() const override { return pending_; }

 private:
  void run() {
    std::unique_lock lock(mutex_);
    while (true) {
      changed_.wait(lock, [this] { return stopping_ || !waiting_.empty(); });
      if (stopping_) return;
      Task task = std::move(waiting_.front());
      waiting_.pop_front();
      lock.unlock();
      task.work();
      task.work = nullptr;
      lock.lock();
      over_.push_back(std::move(task.done));
      lock.unlock();
      notify_();
      lock.lock();
    }
  }

  std::function<void()> notify_;
  size_t pending_ = 0;  // the engine's thread only
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Task> waiting_;
  std::deque<std::function<void()>> over_;
  bool stopping_ = false;
  std::thread thread_;  // last: it uses the others
};

class InlineWorker final : public Worker {
 public:
  void post(std::function<void()> work, std::function<void()> done) override {
    waiting_.push_back({std::move(work), std::move(done)});
  }
  void collect() override {
    for (size_t count = waiting_.size(); count > 0 && !waiting_.empty(); --count) {
      const Task task = std::move(waiting_.front());
      waiting_.pop_front();
      task.work();
      task.done();
    }
  }
  void drop_waiting() override { waiting_.clear(); }
  size_t pending() const override { return waiting_.size(); }

 private:
  std::deque<Task> waiting_;
};

}  // namespace

std::unique_ptr<Worker> make_thread_worker(std::function<void()> notify) {
  try {
    return std::make_unique<ThreadWorker>(std::move(notify));
  } catch (const std::system_error&) {
    return nullptr;
  }
}

std::unique_ptr<Worker> make_inline_worker() { return std::make_unique<InlineWorker>(); }

}  // namespace haul::object
