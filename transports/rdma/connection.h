// One queue pair, from set-up to its end. connection.cc (life), connection_send.cc (what is posted), connection_receive.cc
// (what completes and arrives), connection_grants.cc (memory that the peer may use).
#pragma once

#include <array>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <unordered_map>
#include <vector>

#include "base/range_set.h"
#include "haul/rdma.h"
#include "haul/transport.h"
#include "rdma/events.h"
#include "rdma/memory.h"
#include "rdma/rails.h"
#include "rdma/verbs.h"
#include "rdma/wire.h"

namespace haul::rdma {

/// What connections share with their transport.
struct Context {
  Options options;
  Events events;
  std::shared_ptr<MemoryBook> book = std::make_shared<MemoryBook>();
};

class Connection {
 public:
  Connection(Context& context, ConnectionId id, Port& port, const ConnectOptions& options);
  ~Connection();
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;

  /// Makes the queue pair. Errors: exhausted (queue pairs, memory), internal.
  Status open(uint64_t secret, uint32_t packet_number);
  std::vector<std::byte> endpoint() const { return wire::encode(own_); }
  /// Errors: invalid (malformed, another link).
  Status join(std::span<const std::byte> peer_endpoint, TimePoint now);
  void close(CloseMode mode);
  Result<LocalGrant> grant(const MemoryRegion& region, Range range, Rights rights);
  void revoke(uint64_t grant_id, TimePoint now);
  size_t post(std::span<const Operation> operations, TimePoint now);
  void answer(uint64_t id, const Status& status);
  void cancel(uint64_t id);
  bool send(std::span<const std::byte> message);
  void set_limits(const Limits& limits);

  PathSample sample() const;
  std::string describe() const;
  std::optional<TimePoint> next_deadline() const;
  bool over() const { return state_ == State::over; }
  /// What it is made of may go, without waiting for anything: it is over, and so is the kernel's search for its peer.
  bool may_go() const { return over() && !connecting_; }
  const Port& port() const { return port_; }
  uint32_t queue_pair() const { return queue_pair_ ? queue_pair_->number() : 0; }
  const CompletionQueue* completions() const { return completions_.get(); }

  /// One poll's share: takes completions, looks at the time, posts what may be posted.
  void progress(TimePoint now, NextPoll next);
  /// Ends this side: what is outstanding completes as peer_lost, the queue pair is destroyed, `closed` follows.
  void end(const Status& why);
  /// The device told why the queue pair failed, or will.
  void on_async_error(const Status& why) { async_error_ = why; }
  /// The device refused the peer an access to our memory.
  void on_access_error() { async_error_ = access_error(); }
  bool waits_for_reason() const { return flushed_at_.has_value(); }

 private:
  enum class State : uint8_t { opened, connecting, joining, ready, over };

  /// An operation of ours.
  struct Outgoing {
    Op op = Op::write;
    uint64_t id = 0;
    uint64_t tag = 0;
    std::span<std::byte> local;
    std::shared_ptr<Registered> memory;
    wire::RemoteKey key;
    uint64_t remote_offset = 0;
    std::optional<uint32_t> crc32c;
    bool doubted = false;  ///< a read for which nobody asked a checksum, but the device needs one (DeviceInfo::proves_reads)
    std::optional<Immediate> immediate;
    bool placed = false;    ///< the device is done with it
    bool answered = false;  ///< so is the peer, where it is asked
    std::optional<uint32_t> told_crc32c;
    Status outcome;
  };
  using Operations = std::unordered_map<uint32_t, Outgoing>;  // by number
  /// A request that the device has, in order.
  struct Posted {
    enum class Kind : uint8_t { write, read, bundle, bind, invalidate };
    Kind kind = Kind::bundle;
    uint32_t subject = 0;  ///< operation, slot or grant
    bool last = true;      ///< of the operation's requests
  };
  struct Grant {
    /// asked: the peer is to let go of it; taking: the device is to; proving: nothing that began before may be under way.
    enum class State : uint8_t { standing, asked, taking, proving };
    State state = State::standing;
    std::shared_ptr<Registered> memory;
    std::span<std::byte> range;
    wire::RemoteKey key;
    std::vector<std::unique_ptr<MemoryWindow>> windows;
    std::vector<std::unique_ptr<RegisteredRange>> ranges;  ///< without windows
    size_t invalidations_left = 0;
    TimePoint deadline;  ///< of `asked` and `proving`
  };
  struct Arrived {
    uint32_t slot = 0;
    uint32_t bytes = 0;
    std::optional<Immediate> immediate;  ///< absent: the slot has a bundle
  };
  struct Batch {
    std::vector<WorkRequest> requests;
    std::vector<Posted> posted;
    void add(const WorkRequest& request, const Posted& what) {
      requests.push_back(request);
      posted.push_back(what);
    }
    /// Forgets all but the first ones.
    void shorten(size_t to) {
      requests.resize(to);
      posted.resize(to);
    }
  };
  static constexpr uint64_t receive_bit = uint64_t{1} << 63;  // in the ids of receives

