// Two ends joined by simulated links, with traffic both ways, and faults at set times.
#pragma once

#include <functional>
#include <map>
#include <string>
#include <vector>

#include "contract/transport_rig.h"

namespace haul::quic_sim {

using links::LinkOptions;

/// 100 Mbit/s and a round trip of 20 ms: the bandwidth-delay product is 250 kB.
inline LinkOptions way() {
  LinkOptions links;
  links.rate_bytes_s = 12'500'000;
  links.delay = std::chrono::milliseconds(10);
  return links;
}

/// x dials y. Each granted its arena to the other.
class Scene {
 public:
  struct Options {
    uint64_t seed = 1;
    LinkOptions links = {};
    Duration dead_after = std::chrono::seconds(10);
    uint32_t udp_payload_bytes = 0;
    bool translated = false;  ///< x is behind a translator from the start
    size_t arena_bytes = 2U << 20;
    std::string controller = "hub";
    uint64_t renew_keys_bytes = quic::Options().renew_keys_bytes;
    Duration renew_keys_after = quic::Options().renew_keys_after;
    bool resets_across_restarts = false;
    std::string qlog_folder = {};
    LogSink log = {};
  };
  explicit Scene(const Options& options);

  links::Network& network() { return harness.network(); }
  std::string x_host() const { return harness.host("x"); }
  std::string y_host() const { return harness.host("y"); }
  TimePoint now() const { return rig.now(); }

  /// Done once, so much later than now.
  void later(Duration after, std::function<void()> fault) { faults_.emplace(now() + after, std::move(fault)); }
  /// As Rig::run, with faults at their times.
  bool run(const std::function<bool()>& until, Duration limit);
  void run_for(Duration time) {
    run([] { return false; }, time);
  }

  contract::QuicSimHarness harness;
  contract::Rig rig;
  contract::Rig::Link link;
  const MemoryRegion& x_local;
  const MemoryRegion& x_arena;
  const MemoryRegion& y_local;
  const MemoryRegion& y_arena;
  LocalGrant x_granted;
  LocalGrant y_granted;

 private:
  std::multimap<TimePoint, std::function<void()>> faults_;
};

/// What one end asks of the other: operations in slots of their own with gaps between them, and messages.
class Traffic {
 public:
  enum class Kind : uint8_t { writes, reads, small, messages, mixed };

  /// `from_x`: x asks, else y. About so many bytes.
  Traffic(Scene& scene, bool from_x, Kind kind, uint64_t bytes, uint64_t seed);

  /// One more operation, behind all others.
  void add_operation(Op op, uint32_t length);
  /// Hands over what is taken now; between polls.
  void pump();
  bool done() const noexcept;
  /// All is where it belongs, and nothing elsewhere changed. Operations and messages have ended well.
  void check() const;
  uint64_t operations() const noexcept { return operations_.size(); }
  /// Operations that ended, well or not, until the last pump().
  uint64_t ended() const noexcept { return ended_; }

 private:
  void add_message(size_t bytes);

  Scene& scene_;
  bool from_x_;
  contract::End& here_;
  contract::End& there_;
  base::Random random_;
  const MemoryRegion& local_;
  std::span<std::byte> remote_;
  RemoteRegion granted_;
  uint64_t place_ = 0;
  std::vector<Operation> operations_;
  size_t posted_ = 0;
  std::vector<std::vector<std::byte>> messages_;
  size_t sent_ = 0;
  // What was looked at of the ends' events, and found there.
  size_t looked_here_ = 0;
  size_t looked_there_ = 0;
  uint64_t ended_ = 0;
  uint64_t delivered_ = 0;
  std::vector<std::byte> expected_here_;
  std::vector<std::byte> expected_there_;
};

/// Runs until all of it is done, which must be so within `limit`, and checks it.
void finish(Scene& scene, std::vector<Traffic*> all, Duration limit);

}  // namespace haul::quic_sim
