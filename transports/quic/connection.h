// One connection: its session from the first packet to the last, and the traffic on it.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "haul/lane_memory.h"
#include "haul/transport.h"
#include "net/endpoint.h"
#include "quic/context.h"
#include "quic/gate.h"
#include "quic/inbound.h"
#include "quic/outbound.h"
#include "quic/outlet.h"
#include "quic/packet_size.h"
#include "quic/pieces.h"
#include "quic/session.h"
#include "quic/stream.h"
#include "quic/wire.h"

namespace haul::quic {

class Connection;

/// What a connection asks of its transport.
class Host {
 public:
  virtual void route(const Cid& cid, Connection& connection) = 0;
  virtual void unroute(const Cid& cid) = 0;
  /// The peer of an accepted connection introduced itself.
  virtual void on_hello(Connection& connection, const wire::Record& hello) = 0;
  /// Packets are put together here.
  virtual std::vector<std::byte>& packet_memory() = 0;

 protected:
  ~Host() = default;
};

class Connection final : public SessionOwner {
 public:
  enum class State : uint8_t {
    opened,  // nothing happened yet
    resolving,
    greeting,  // the handshake, and until both sides introduced themselves
    waiting,   // the peer of a lane came before this side's join()
    ready,
    over,  // `closed` was emitted, or nobody ever knew of it
  };

  Connection(Context& context, Host& host, const Secret& secret, ConnectionId id);
  ~Connection() override;
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;

  /// 0: the core knows nothing of it.
  ConnectionId id() const noexcept { return id_; }
  State state() const noexcept { return state_; }
  /// Nothing of it is needed any more.
  bool removable() const noexcept { return state_ == State::over && context_.now >= linger_until_; }

  // Set-up. Each fails the connection with `closed` when it does not succeed in time.
  void begin_resolving(std::string target, Duration timeout);
  struct Dial {
    std::string host;     ///< that an authority must have certified; empty: the peer is compared with a known one
    wire::Token token{};  ///< of a lane
    bool lane = false;
  };
  /// `outlets`: for each of the endpoints, which are tried one after the other.
  void dial(std::vector<net::Endpoint> endpoints, std::vector<Outlet*> outlets, Dial dial);
  Status accept(Outlet& outlet, const net::Endpoint& remote, const Session::Initial& initial);
  /// An accepted connection becomes one that the core knows.
  void settle(ConnectionId id, Event::Kind event);
  void wait_for_join() { state_ = State::waiting; }

  // As the methods of Transport.
  void close(CloseMode mode);
  /// Ends it at once, to make room: it answers nothing after its last packet.
  void push_out();
  size_t post(std::span<const Operation> operations);
  bool send(std::span<const std::byte> message);
  void answer(uint64_t id, StatusCode code);
  void cancel(uint64_t id);
  Result<LocalGrant> grant(std::span<std::byte> memory, Rights rights);
  void revoke(uint64_t grant_id);
  PathSample sample() const;
  std::string describe() const;
  const PeerIdentity& identity() const noexcept { return identity_; }
  void set_limits(const Limits& limits);
  // As those of LaneMemory.
  void recall(const PathMemory& memory);
  PathLesson lesson() const;

  Outlet* outlet() const noexcept { return outlet_; }
  const net::Endpoint& remote() const noexcept { return remote_; }
  /// Ends the connection because of something that went wrong.
  void fail(Status status, CloseCode code = CloseCode::aborted);

  /// It came at `came`, perhaps before now.
  void receive(std::span<const std::byte> packet, uint8_t ecn, const Outlet& from, const net::Endpoint& remote, TimePoint came);
  /// A packet of nobody's, which may be the peer's word that it knows nothing of the connection. True: it was.
  bool receive_reset(std::span<const std::byte> packet, const Outlet& from, const net::Endpoint& remote);
  /// Once after some receive().
  void received();
  /// Does what is due, and sends what may be sent.
  void service();
  std::optional<TimePoint> deadline() const;

