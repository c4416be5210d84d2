// One end of a simulated connection: handshake, operations, messages, grants and the close.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/range_set.h"
#include "haul/sim.h"
#include "haul/transport.h"
#include "network.h"
#include "packet.h"
#include "receiver.h"
#include "sender.h"

namespace haul::sim {

/// Where a connection's packets and events go.
class Outlet {
 public:
  virtual void transmit(Packet packet) = 0;
  /// `message` is what event.payload will show; empty where the payload is not the transport's.
  virtual void emit(Event event, std::vector<std::byte> message) = 0;

 protected:
  ~Outlet() = default;
};

/// connection.cc: life and timers; outgoing.cc: what this side asks for; incoming.cc: what the peer asks for.
class Connection {
 public:
  enum class State : uint8_t {
    opened,      ///< waits for join()
    waiting,     ///< joined; the peer has to begin
    connecting,  ///< asks the peer
    answering,   ///< the peer asked; its confirmation is missing
    ready,
    draining,  ///< closes as soon as what was taken is finished
    closed,
  };

  Connection(World::State& world, Outlet& outlet, ConnectionId id, NodeIndex node, const TransportOptions& options);

  ConnectionId id() const { return id_; }
  ConnectionId peer() const { return peer_; }
  State state() const { return state_; }
  /// The core knows of it: it opened it, or it was told `accepted`.
  bool announced() const { return announced_; }
  const Status& closed_status() const { return closed_status_; }
  std::string describe() const;

  // Life.
  void configure(const ConnectOptions& options) { connect_ = options; }
  std::vector<std::byte> endpoint() const;
  Status join(std::span<const std::byte> peer_endpoint);
  /// A peer asked a listening port for this connection, perhaps not for the first time.
  void accept(const Packet& open);
  void handle(const Packet& packet);
  void close(CloseMode mode);
  /// Tells the peer, once, that this end is gone.
  void send_reset();
  /// Acknowledges, acts on timers, sends what may be sent.
  void work();
  std::optional<TimePoint> deadline() const;

  // Operations and messages.
  Result<LocalGrant> grant(uint64_t grant_id, const MemoryRegion& region, Range range, Rights rights);
  void revoke(uint64_t grant_id);
  size_t post(std::span<const Operation> operations);
  void on_completion_delivered() { --undelivered_; }
  void answer(uint64_t landed, const Status& status);
  void cancel(uint64_t operation);
  bool send(std::span<const std::byte> message);
  /// True once after a refusal, when there is room again.
  bool take_writable();
  bool would_be_writable() const { return (wants_post_ && can_post()) || (wants_send_ && can_send()); }
  PathSample sample() const;
  void set_limits(const Limits& limits);

 private:
  /// A posted operation of this side.
  struct Outgoing {
    Operation operation;
    std::span<std::byte> memory;  ///< source or destination
    Token key{};
    uint64_t number = 0;      ///< on the wire; 0: no packet of it was sent
    uint32_t moved = 0;       ///< sent (write) or placed (read)
    bool cancelling = false;  ///< nothing more is sent or placed; the peer's word is awaited
    std::optional<uint32_t> crc32c;
  };
  /// A write of the peer that is arriving or awaits its answer.
  struct Incoming {
    uint64_t grant_id = 0;
    std::span<std::byte> memory;
    uint32_t placed = 0;
  };
  /// A read of the peer that is being served.
  struct Serving {
    uint64_t grant_id = 0;
    std::span<const std::byte> memory;
    std::optional<uint32_t> crc32c;
    uint32_t sent = 0;
    uint32_t acknowledged = 0;
  };
  struct Grant {
    uint64_t id = 0;
    std::span<std::byte> memory;
    Rights rights = Rights::none;
  };
  struct OutgoingMessage {
    std::vector<std::byte> bytes;
    uint32_t sent = 0;
    uint32_t acknowledged = 0;
  };
  struct IncomingMessage {
    std::vector<std::byte> bytes;
    uint32_t arrived = 0;
  };
  /// Bulk work in the order it came: an own operation by id, or a read being served by number.
  struct Job {
    bool serving = false;
    uint64_t key = 0;
  };

  static constexpr size_t max_status_text_bytes = 200;
  static constexpr size_t max_messages = 256;
  static constexpr size_t max_message_bytes_queued = 256U << 10;

