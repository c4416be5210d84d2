// What the parts of one tcp transport share: its I/O, the time, the queue of events, the list of connections with work.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include "haul/tcp.h"
#include "haul/transport.h"
#include "tcp/io.h"

namespace haul::tcp {

class Connection;

/// Learns whether the caller polls without pause. A spinning caller gets the next frame soonest by a plain receive in every
/// poll; one that blocks between polls needs the kernel to watch the socket, which costs two more system calls a frame.
class Spinning {
 public:
  /// At the begin of every poll.
  void on_poll(TimePoint now) noexcept {
    blocked_ = idle_polls_ > 0 && now - last_poll_ > longest_turn;
    if (blocked_) budget_ = 0;
    last_poll_ = now;
  }
  /// At its end: something happened in it, or not.
  void after_poll(bool busy) noexcept { idle_polls_ = busy ? 0 : idle_polls_ + 1; }
  /// Bytes came, after so many idle polls in a row: twice as many are worth waiting the next time.
  void on_arrival() noexcept { budget_ = blocked_ ? 0 : std::min(most_polls, 2 * idle_polls_ + spare_polls); }
  bool worthwhile() const noexcept { return idle_polls_ < budget_; }

 private:
  static constexpr Duration longest_turn = std::chrono::microseconds(10);  // of a loop that does nothing but poll
  static constexpr uint32_t spare_polls = 16;
  static constexpr uint32_t most_polls = 1024;
  TimePoint last_poll_{};
  uint32_t idle_polls_ = 0;
  uint32_t budget_ = 0;
  bool blocked_ = false;
};

/// Owned by the transport; its parts hold references.
struct Context {
  Context(const Options& set, const Capabilities& can, IoLoop& loop) : options(&set), capabilities(&can), io(&loop) {}

  const Options* options;
  const Capabilities* capabilities;
  IoLoop* io;
  TimePoint now{};
  uint64_t poll_number = 0;  ///< payloads of messages that an earlier poll delivered are free

  std::vector<Event> events;  ///< waiting for poll() to hand them out, from next_event on
  size_t next_event = 0;

  std::vector<Connection*> dirty;  ///< with something to send or to receive into; each at most once
  bool streaming = false;          ///< the last receive got all that it asked for
  uint64_t received_bytes = 0;     ///< in this poll
  Spinning spinning;
  Connection* hot = nullptr;  ///< asked directly for its next frame in every poll, instead of waiting for the kernel to tell

  std::vector<ConnectionId> ended;  ///< whose `closed` was emitted, to be removed
  std::optional<TimePoint> next_timer;

  Event& emit(Event::Kind kind, ConnectionId connection, uint64_t id = 0) {
    Event& event = events.emplace_back();
    event.kind = kind;
    event.connection = connection;
    event.id = id;
    return event;
  }
  bool has_events() const noexcept { return next_event < events.size(); }

  /// More frames are likely there, and little enough came in this poll for it to be in the cache still when the caller sees it.
  bool worth_receiving() const noexcept {
    constexpr uint64_t enough_bytes = 256U << 10;
    constexpr size_t enough_events = 64;
    return !has_events() || (streaming && received_bytes < enough_bytes && events.size() < enough_events);
  }

  /// One connection at a time: the one that received last.
  void make_hot(Connection* connection);

  void arm_timer(TimePoint deadline) { next_timer = next_timer ? std::min(*next_timer, deadline) : deadline; }

  void log(LogLevel level, std::string_view text) const {
    if (options->log) options->log({level, "tcp", text});
  }
};

}  // namespace haul::tcp
