// An in-process fabric for the fake one-sided transport: its clock, its wires, its faults.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "base/random.h"
#include "haul/address.h"
#include "haul/time.h"
#include "haul/transport.h"

namespace haul::onesided {

class OneSidedTransport;
struct QueuePair;

/// Moves only when it is told to.
class ManualClock final : public Clock {
 public:
  TimePoint now() const noexcept override { return now_; }
  void advance(Duration step) { now_ += step; }

 private:
  TimePoint now_{std::chrono::seconds(1000)};
};

struct FabricOptions {
  std::string name = "onesided";  ///< Capabilities::name
  bool bootstraps = true;         ///< else endpoints must travel some other way
  uint32_t max_operation_bytes = 256U << 10;
  uint32_t max_operations = 64;                   ///< outstanding on one connection
  uint32_t max_messages = 32;                     ///< queued on one connection
  uint32_t completion_queue = 48;                 ///< completions of one transport that wait for poll(); more stall the wire
  uint32_t piece_bytes = 16U << 10;               ///< operations are placed in pieces of this size …
  uint32_t pieces_a_poll = 16;                    ///< … and so many a poll, over all operations of a connection
  Duration dead_after = std::chrono::seconds(2);  ///< work that makes no progress for so long fails its connection
};

/// Joins the transports of one test. Must outlive them. One thread; the same seed and calls give the same events.
class Fabric {
 public:
  explicit Fabric(uint64_t seed, FabricOptions options = {});
  ~Fabric();
  Fabric(const Fabric&) = delete;
  Fabric& operator=(const Fabric&) = delete;

  std::unique_ptr<Transport> make_transport(std::string_view node);
  const ManualClock& clock() const noexcept { return clock_; }
  void advance(Duration step) { clock_.advance(step); }

  // Faults. A break fails every connection between two nodes at once, as a port going down does.
  void break_connections(std::string_view a, std::string_view b);
  void partition(std::string_view a, std::string_view b) { cut_.insert(ordered(a, b)); }
  void heal(std::string_view a, std::string_view b) { cut_.erase(ordered(a, b)); }
  /// The node neither sends nor places anything from now on, and its transports report nothing.
  void crash(std::string_view node) { dead_.insert(std::string(node)); }
  void restart(std::string_view node) { dead_.erase(std::string(node)); }
  /// Completions of a node's operations are placed, but not reported until released.
  void hold_completions(std::string_view node, bool hold);
  /// One bit of each of the next placed operations flips, unnoticed by the fabric.
  void corrupt_operations(uint32_t count) { corrupt_left_ = count; }
  uint32_t corrupt_left() const noexcept { return corrupt_left_; }

  /// What users of the transport did wrong (a region destroyed while in use, …): a test requires that there is nothing.
  const std::vector<std::string>& defects() const noexcept { return defects_; }

 private:
  friend class OneSidedTransport;
  using Nodes = std::pair<std::string, std::string>;
  static Nodes ordered(std::string_view a, std::string_view b);
  bool reaches(const std::string& a, const std::string& b) const;
  QueuePair* find(uint64_t number) const;

  ManualClock clock_;
  FabricOptions options_;
  base::Random random_;
  std::map<uint64_t, QueuePair*> pairs_;  ///< by queue-pair number; owned by their transports
  std::map<Address, OneSidedTransport*> listeners_;
  std::set<OneSidedTransport*> transports_;
  std::set<Nodes> cut_;
  std::set<std::string> dead_;
  std::set<std::string> held_;
  std::vector<std::string> defects_;
  uint64_t next_number_ = 100;
  uint16_t next_port_ = 20000;
  uint32_t corrupt_left_ = 0;
};

}  // namespace haul::onesided
