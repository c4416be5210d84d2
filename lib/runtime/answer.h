// Replies that come exactly once, and their form as futures.
#pragma once

#include <future>
#include <memory>
#include <utility>

#include "haul/runtime.h"

namespace haul::detail {

/// A reply that something else will give, shared by whoever might. Dropped ungiven (an engine that ends), it gives `lost`.
template <typename T>
class Answer {
 public:
  Answer(Reply<T> reply, Status lost) : reply_(std::move(reply)), lost_(std::move(lost)) {}
  ~Answer() {
    if (reply_) give(T(lost_));
  }
  Answer(const Answer&) = delete;
  Answer& operator=(const Answer&) = delete;

  void give(T value) {
    if (Reply<T> reply = std::exchange(reply_, {})) reply(std::move(value));
  }
  /// The call that wanted the answer was refused: nothing is to be given.
  void withdraw() { reply_ = {}; }

 private:
  Reply<T> reply_;
  Status lost_;
};

/// The future form of a call with a reply. `call` takes the reply and returns whether it was accepted.
template <typename T, typename Call>
std::future<T> as_future(Call&& call) {
  auto promise = std::make_shared<std::promise<T>>();
  std::future<T> future = promise->get_future();
  const Status accepted = call([promise](T value) { promise->set_value(std::move(value)); });
  if (!accepted.ok()) promise->set_value(T(accepted));
  return future;
}

}  // namespace haul::detail
