// What the parts of one quic transport share.
#pragma once

#include <memory>
#include <string_view>
#include <utility>
#include <vector>

#include "haul/lane_memory.h"
#include "haul/quic.h"
#include "haul/transport.h"
#include "quic/qlog.h"
#include "quic/surroundings.h"
#include "security/context.h"

namespace haul::quic {

/// Owned by the transport; its parts hold references.
struct Context {
  const Options* options = nullptr;
  Surroundings surroundings;
  const Capabilities* capabilities = nullptr;
  std::unique_ptr<QlogFolder> qlog;
  std::shared_ptr<const SecurityContext> security;  ///< null: secure() was not called
  TimePoint now{};

  std::vector<Event> events;  ///< waiting for poll() to hand them out, from next_event on
  size_t next_event = 0;
  std::vector<std::vector<std::byte>> lent;                       ///< messages that `events` view
  std::vector<std::pair<ConnectionId, PathLesson>> last_lessons;  ///< of those whose `closed` is among `events`

  Event& emit(Event::Kind kind, ConnectionId connection, uint64_t id = 0) {
    Event& event = events.emplace_back();
    event.kind = kind;
    event.connection = connection;
    event.id = id;
    return event;
  }
  void emit_message(ConnectionId connection, std::vector<std::byte> message) {
    lent.push_back(std::move(message));
    emit(Event::Kind::message, connection).payload = lent.back();
  }
  bool has_events() const noexcept { return next_event < events.size(); }

  void log(LogLevel level, std::string_view text) const {
    if (options->log) options->log({level, "quic", text});
  }
};

}  // namespace haul::quic
