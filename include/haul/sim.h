// The simulated backend: any number of engines in one process, joined by packet-level links, in virtual time.
// Fully deterministic: the same seed and the same calls give the same trace.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "haul/export.h"
#include "haul/time.h"
#include "haul/transport.h"

namespace haul {
class Engine;
}

namespace haul::sim {

/// One direction of a link. Packets that find the queue full are dropped (drop-tail).
struct LinkOptions {
  uint64_t rate_bytes_s = 125'000'000;  ///< 1 Gbit/s
  Duration delay = std::chrono::microseconds(50);
  uint64_t queue_bytes = 1U << 20;  ///< at most 16 GiB
  uint32_t mtu_bytes = 9000;
  double loss = 0;     ///< probability per packet, each
  double reorder = 0;  ///< … of being held back by reorder_delay
  Duration reorder_delay = std::chrono::microseconds(200);
  double duplicate = 0;
  double corrupt = 0;  ///< … of one payload bit flipping unnoticed by the link: end-to-end checksums must see it
};

/// What a transport under simulation pretends to be, so that the core's every path is exercised.
struct TransportOptions {
  Duration dead_after = std::chrono::seconds(5);  ///< without an acknowledgement, a connection closes as peer_lost
  uint32_t max_operation_bytes = 256U << 10;
  uint32_t max_operations = 256;
};

/// The world: nodes, links, the clock and the one random generator. Owns no transport or engine; must outlive them.
/// Threading: one thread.
class HAUL_API World {
 public:
  explicit World(uint64_t seed);
  ~World();
  World(const World&) = delete;
  World& operator=(const World&) = delete;

  /// Starts at an arbitrary non-zero time and moves only inside run().
  const Clock& clock() const noexcept;

  /// A machine, named as addresses name it ("a" is reached at Address{"a", port}). Names are unique.
  void add_node(std::string name);
  /// Joins two nodes, both directions alike; again: replaces the options for packets sent from now on.
  void link(std::string_view a, std::string_view b, const LinkOptions& options);
  /// As above, one direction.
  void link_one_way(std::string_view from, std::string_view to, const LinkOptions& options);
  /// Drops everything between two nodes, both ways, until healed.
  void partition(std::string_view a, std::string_view b);
  void heal(std::string_view a, std::string_view b);
  /// The node's transports go silent at once and for ever, as if power was cut: their engines should be
  /// destroyed or left unpolled.
  void crash(std::string_view node);
  /// A crashed node may start again: new transports on it work.
  void restart(std::string_view node);

  /// A transport on a node, for one engine.
  std::unique_ptr<Transport> make_transport(std::string_view node, const TransportOptions& options = {});

  /// Polls the engines in turn and moves time to the next event or deadline, until `until` is true or `limit` of virtual time
  /// passed. Returns until(). Engines may be any with this world's clock.
  bool run(std::span<Engine* const> engines, const std::function<bool()>& until, Duration limit);

  /// A running hash of every packet event (time, place, size, fate, bytes): equal traces have equal hashes.
  uint64_t trace_hash() const noexcept;
  uint64_t packets() const noexcept;
  /// Where set, every packet event is also described as a line of text. Transports still send when they are destroyed, so what
  /// the sink refers to must outlive them.
  void set_trace(std::function<void(std::string_view)> sink);

  /// The inside, for this backend's own sources and tests.
  struct State;
  State& state() noexcept { return *state_; }

 private:
  std::unique_ptr<State> state_;
};

}  // namespace haul::sim
