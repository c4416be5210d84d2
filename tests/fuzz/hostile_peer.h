// A peer that speaks the protocol well and means ill: valid frames in any order, with any numbers, as a script says.
#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "engine/codec.h"
#include "fuzz/hostile_world.h"
#include "fuzz/script.h"
#include "haul/transport.h"

namespace haul::fuzz {

/// Lets one loose, as the input says.
HostileSummary run_hostile(std::span<const std::byte> input);

class HostilePeer {
 public:
  explicit HostilePeer(HostileWorld& world);
  HostilePeer(const HostilePeer&) = delete;
  HostilePeer& operator=(const HostilePeer&) = delete;

  /// Connects and introduces itself, as a good peer does, and is given grants: where the interesting things begin.
  void begin();
  void act(Script& script);
  /// Moves its bytes and answers what it wants to answer; when it wants to be called again.
  std::optional<TimePoint> poll();
  /// The power is cut: not a word any more.
  void go_silent() { silent_ = true; }
  std::span<const RemoteBuffer> grants() const noexcept { return granted_; }

 private:
  /// One life as a peer of the victim. Its connections stay known when they are closed: to be abused.
  struct Session {
    uint64_t index = 0;
    uint64_t incarnation = 0;
    std::vector<ConnectionId> connections;  // [0] is the control lane
    uint32_t next_lane = 1;
    uint64_t next_grant = 1;
    uint64_t next_serial = 0;
    std::vector<engine::GrantRegion> regions;               // of the victim's memory
    std::vector<std::pair<uint32_t, ConnectionId>> opened;  // lanes that wait for the victim's word
  };

  // Connections and lanes.
  Session& add_session(ConnectionId control);
  void connect();
  void open_lane(Script& script, Session& session);
  void speak_of_lane(Script& script, Session& session);
  void close_connection(Script& script, Session& session);

  // Messages.
  void send(const Session& session, const engine::Control& message);
  void send_bytes(const Session& session, std::span<const std::byte> bytes);
  void send_hello(Script& script, Session& session, bool good);
  void send_grant(Script& script, Session& session);
  void speak_of_grant(Script& script, Session& session);
  void notify(Script& script, Session& session);
  void ask(Script& script, Session& session);
  void flood(Script& script, Session& session);

  // Operations.
  void post(Script& script, Session& session);
  void whole_transfer(Script& script, Session& session);
  void answer_late(Script& script);
  ConnectionId connection_of(Script& script, const Session& session) const;
  RemoteRegion region_of(Script& script, const Session& session, ConnectionId& connection) const;

  void take(const Event& event);
  void take_message(Session& session, const engine::Control& message);
  Session* session_of(ConnectionId connection);

  static constexpr size_t memory_bytes = 64U << 10;
  static constexpr size_t max_sessions = 12;

  HostileWorld& world_;
  std::unique_ptr<Transport> transport_;
  Bytes memory_;
  std::unique_ptr<MemoryRegion> region_;
  std::vector<std::unique_ptr<Session>> sessions_;
  std::vector<RemoteBuffer> granted_;                      // as the victim may be told of them
  std::vector<std::pair<ConnectionId, uint64_t>> landed_;  // not answered yet
  std::vector<std::pair<ConnectionId, uint64_t>> transport_grants_;
  uint64_t next_operation_ = 1;
  bool answers_ = true;
  bool pongs_ = true;
  bool joins_ = true;
  bool silent_ = false;
};

}  // namespace haul::fuzz
