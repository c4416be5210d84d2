// One connection: its socket from set-up to the end, and the traffic on it.
#pragma once

#include <array>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/unique_fd.h"
#include "haul/transport.h"
#include "tcp/context.h"
#include "tcp/dialer.h"
#include "tcp/greeting.h"
#include "tcp/inbound.h"
#include "tcp/inbox.h"
#include "tcp/outbound.h"
#include "tcp/protected_stream.h"
#include "tcp/receiver.h"
#include "tcp/send_batch.h"
#include "tcp/socket.h"
#include "tcp/wire.h"

namespace haul::tcp {

class Connection final : public IoHandler, public FrameHandler, public DialerOwner {
 public:
  enum class State : uint8_t {
    opened,     // nothing happened yet
    dialing,    // resolving and connecting
    expecting,  // waiting for the peer to connect
    greeting,   // connected, waiting for the peer's preface
    ready,
    ending,  // the socket is shut down, the kernel still holds memory
    over,    // `closed` was emitted
  };

  /// What the side that dials wants of TLS, where it has credentials.
  struct Security {
    Protection weakest = Protection::encrypted;
    std::string host;  ///< empty: the peer is compared with a known one
  };

  Connection(Context& context, ConnectionId id);
  ~Connection() override;
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;

  ConnectionId id() const noexcept { return id_; }
  State state() const noexcept { return state_; }
  /// The kernel needs nothing of it, no list names it, and the events of earlier polls may still view its memory only if
  /// `poll_number` was theirs.
  bool removable(uint64_t poll_number) const noexcept {
    return state_ == State::over && !dirty_ && over_in_poll_ < poll_number;
  }

  // Set-up. Each fails the connection with `closed` when it does not succeed in time.
  /// `target` is for messages. dial() follows when its addresses are known.
  void begin_dialing(std::string target, const wire::Preface& own, const Security& security, Duration timeout);
  void dial(std::vector<Endpoint> endpoints);
  void expect(Duration timeout);
  /// A connected socket whose peer sent its preface; `event` tells the core.
  void adopt(Arrival arrival, Event::Kind event);

  // As the methods of Transport.
  void close(CloseMode mode);
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

  /// The kernel's window and pacing rate of this connection are this process's to say; else the next two do nothing.
  bool steerable() const noexcept { return steering_.has_value(); }
  /// What the kernel saw since the last call. Absent: nothing new.
  std::optional<LaneReport> take_report();
  /// As SocketController::command(): holds for `valid_for`, then the kernel's program follows its own rules.
  Status steer(uint64_t window_bytes, std::optional<uint64_t> rate_bytes_s, Duration valid_for);

  int socket() const noexcept { return socket_.get(); }
  /// Ends the connection because of something that went wrong.
  void fail(Status status) { tear_down(std::move(status), false); }
  /// It has something to do: service() follows in the next turn.
  void mark_dirty();
  /// Starts what can be started: sends first, since they are what somebody waits for.
  void service();
  /// While this is the context's hot connection: takes what is there. Returns the number of receives that got something.
  size_t receive_now();
  void on_timer();

  void on_io(IoOperation& operation, int result) override;
  void on_released(IoOperation& operation, bool copied) override;
  Result<std::byte*> on_payload_begin(const wire::FrameHeader& header) override;
  Status on_payload_end(const wire::FrameHeader& header) override;
  Status on_bundle(const wire::FrameHeader& header, std::span<const std::byte> body) override;
  Status on_close() override;
  void on_dialed(base::UniqueFd socket) override;
  void on_dial_failed(const Status& status) override { fail(status); }

 private:
  // A payload sent without copying. Its memory is free when the kernel released it and no rest of it is in the batch.
  struct ZeroCopySend {
    IoOperation operation;
    ZeroCopyPayload payload;
    bool taken = false;
    bool rest_in_batch = false;
  };

  // connection.cc: life
  Status use_socket(base::UniqueFd socket);
  Status tune(Distance distance);
  void take_control();
  void begin_greeting();
  void continue_greeting(Status status);
  void become_ready(const wire::Preface& peer, Link link, Event::Kind event);
  Status protect(Link link);
  void count_protected(size_t bytes);
  void end_misuse();
  void tear_down(Status status, bool reset);
  void finish_if_quiet();
  void make_room_for(uint64_t path_bytes);
  Status lost() const;
  wire::Preface own_preface() const;

  // connection_send.cc
  void send_more();
  void fill_batch();
  void submit_batch();
  void submit_zero_copy();
  ZeroCopySend* free_zero_copy_send();
  void batch_sent();
  void on_sent(int result);
  void on_sent_zero_copy(ZeroCopySend& send, int result);
  void release_if_over(ZeroCopySend& send);
  std::optional<size_t> zero_copy_from_bytes() const noexcept;
  void stop_zero_copy(const char* why);
  void drain();

  // connection_receive.cc
  void receive_more();
  bool plan_receive();
  void on_received(int result);
  void deliver_records();
  void on_end_of_stream(int error);
  Status on_record(const wire::Record& record, uint64_t& sequence, std::span<const std::byte> payload);

  Context& context_;
  ConnectionId id_;
  State state_ = State::opened;
  bool dirty_ = false;
  uint64_t over_in_poll_ = 0;
  Status end_status_;
  std::optional<TimePoint> deadline_;  // of set-up, or of a drain

  std::string target_;  // for messages: what was asked for, then the peer's address
  std::string congestion_;
  std::optional<SocketController> steering_;
  wire::Preface own_preface_;
  std::optional<uint64_t> rate_bytes_s_;          // of limits
  std::optional<uint64_t> steered_rate_bytes_s_;  // of the newest command to steering_
  uint64_t path_bytes_ = 0;                       // the most that a controller wanted on the way
  bool buffer_limited_ = false;                   // and the kernel does not hold that much
  Dialer dialer_;
  base::UniqueFd socket_;

  Outbound outbound_;
  Inbound inbound_;

  SendBatch batch_;
  IoOperation send_;
  iovec sealed_range_{};        // of what send_ sends, where a stream seals it
  bool preface_unsent_ = true;  // of the side that dials
  bool draining_ = false;
  bool close_framed_ = false;
  int send_error_ = 0;
  std::optional<ZeroCopyPayload> zero_copy_next_;  // its header ends the batch
  std::vector<std::unique_ptr<ZeroCopySend>> zero_copy_sends_;
  const char* zero_copy_off_ = nullptr;  // why; null: on

  Receiver receiver_;
  IoOperation receive_;
  std::array<iovec, 2> ranges_{};
  size_t planned_bytes_ = 0;  // of both

  Security security_;
  std::unique_ptr<Greeting> greeting_;
  PeerIdentity identity_;
  Protection protection_ = Protection::plain;
  bool kernel_tls_ = false;
  std::string protected_by_;                 // for people; empty: not authenticated
  std::unique_ptr<ProtectedStream> stream_;  // null: plain, or protected by the kernel
  uint64_t protected_bytes_ = 0;             // in both directions, by keys that wear out
  bool aging_ = false;
};

}  // namespace haul::tcp
