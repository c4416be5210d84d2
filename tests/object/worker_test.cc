// The worker thread: order, results, dropping.
#include "object/worker.h"

#include <atomic>
#include <catch2/catch.hpp>
#include <chrono>
#include <condition_variable>
#include <mutex>
#include <vector>

using namespace haul::object;

namespace {

/// Collects until `count` results are in, or ten seconds have passed.
class Collector {
 public:
  std::unique_ptr<Worker> worker = make_thread_worker([this] {
    const std::lock_guard lock(mutex_);
    ++notified_;
    changed_.notify_one();
  });

  bool collect_until(const std::vector<int>& results, size_t count) {
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(10);
    while (results.size() < count) {
      std::unique_lock lock(mutex_);
      if (!changed_.wait_until(lock, deadline, [this] { return notified_ > 0; })) return false;
      notified_ = 0;
      lock.unlock();
      worker->collect();
    }
    return true;
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  int notified_ = 0;
};

}  // namespace

TEST_CASE("work is done in order and its results come back in order") {
  std::vector<int> results;
  Collector collector;
  for (int i = 0; i < 100; ++i) {
    collector.worker->ask<int>([i] { return i; }, [&](int value) { results.push_back(value); });
  }
  REQUIRE(collector.collect_until(results, 100));
  for (int i = 0; i < 100; ++i) CHECK(results[static_cast<size_t>(i)] == i);
  CHECK(collector.worker->pending() == 0);
}

TEST_CASE("waiting work can be dropped, running work ends") {
  std::atomic<bool> started{false};
  std::atomic<bool> release{false};
  std::vector<int> results;
  Collector collector;
  collector.worker->ask<int>(
      [&] {
        started = true;
        started.notify_one();
        release.wait(false);
        return 1;
      },
      [&](int value) { results.push_back(value); });
  collector.worker->ask<int>([] { return 2; }, [&](int value) { results.push_back(value); });
  started.wait(false);
  collector.worker->drop_waiting();
  release = true;
  release.notify_one();
  REQUIRE(collector.collect_until(results, 1));
  CHECK(results == std::vector<int>{1});
  CHECK(collector.worker->pending() == 0);
}
