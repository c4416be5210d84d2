// What the parts of one tcp transport share: its I/O, the time, the queue of events, the list of connections with work.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "haul/tcp.h"
#include "haul/transport.h"
#include "security/context.h"
#include "tcp/io.h"
#include "tcp/kernel_cc/controller.h"

namespace haul::tcp {

class Connection;

/// Owned by the transport; its parts hold references.
struct Context {
  Context(const Options& set, const Capabilities& can, IoLoop& loop) : options(&set), capabilities(&can), io(&loop) {}

  const Options* options;
  const Capabilities* capabilities;
  IoLoop* io;
  std::shared_ptr<const SecurityContext> security;  ///< null: no credentials, plain text
  Protection protection = Protection::encrypted;    ///< the weakest that this side accepts
  TimePoint now{};
  uint64_t poll_number = 0;  ///< payloads of messages that an earlier poll delivered are free

  std::vector<Event> events;  ///< waiting for poll() to hand them out, from next_event on
  size_t next_event = 0;

  std::vector<Connection*> dirty;  ///< with something to send or to receive into; each at most once
  bool streaming = false;          ///< the last receive got all that it asked for
  uint64_t received_bytes = 0;     ///< in this poll
  bool spinning = false;           ///< the caller polls again at once
  /// While the caller spins: asked directly for its next frame in every poll, which is sooner than to have the kernel watch it.
  Connection* hot = nullptr;
  TimePoint hot_heard;  ///< when it last received something

  std::shared_ptr<const KernelMaps> kernel_maps;  ///< null: sockets don't take haul's congestion control
  std::string no_kernel_maps;                     ///< why those that should take it don't, or can't be driven
  std::array<bool, 2> told_of_congestion{};       ///< that nothing on congestion_wan, congestion_rack could be set

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

  /// One connection at a time: the one that received last, unless that was long ago. Asking costs a system call a poll, which
  /// other backends of the engine would pay too.
  void make_hot(Connection* connection);

  void arm_timer(TimePoint deadline) { next_timer = next_timer ? std::min(*next_timer, deadline) : deadline; }

  void log(LogLevel level, std::string_view text) const {
    if (options->log) options->log({level, "tcp", text});
  }
};

}  // namespace haul::tcp
