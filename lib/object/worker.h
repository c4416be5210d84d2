// Where blocking work of a job (disks) is done: off the engine's thread, in order.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <optional>
#include <utility>

namespace haul::object {

/// Used from one thread, the engine's, except that `work` runs elsewhere. Bounded by its users, who post in answer to credits.
class Worker {
 public:
  virtual ~Worker();  ///< Drops what waits, and waits for what runs.

  /// Runs `work` after all earlier work; then collect() calls `done`.
  virtual void post(std::function<void()> work, std::function<void()> done) = 0;

  /// Calls `done` of what is over; these may post again.
  virtual void collect() = 0;

  /// Forgets work that has not begun, its `done` included.
  virtual void drop_waiting() = 0;

  /// Posted and not collected.
  virtual size_t pending() const = 0;

  /// As post(), for work with a result.
  template <typename T>
  void ask(std::function<T()> work, std::function<void(T)> done) {
    auto result = std::make_shared<std::optional<T>>();
    post([result, work = std::move(work)] { result->emplace(work()); },
         [result, done = std::move(done)] { done(std::move(**result)); });
  }
};

/// One thread. `notify` is called on it whenever collect() has something to do; it must be callable from any thread.
/// Null: the system gives no further thread.
std::unique_ptr<Worker> make_thread_worker(std::function<void()> notify);

/// Runs work within collect(): for tests and simulations, where nothing may depend on a thread's timing.
std::unique_ptr<Worker> make_inline_worker();

using MakeWorker = std::function<std::unique_ptr<Worker>()>;

}  // namespace haul::object