  TimePoint now() const { return world_.now(); }
  bool established() const { return state_ == State::ready || state_ == State::draining; }
  uint32_t piece_bytes() const { return mtu_bytes_ - Packet::header_bytes; }

  // connection.cc
  Packet make_packet(PacketKind kind) const;
  Status join_by_address();
  Status join_by_endpoint(std::span<const std::byte> peer_endpoint);
  void start_handshake(State state, Duration timeout);
  void send_handshake();
  void send_open_reply();
  void become_ready();
  void handle_open(const Packet& packet);
  void handle_open_reply(const Packet& packet);
  void handle_reset(const Packet& packet);
  void handle_stream(const Packet& packet);
  void send_ack();
  void on_timers();
  void finish(Status status);

  // outgoing.cc
  bool can_post() const;
  bool can_send() const;
  Status check_operation(const Operation& operation) const;
  void emit_completed(uint64_t id, Status status, std::optional<uint32_t> crc32c);
  /// Ends an operation and forgets it: `outgoing` is gone afterwards.
  void complete(Outgoing& outgoing, Status status);
  void pump();
  void send_segment(uint64_t sequence);
  std::optional<std::span<const std::byte>> bytes_of(const Frame& frame);
  std::optional<Frame> next_frame();
  std::optional<Frame> next_message_piece();
  std::optional<Frame> next_piece();
  std::optional<Frame> next_operation_piece(Outgoing& outgoing);
  std::optional<Frame> next_serving_piece(uint64_t number, Serving& serving);
  bool drained() const;
  void on_acknowledged(const Frame& frame);
  Outgoing* find_by_number(uint64_t number);

  // incoming.cc
  void handle_frame(const Packet& packet);
  void on_message_piece(const Packet& packet);
  void on_write_piece(const Packet& packet);
  void on_read_request(const Frame& frame);
  void on_read_data(const Packet& packet);
  void on_result(const Frame& frame);
  void on_cancel(const Frame& frame);
  const Grant* find_grant(const Frame& frame, Rights wanted) const;
  void settle(uint64_t number, const Status& status);

  World::State& world_;
  Outlet& outlet_;
  const ConnectionId id_;
  const NodeIndex node_;
  const TransportOptions options_;
  State state_ = State::opened;
  Token token_{};
  bool accepted_ = false;
  bool announced_ = true;
  Status closed_status_;

  // The handshake.
  ConnectOptions connect_;
  NodeIndex peer_node_ = 0;
  ConnectionId peer_ = 0;
  Token peer_token_{};
  TimePoint connect_deadline_{};
  TimePoint handshake_again_{};
  Duration handshake_wait_{};

  // The stream.
  uint32_t mtu_bytes_ = LinkOptions{}.mtu_bytes;
  Sender sender_;
  Receiver receiver_;
  bool ack_due_ = false;
  TimePoint last_heard_{};
  TimePoint newest_echo_{};  ///< the newest packet of ours that gave a round-trip time
  uint64_t bytes_received_ = 0;
  std::deque<Frame> control_;              ///< results and cancels: at most two an operation
  std::optional<uint64_t> peer_finished_;  ///< the sequence number of its last frame
  bool finish_sent_ = false;
  TimePoint drain_deadline_{};

  // This side's operations and messages.
  std::map<uint64_t, Outgoing> operations_;  ///< by id
  std::map<uint64_t, uint64_t> ids_;         ///< by number on the wire
  std::deque<Job> jobs_;
  uint64_t next_number_ = 1;
  uint64_t outstanding_bytes_ = 0;
  size_t undelivered_ = 0;  ///< completions that the core has not seen
  std::optional<uint64_t> window_limit_bytes_;
  std::deque<OutgoingMessage> messages_;
  uint64_t first_message_ = 0;  ///< number of the front
  size_t unsent_message_ = 0;   ///< place of the first that is not all sent
  size_t message_bytes_queued_ = 0;
  bool wants_post_ = false;  ///< post() refused since the last `writable`
  bool wants_send_ = false;

  // The peer's.
  std::map<Token, Grant> grants_;
  std::map<uint64_t, Incoming> incoming_;         ///< by number
  std::map<uint64_t, Serving> serving_;           ///< by number
  base::RangeSet settled_;                        ///< numbers of the peer whose outcome is decided
  std::map<uint64_t, IncomingMessage> arriving_;  ///< messages, by number
  uint64_t next_delivery_ = 0;                    ///< number of the message that the core gets next
};

}  // namespace haul::sim