  // connection.cc
  std::span<std::byte> receive_slot(uint32_t slot);
  std::span<std::byte> send_slot(uint32_t slot);
  static uint64_t receive_id(uint32_t slot) { return receive_bit | slot; }
  PathTo path_to_peer() const;
  void look_for_connected();
  void on_queue_pair_connected(const Status& outcome);
  void become_ready();
  void check_time(TimePoint now);
  void check_bye();
  void report(Event::Kind kind, uint64_t id, Status status = {});
  void finish(Outgoing& operation, Status status);
  void finish_if_over(uint32_t number);
  DomainMemory& memory() const { return own_memory_ ? *own_memory_ : *port_.owner->memory; }
  bool has_windows() const { return port_.owner->windows; }
  uint64_t window_bytes() const { return limits_.window_bytes.value_or(context_.options.window_bytes); }

  void let_go();
  Status access_error() const;
  void fail_port();

  // connection_send.cc
  Operations::node_type new_operation();
  void retire_operation(Operations::node_type node);
  Status check(const Operation& operation, Outgoing& outgoing);
  bool room_for(uint64_t bytes) const;
  uint32_t credits() const { return wire::slots - (sent_ - peer_received_); }
  bool bundle_is_due() const;
  bool has_unsent() const;
  size_t queue_room(const Batch& batch) const;
  void flush(TimePoint now);
  void fill(Batch& batch);
  void add_binds(Batch& batch);
  void add_invalidations(Batch& batch);
  void add_records(wire::BundleWriter& bundle);
  void add_operations(Batch& batch, wire::BundleWriter& bundle);
  bool add_operation(Batch& batch, wire::BundleWriter& bundle, uint32_t number, const Outgoing& operation);
  void add_messages(wire::BundleWriter& bundle);
  void add_bundle(Batch& batch, wire::BundleWriter& bundle, uint32_t slot);
  bool post_batch(Batch& batch);
  void pace(uint64_t bytes);
  void tell_writable();
  void owe(const wire::Record& record);

  // connection_receive.cc
  void take_completions(NextPoll next);
  bool drain_completions();
  void on_completion(const Completion& completion);
  void on_failure(const Completion& completion);
  void retire(uint64_t through);
  void on_receive(const Completion& completion);
  void read_deferred();
  void post_receives();
  void read(const Arrived& arrived);
  void read_immediate(const Arrived& arrived);
  void read_records(const Arrived& arrived);
  bool has_room_for_another();
  void on_record(const wire::Hello& hello);
  void on_record(const wire::Landing& landing);
  void on_record(const wire::Answer& answer);
  void on_record(const wire::Question& question);
  void on_record(const wire::Message& message);
  void on_record(const wire::GrantsBound& bound);
  void on_record(const wire::Revoke& revoke);
  void on_record(const wire::Released& released);
  void on_record(const wire::Fence& fence);
  void on_record(const wire::Fenced& fenced);
  void on_record(const wire::Bye& bye);
  void broken(const std::string& what);

