// A fake of RDMA devices and of the fabric between them, inside one process: for the rdma backend's tests.
//
// It checks what devices check (keys, ranges, rights, domains, queue pairs of windows) and breaks as they break. Work
// moves in step(), in order on each queue pair. The same seed and calls give the same events.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "base/random.h"
#include "haul/time.h"
#include "rdma/verbs.h"

namespace haul::verbs {

class FakeDevice;
class FakeQueuePair;

/// Of every device of a fabric.
struct FabricOptions {
  std::vector<std::string> devices = {"fake0"};  ///< each node has these, with one port each
  bool subnets_apart = false;                    ///< devices reach only those of the same name
  bool windows = true;
  bool stops_messages = true;  ///< a key taken back stops the message that uses it
  bool proves_reads = true;    ///< see Fabric::lose_reads
  bool on_demand_paging = false;
  bool dma_buf = false;
  uint64_t max_window_bytes = uint64_t{1} << 62;
  uint32_t piece_bytes = 16U << 10;                          ///< messages are placed in pieces of this size …
  uint32_t pieces_a_step = 16;                               ///< … and so many a step and queue pair
  Duration gives_up_after = std::chrono::milliseconds(500);  ///< retries of what is not acknowledged
  uint64_t lock_limit_bytes = UINT64_MAX;                    ///< registering more fails with ENOMEM
};

class Fabric {
 public:
  explicit Fabric(const Clock& clock, uint64_t seed = 1, FabricOptions options = {});
  ~Fabric();
  Fabric(const Fabric&) = delete;
  Fabric& operator=(const Fabric&) = delete;

  std::shared_ptr<rdma::Verbs> make_verbs(const std::string& node);

  /// Moves what can move; false when nothing did.
  bool step();
  /// When something fails for want of an answer.
  std::optional<TimePoint> next_deadline() const;

  // Faults.
  void partition(const std::string& a, const std::string& b) { cut_.insert(ordered(a, b)); }
  void heal(const std::string& a, const std::string& b) { cut_.erase(ordered(a, b)); }
  void crash(const std::string& node) { dead_.insert(node); }
  void set_port(const std::string& node, const std::string& device, bool up);
  /// The node's queue pairs start and continue nothing of their own.
  void hold(const std::string& node, bool held);
  /// Nothing passes the device's port any more, which stays up; or again.
  void silence_port(const std::string& node, const std::string& device, bool silent);
  /// The port gets another address, and says so.
  void change_gid(const std::string& node, const std::string& device);
  /// The device says so, and does nothing any more.
  void remove_device(const std::string& node, const std::string& device);
  /// The node's next message comes with immediate data, and without a payload.
  void send_next_as_immediate(const std::string& node) { immediate_next_.insert(node); }
  /// Queue pairs that the node connects from now on are not connected before this ends.
  void slow_connects(const std::string& node, bool slow);
  /// Connecting ends so from now on.
  void fail_connects(const std::string& node, const Status& status) { failing_connects_[node] = status; }
  /// The next request of this node that would be carried out ends so instead, and its queue pair is in error.
  void fail_next(const std::string& node, rdma::Outcome outcome) { fail_next_[node] = outcome; }
  /// All completion queues of the node overrun.
  void overrun(const std::string& node);
  /// All queue pairs of the node go to error, without a word.
  void break_queue_pairs(const std::string& node);
  void corrupt_writes(uint32_t count) { corrupt_left_ = count; }
  /// As many reads end as ok without their bytes.
  void lose_reads(uint32_t count) { lost_reads_left_ = count; }

  const std::vector<std::string>& defects() const { return defects_; }
  uint64_t registered_bytes() const { return registered_bytes_; }
  size_t queue_pairs() const { return queue_pairs_.size(); }
  /// How often the end of a queue pair had to wait until it was connected.
  uint32_t waits_for_connects() const { return waits_for_connects_; }
  uint32_t dma_bufs() const { return dma_bufs_; }
  uint32_t registrations() const { return registrations_; }
  uint32_t on_demand_registrations() const { return on_demand_registrations_; }

 private:
  friend class FakeVerbs;
  friend class FakeDevice;
  friend class FakeDomain;
  friend class FakeRange;
  friend class FakeWindow;
  friend class FakeCompletionQueue;
  friend class FakeQueuePair;
  using Nodes = std::pair<std::string, std::string>;
  static Nodes ordered(const std::string& a, const std::string& b) { return a < b ? Nodes(a, b) : Nodes(b, a); }
  void tell(const std::string& path, const rdma::AsyncEvent& event);
  bool reaches(const FakeQueuePair& from, const FakeQueuePair& to) const;

  const Clock& clock_;
  FabricOptions options_;
  base::Random random_;
  std::map<uint32_t, FakeQueuePair*> queue_pairs_;
  std::set<FakeDevice*> devices_;
  std::map<std::string, rdma::Gid> gids_;  // "node/device" -> address
  std::set<std::string> down_;             // "node/device"
  std::set<Nodes> cut_;
  std::set<std::string> dead_;
  std::set<std::string> held_;
  std::set<std::string> silent_;   // "node/device"
  std::set<std::string> removed_;  // "node/device"
  std::set<std::string> immediate_next_;
  std::set<std::string> slow_connects_;
  std::map<std::string, Status> failing_connects_;
  std::map<std::string, rdma::Outcome> fail_next_;
  std::vector<std::string> defects_;
  uint32_t next_number_ = 0x11;
  uint32_t next_key_ = 0x100;
  uint64_t registered_bytes_ = 0;
  uint32_t waits_for_connects_ = 0;
  uint32_t dma_bufs_ = 0;
  uint32_t registrations_ = 0;
  uint32_t on_demand_registrations_ = 0;
  uint32_t corrupt_left_ = 0;
  uint32_t lost_reads_left_ = 0;
};

}  // namespace haul::verbs
