// One random schedule over the simulator: what two engines do to each other, and what must be true of it at every moment.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

#include "base/random.h"
#include "contract/checked_transport.h"
#include "contract/schedules/arena.h"
#include "haul/engine.h"
#include "haul/sim.h"

namespace haul::contract {

/// The contract was broken; the text says how.
struct Broken : std::runtime_error {
  using std::runtime_error::runtime_error;
};

struct Segment {
  uint64_t local_offset;
  uint64_t remote_offset;
  uint64_t length;
  size_t local_slot;
  size_t remote_slot;
  size_t slots;
  std::vector<std::byte> expected;  ///< the source when the transfer began
};

/// One transfer, from its start until nothing depends on it any more.
struct Move {
  uint64_t number;
  size_t side;     ///< which engine started it
  uint64_t epoch;  ///< of the connection
  Op op;
  std::vector<Segment> segments;
  std::shared_ptr<RemoteBuffer> remote;
  Transfer transfer;
  bool notifies = false;
  int calls = 0;          ///< of its callback
  int notifications = 0;  ///< that the other side received
  bool orphaned = false;  ///< its engine is gone: no callback comes
  bool local_held = true;
  bool remote_held = true;
  uint64_t losses_before = 0;
  bool saw_loss = false;  ///< a lane died while it ran: answers may have been lost with it
  bool quiet = false;     ///< the owner promised that it changes nothing there any more
};

struct Side {
  std::string node;
  std::unique_ptr<Arena> arena;
  std::shared_ptr<TransportRecord> record;
  std::unique_ptr<Engine> engine;
  Buffer buffer;
  Peer peer;  ///< our handle to the other side
  bool connected = false;
  std::shared_ptr<RemoteBuffer> remote;  ///< the other side's grant to us
  uint64_t next_sent = 0;                ///< numbers of plain messages on this connection
  uint64_t next_received = 0;
};

class Schedule {
 public:
  explicit Schedule(uint64_t seed);
  ~Schedule();
  Schedule(const Schedule&) = delete;
  Schedule& operator=(const Schedule&) = delete;

  /// Throws Broken.
  void run();
  uint64_t trace_hash() const { return world_.trace_hash(); }
  std::string summary() const;

 private:
  // Set-up.
  void start_engine(size_t side);
  void connect();
  void make_grant(size_t owner, bool may_expire);

  // Random things to do.
  void act();
  void start_move();
  bool add_segment(Move& move);
  void begin(Move& move, bool as_batch);
  void cancel_one();
  void revoke_one();
  void send_message();
  void change_link();
  void kill_lane();
  void crash();
  void leave();

  // What is told, and what must be true.
  void on_done(Move& move, const TransferResult& result);
  void on_message(size_t side, const Message& message);
  void on_notification(size_t side, uint64_t number);
  void on_closed(size_t side);
  void quiet_side(size_t side);
  void release_local(Move& move);
  void release_remote(Move& move);
  void expect_quiet(Move& move);
  void check_placed(const Move& move, const char* when) const;
  void check_intact(const char* when) const;
  void settle();
  void check_end();
  bool step(const std::function<bool()>& until, Duration limit);
  uint64_t losses() const { return sides_[0].record->connections_lost + sides_[1].record->connections_lost; }
  size_t other(size_t side) const { return 1 - side; }
  [[noreturn]] void broken(const std::string& what) const;

  base::Random random_;
  sim::World world_;
  sim::TransportOptions transport_options_;
  bool corrupts_ = false;
  std::array<Side, 2> sides_;
  std::vector<std::unique_ptr<Move>> moves_;
  uint64_t epoch_ = 0;
  bool silenced_ = false;
  std::string first_broken_;  ///< found in a callback, thrown after it
};

}  // namespace haul::contract
