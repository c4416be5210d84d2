// Events on their way to the caller of poll().
#pragma once

#include <cstddef>
#include <deque>
#include <span>
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
    waiting_.push_back({std::move(event), {message.begin(), message.end()}});
  }
  bool empty() const { return waiting_.empty(); }
  /// Of one connection.
  size_t waiting(ConnectionId connection) const {
    const auto found = waiting_of_.find(connection);
    return found == waiting_of_.end() ? 0 : found->second;
  }

  void forget_shown() { shown_.clear(); }
  size_t take(std::span<Event> events) {
    size_t filled = 0;
    while (filled < events.size() && !waiting_.empty()) {
      Waiting next = std::move(waiting_.front());
      waiting_.pop_front();
      if (const auto count = waiting_of_.find(next.event.connection); --count->second == 0) waiting_of_.erase(count);
      if (next.event.kind == Event::Kind::message || next.event.kind == Event::Kind::immediate) {
        shown_.push_back(std::move(next.message));
        next.event.payload = shown_.back();
      }
      events[filled++] = std::move(next.event);
    }
    return filled;
  }

 private:
  struct Waiting {
    Event event;
    std::vector<std::byte> message;
  };
  std::deque<Waiting> waiting_;
  std::unordered_map<ConnectionId, size_t> waiting_of_;
  std::deque<std::vector<std::byte>> shown_;
};

}  // namespace haul::rdma
