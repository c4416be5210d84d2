// Datagrams over links in virtual time: what the quic backend gets in place of sockets, a clock and the system's randomness.
//
// Hosts have IPv4 addresses, and may be behind a translator that gives their sockets other ones. The same seed and calls give
// the same datagrams at the same times, apart from their bytes, which are encrypted with keys that nobody here draws.
#pragma once

#include <array>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "base/random.h"
#include "haul/time.h"
#include "quic/surroundings.h"

namespace haul::links {

/// What a way does to the marks of all that passes (RFC 3168), beside what its queue does.
enum class Marks : uint8_t {
  kept,
  bleached,  ///< it takes them away
  changed,   ///< ECT(0) becomes ECT(1)
  spoilt,    ///< everything arrives as if there were congestion
};

/// One direction of a way between two hosts. Probabilities are for each datagram.
struct LinkOptions {
  uint64_t rate_bytes_s = 125'000'000;
  Duration delay = std::chrono::milliseconds(1);
  Duration jitter{};                 ///< up to so much more, without overtaking
  uint64_t queue_bytes = 1U << 20;   ///< what finds more waiting is dropped
  size_t most_payload_bytes = 1472;  ///< larger datagrams vanish; of Ethernet
  double loss = 0;
  double burst = 0;        ///< of a burst of losses to begin …
  double burst_end = 0.1;  ///< … and, once it has begun, to end …
  /// … which it does at the latest after so long: else a way with few datagrams on it would be gone for many seconds.
  Duration burst_longest = std::chrono::milliseconds(500);
  double reorder = 0;  ///< of being held back, so that others overtake
  Duration reorder_delay = std::chrono::milliseconds(5);
  double duplicate = 0;
  double corrupt = 0;                     ///< of one bit to flip
  Duration mark_above = Duration::max();  ///< what waits longer is marked with congestion, if its sender can be told so
  Marks marks = Marks::kept;
};

/// An address and port as numbers.
struct Place {
  uint32_t address = 0;
  uint16_t port = 0;
  auto operator<=>(const Place&) const = default;
};

/// A datagram as it was put on its link: all that is the same in every run of a seed.
struct Seen {
  TimePoint at;
  Place from;
  Place to;
  size_t bytes = 0;
  bool operator==(const Seen&) const = default;
};

/// Must outlive what it gave sockets to. Threading: one thread.
class Network {
 public:
  explicit Network(uint64_t seed);
  ~Network();
  Network(const Network&) = delete;
  Network& operator=(const Network&) = delete;

  const Clock& clock() const noexcept { return clock_; }

  /// A host's address, which names it from now on.
  std::string add_host();
  /// For a transport on that host.
  quic::Surroundings surroundings(const std::string& host);

  /// Of every way that has no options of its own.
  void set_links(const LinkOptions& options) { everywhere_ = options; }
  void set_link(const std::string& from, const std::string& to, const LinkOptions& options);

  /// Whoever is on the way: hears of each datagram that reached a host, with the places that it shows.
  using Tap = std::function<void(Place from, Place to, std::span<const std::byte> bytes)>;
  void set_tap(Tap tap) { tap_ = std::move(tap); }
  /// What says to come from there arrives at once, if there is a socket.
  void inject(Place from, Place to, std::span<const std::byte> bytes) {
    schedule(clock_.time, {.from = from, .to = to, .bytes = {bytes.begin(), bytes.end()}});
  }

  // Faults.
  /// Nothing passes between the two, until healed.
  void cut(const std::string& a, const std::string& b);
  void heal(const std::string& a, const std::string& b);
  /// Nothing reaches or leaves the sockets that the host has now. Later ones work.
  void crash(const std::string& host);
  /// The host's sockets have other ports to the outside from now on (`moves`: and another address); what is sent to the ones
  /// before is lost. The first call puts the host behind a translator.
  void rebind(const std::string& host, bool moves);

  /// Runs `poll`, which answers how much it did, and moves time to the next arrival or to `next`, until `until` is true or
  /// `limit` has passed. Returns until().
  bool run(const std::function<size_t()>& poll, const std::function<std::optional<TimePoint>()>& next,
           const std::function<bool()>& until, Duration limit);

  /// A running hash of all that Seen has.
  uint64_t trace_hash() const noexcept { return hash_; }
  uint64_t datagrams() const noexcept { return datagrams_; }
  /// Of them, those that a queue marked with congestion, and those that found it full.
  uint64_t marked() const noexcept { return marked_; }
  uint64_t refused() const noexcept { return refused_; }
  /// What passes is kept, if set.
  void record(bool on) { recording_ = on; }
  const std::vector<Seen>& recorded() const noexcept { return recorded_; }
  /// How often something asked to be polled at once, many times, and then neither told, sent nor received anything.
  uint64_t spins() const noexcept { return spins_; }

 private:
  class Socket;
  struct Host;
  struct Link {
    LinkOptions options;
    bool own = false;  // options
    TimePoint busy_until{};
    TimePoint last_arrival{};
    bool in_burst = false;
    TimePoint burst_began{};
  };
  struct Arrival {
    Place from;
    Place to;
    uint8_t ecn = 0;
    std::vector<std::byte> bytes;
  };
  struct OwnClock final : Clock {
    TimePoint time{std::chrono::seconds(1000)};
    TimePoint now() const noexcept override { return time; }
  };

  Result<std::unique_ptr<quic::DatagramSocket>> open(Host& host, const net::Endpoint& local);
  void send(Host& host, uint16_t port, const quic::Burst& burst);
  void send_one(Host& host, Place from, Place to, std::span<const std::byte> bytes, uint8_t ecn);
  void schedule(TimePoint at, Arrival arrival);
  void deliver(Arrival arrival);
  void advance_to(TimePoint time);
  Host& host_named(const std::string& name);
  /// Whose address it is now.
  Host* host_at(uint32_t address);
  Place outside(Host& host, uint16_t port);
  bool is_cut(uint32_t a, uint32_t b) const;
  Link& link(const Host& from, const Host& to);
  void note(const Seen& seen);

  base::Random random_;
  OwnClock clock_;
  LinkOptions everywhere_;
  std::vector<std::unique_ptr<Host>> hosts_;
  std::map<std::pair<uint32_t, uint32_t>, Link> links_;     // by the hosts' own addresses
  std::set<std::pair<uint32_t, uint32_t>> cuts_;            // smaller address first
  std::map<std::pair<TimePoint, uint64_t>, Arrival> ways_;  // by time, then in order of sending
  uint64_t next_order_ = 0;
  uint64_t hash_ = 0;
  uint64_t datagrams_ = 0;
  uint64_t marked_ = 0;
  uint64_t refused_ = 0;
  uint64_t delivered_ = 0;
  uint64_t spins_ = 0;
  Tap tap_;
  bool recording_ = false;
  std::vector<Seen> recorded_;
};

}  // namespace haul::links
