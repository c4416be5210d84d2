// Events on their way to the caller of poll().
#pragma once

#include <cstddef>
#include <deque>
#include <span>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "haul/transport.h"

namespace haul::rdma {

/// Keeps what did not fit, and the messages and immediates that the last poll() showed.
class Events {
 public:
  void push(Event event) { push(std::move(event), {}); }
  void push(Event event, std::span<const std::byte> message) {
    ++waiting_of_[event.connection];
    waiting_.push_back({std::move(event), {reinterpret_cast<const char*>(message.data()), message.size()}});
  }
  bool empty() const { return taken_ == waiting_.size(); }
  /// Of one connection.
  size_t waiting(ConnectionId connection) const {
    const auto found = waiting_of_.find(connection);
    return found == waiting_of_.end() ? 0 : found->second;
  }

  void forget_shown() { shown_.clear(); }
  size_t take(std::span<Event> events) {
    size_t filled = 0;
    while (filled < events.size() && !empty()) {
      Waiting& next = waiting_[taken_++];
      const auto count = waiting_of_.find(next.event.connection);
      if (--count->second == 0 && next.event.kind == Event::Kind::closed) waiting_of_.erase(count);
      if (next.event.kind == Event::Kind::message || next.event.kind == Event::Kind::immediate) {
        shown_.push_back(std::move(next.message));
        next.event.payload = std::as_bytes(std::span(shown_.back()));
      }
      events[filled++] = std::move(next.event);
    }
    if (empty() || taken_ >= max_taken) {
      waiting_.erase(waiting_.begin(), waiting_.begin() + static_cast<std::ptrdiff_t>(taken_));
      taken_ = 0;
    }
    return filled;
  }

 private:
  struct Waiting {
    Event event;
    std::string message;  // its bytes: an immediate fits into the object
  };
  static constexpr size_t max_taken = 1024;
  std::vector<Waiting> waiting_;  // not a deque, which would fetch memory for every second event
  size_t taken_ = 0;              // of them, from the front
  std::unordered_map<ConnectionId, size_t> waiting_of_;
  std::deque<std::string> shown_;
};

}  // namespace haul::rdma