  void on_handshake_done() override { handshake_done_ = true; }
  Status on_stream_bytes(std::span<const std::byte> bytes) override;
  void on_stream_acknowledged(uint64_t offset) override;
  Status on_datagram(std::span<const std::byte> datagram) override;
  void on_datagram_acknowledged(uint64_t number) override;
  void on_datagram_lost(uint64_t number) override;
  void on_cid(const Cid& cid) override;
  void on_cid_gone(const Cid& cid) override;

 private:
  // connection.cc: life
  Status begin_session(size_t place);
  void introduce();
  Status become_ready(Event::Kind event);
  Status on_record(const wire::Record& record, std::span<const std::byte> payload);
  Status on_hello(const wire::Record& record);
  void on_session_ended();
  void end(Status status, std::optional<CloseCode> say);
  void run_timers();
  void lose(const PieceLedger::Entry& entry);
  void give_up_overtaken();
  void repeat_oldest();
  void drain();
  void forget_cids();
  Status prefixed(const Status& status) const;
  bool established() const noexcept { return state_ == State::ready; }

  // connection_path.cc
  Status make_gate(std::optional<PathMemory> memory = std::nullopt);
  size_t most_packet_bytes() const;
  void path_changed(const net::Endpoint& before);

  // connection_send.cc
  void write();
  void answer_challenge(BurstWriter& burst);
  size_t packet_bytes() const;
  bool write_packet(BurstWriter& burst);
  bool write_rest(BurstWriter& burst);
  bool write_stream_packet(BurstWriter& burst);
  bool write_piece(BurstWriter& burst);
  std::span<std::byte> packet_room(BurstWriter& burst, size_t bytes);
  std::optional<OutgoingPiece> next_piece(size_t packet_limit_bytes);
  std::optional<OutgoingPiece> next_lost_piece(size_t max_bytes);
  bool has_pieces() const noexcept;
  void count(const Session::Packet& packet, BurstWriter& burst);

  Context& context_;
  Host& host_;
  const Secret& secret_;
  ConnectionId id_;
  State state_ = State::opened;
  std::optional<TimePoint> deadline_;  // of set-up, or of a drain
  std::string target_;                 // for messages

  // Set-up.
  std::vector<net::Endpoint> endpoints_;
  std::vector<Outlet*> outlets_;
  Dial dial_;
  bool dialed_ = false;
  size_t place_ = 0;  // of the endpoint that is tried
  std::optional<TimePoint> next_attempt_;
  bool heard_ = false;  // the endpoint that is tried said something
  bool handshake_done_ = false;
  bool introduced_ = false;

  Outlet* outlet_ = nullptr;
  net::Endpoint remote_;
  std::unique_ptr<Session> session_;
  std::vector<Cid> cids_;
  PeerIdentity identity_;
  std::string cipher_;

  std::optional<wire::Record> peer_hello_;
  StreamSender stream_;
  RecordReader reader_;
  std::optional<Outbound> outbound_;  // from readiness on
  std::optional<Inbound> inbound_;
  PieceLedger ledger_;
  std::optional<Gate> gate_;
  PacketSize size_;
  bool reply_next_ = false;       // whose turn it is: replies and own operations alternate
  bool library_blocked_ = false;  // it takes no piece until something arrives
  bool draining_ = false;
  std::optional<TimePoint> misused_until_;  // the peer is to hear of its refusal before it is closed on

  uint64_t bytes_sent_ = 0;
  uint64_t bytes_received_ = 0;
  TimePoint came_;  // the packet that is read
  uint64_t pieces_lost_ = 0;
  // On the paths before this one.
  uint64_t delivered_before_ = 0;
  uint64_t lost_before_ = 0;
  std::optional<uint64_t> rate_limit_;

  // The end.
  std::vector<std::byte> last_words_;
  TimePoint linger_until_{};
  uint64_t heard_after_end_ = 0;
};

}  // namespace haul::quic
