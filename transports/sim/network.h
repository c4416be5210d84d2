// The world's inside: nodes, links, the clock, and the one event queue.
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "base/random.h"
#include "haul/sim.h"
#include "haul/status.h"
#include "haul/time.h"
#include "packet.h"

namespace haul::sim {

class SimTransport;

struct WorldClock final : Clock {
  TimePoint time{std::chrono::seconds(1000)};
  TimePoint now() const noexcept override { return time; }
};

struct Node {
  std::string name;
  bool up = true;
  std::map<uint16_t, SimTransport*> listeners;
  uint16_t next_port = 49152;
};

/// One direction between two nodes.
struct Link {
  LinkOptions options;
  TimePoint busy_until{};  ///< when the last queued byte has left
};

/// Threading: one thread. Transports are not owned; they register and leave.
struct World::State {
  explicit State(uint64_t seed) : random(seed) {}

  TimePoint now() const noexcept { return clock.time; }
  std::optional<NodeIndex> find_node(std::string_view name) const;
  /// Aborts when there is none: a mistake in the test that builds the world.
  NodeIndex require_node(std::string_view name) const;
  /// Of the link that packets take now; a default where there is none.
  uint32_t mtu(NodeIndex from, NodeIndex to) const;

  /// Puts a packet on its link: it arrives later, twice, changed, or never.
  void send(Packet packet);
  /// Tells the sender of `packet` that nobody is there.
  void reply_reset(const Packet& packet);

  std::optional<TimePoint> next_event() const;
  /// Moves time (never back) and delivers everything that is due by then.
  void advance_to(TimePoint time);

  base::Random random;
  WorldClock clock;
  std::vector<Node> nodes;
  std::map<std::pair<NodeIndex, NodeIndex>, Link> links;
  std::set<std::pair<NodeIndex, NodeIndex>> partitions;    ///< smaller index first
  std::unordered_map<ConnectionId, SimTransport*> owners;  ///< looked up only, never walked
  std::vector<SimTransport*> transports;
  ConnectionId next_connection = 1;
  uint64_t hash = 0;
  uint64_t packets = 0;
  std::function<void(std::string_view)> trace;

 private:
  struct Arrival {
    TimePoint time;
    uint64_t order = 0;
    size_t slot = 0;
    bool operator>(const Arrival& other) const noexcept { return std::pair(time, order) > std::pair(other.time, other.order); }
  };

  bool partitioned(NodeIndex a, NodeIndex b) const;
  void schedule(TimePoint time, Packet packet);
  void deliver(Packet packet);
  void corrupt(Packet& packet);
  void record(std::string_view fate, const Packet& packet);

  std::vector<Arrival> arrivals_;  ///< a heap, earliest first
  std::vector<Packet> slots_;
  std::vector<size_t> free_slots_;
  uint64_t next_order_ = 0;
};

}  // namespace haul::sim
