// Events on their way to the caller of poll().
#pragma once

#include <cstddef>
#include <deque>
#include <span>
#include <string>
#include <unordered_map>
#include <utility>

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
      const auto count = waiting_of_.find(next.event.connection);
      if (--count->second == 0 && next.event.kind == Event::Kind::closed) waiting_of_.erase(count);
      if (next.event.kind == Event::Kind::message || next.event.kind == Event::Kind::immediate) {
        shown_.push_back(std::move(next.message));
        next.event.payload = std::as_bytes(std::span(shown_.back()));
      }
      events[filled++] = std::move(next.event);
    }
    return filled;
  }

 private:
  struct Waiting {
    Event event;
    std::string message;  // its bytes: an immediate fits into the object
  };
  std::deque<Waiting> waiting_;
  std::unordered_map<ConnectionId, size_t> waiting_of_;
  std::deque<std::string> shown_;
};

}  // namespace haul::rdma