  // connection_grants.cc
  Status make_windows(Grant& grant);
  Status make_ranges(Grant& grant, Rights rights);
  void take_back(uint32_t number, Grant& grant);
  void force_back(uint32_t number, Grant& grant);
  void on_invalidated(uint32_t number);
  void prove_quiet(uint32_t number, Grant& grant);
  void ask_back();
  void give_up(uint32_t number);
  /// Empty, and the connection ended, where the peer has no right to say what it says; empty alone: taken back since.
  std::span<std::byte> granted(uint32_t number, uint64_t offset, uint32_t length, Rights wanted);
  void used_once_less(uint32_t number);
  void release_if_unused(uint32_t number);

  Context& context_;
  ConnectionId id_;
  Port& port_;
  ConnectOptions options_;
  State state_ = State::opened;
  wire::Endpoint own_;
  wire::Endpoint peer_;
  TimePoint join_deadline_;
  TimePoint now_;
  Limits limits_;

  // In the order in which they are made; destroyed in reverse.
  std::unique_ptr<ProtectionDomain> own_domain_;  // without windows
  std::unique_ptr<DomainMemory> own_memory_;
  std::vector<std::byte> buffers_;
  std::unique_ptr<RegisteredRange> buffers_range_;
  std::unique_ptr<CompletionQueue> completions_;
  std::unique_ptr<QueuePair> queue_pair_;
  bool connecting_ = false;  // the queue pair is not to be touched

  // Ours.
  Operations flying_;
  std::deque<Operations::node_type> queued_;
  std::vector<Operations::node_type> spare_;  // of what is over, so that the next ones need not be fetched from the heap
  uint32_t next_operation_ = 1;
  uint64_t unfinished_bytes_ = 0;
  std::deque<std::vector<std::byte>> messages_;
  size_t message_bytes_ = 0;
  std::deque<wire::Record> records_;  // without payload of their own
  uint32_t owed_ = 0;                 // of them, those that the peer made us queue
  uint32_t answers_owed_ = 0;         // of those, answers
  // Owes a `writable`, once an operation of this size, or a message, would be taken.
  std::optional<uint64_t> refused_bytes_;
  bool refused_message_ = false;
  bool dirty_ = false;   // something was queued that only flush() starts
  TimePoint next_post_;  // pacing

  // The send queue.
  Batch batch_;  // the one being made; kept for its memory
  std::deque<Posted> posted_;
  uint64_t first_posted_ = 0;  // the id of posted_.front()
  uint32_t send_requests_ = 0;
  std::vector<uint32_t> free_slots_;
  // Of what takes a receive: bundles, and writes with an immediate.
  uint32_t sent_ = 0;
  uint32_t peer_received_ = 0;

  // Arrivals.
  std::array<Completion, 64> taken_;  // those just polled; kept, as making them anew costs each poll
  std::deque<Arrived> deferred_;      // those that wait until the caller took what came before
  std::vector<uint32_t> emptied_;     // slots that were read, and whose receives are not posted again yet
  uint32_t received_ = 0;             // of those that were
  uint32_t told_received_ = 0;
  std::set<uint64_t> landed_;  // not answered yet
  uint32_t grants_bound_ = 0;  // of the peer's
  base::RangeSet revoked_keys_;
  std::map<uint32_t, uint32_t> key_uses_;
  std::set<uint32_t> to_release_;

  // Grants to the peer.
  std::map<uint32_t, Grant> grants_;
  uint32_t last_grant_ = 0;
  std::deque<uint32_t> to_bind_;
  std::deque<uint32_t> to_invalidate_;
  std::deque<uint32_t> to_ask_back_;
  uint32_t asked_back_ = 0;
  bool forced_ = false;  // a key was taken that the peer may honestly be using
  uint32_t bound_ = 0;
  uint32_t told_bound_ = 0;

  // The end.
  bool answered_hello_ = false;  // the passive side's: its own is on the way
  bool closing_ = false;
  bool bye_sent_ = false;
  bool bye_heard_ = false;
  Status async_error_;
  bool probe_ = false;                   // a bundle is to go out, though it be empty
  std::optional<TimePoint> flushed_at_;  // the queue pair failed, and why is not known yet

  // Signs of life.
  TimePoint last_heard_;
  TimePoint last_sent_;
  uint64_t bytes_sent_ = 0;
  uint64_t bytes_received_ = 0;
  uint64_t bytes_acknowledged_ = 0;
};

}  // namespace haul::rdma
