// Steps bare simulated transports through virtual time and plays the core's part: collects events, verifies, answers.
#pragma once

#include <functional>
#include <initializer_list>
#include <memory>
#include <string>
#include <vector>

#include "haul/sim.h"
#include "haul/transport.h"

namespace haul::sim::test {

using std::chrono::microseconds;
using std::chrono::milliseconds;
using std::chrono::seconds;

std::vector<std::byte> pattern(size_t bytes, uint64_t seed);
std::span<const std::byte> as_bytes(std::string_view text);
/// Compares without printing megabytes when it fails.
inline bool same(const std::vector<std::byte>& a, const std::vector<std::byte>& b) { return a == b; }

/// One transport and everything it said.
class End {
 public:
  End(World& world, std::string_view node, const TransportOptions& options = {});

  Transport& transport() { return *transport_; }
  TimePoint now() const { return world_.clock().now(); }
  /// Polls with a span of `span_size` events; returns whether anything happened.
  bool poll();

  std::unique_ptr<MemoryRegion> memory(std::vector<std::byte>& bytes);
  /// Opens and joins by address.
  ConnectionId connect(const Address& address, Duration timeout = seconds(10));
  RemoteRegion grant(ConnectionId connection, const MemoryRegion& region, Rights rights = Rights::read_write);
  /// Posts one write or read of [offset, offset + length) of both regions, with a checksum. False: back-pressure.
  bool post(ConnectionId connection, uint64_t id, Op op, const MemoryRegion& local, const RemoteRegion& remote, uint64_t offset,
            uint32_t length);

  size_t count(Event::Kind kind) const;
  /// The first event of this kind; a failed check if there is none.
  const Event& first(Event::Kind kind) const;
  /// The end of operation `id`: a failed check unless it completed exactly once.
  const Event& completion(uint64_t id) const;
  bool completed(uint64_t id) const;

  std::vector<Event> events;  ///< payloads of messages are gone: see `messages`
  std::vector<std::string> messages;
  size_t span_size = 64;
  bool answers = true;  ///< false: the test answers `landed` itself
  uint64_t last_grant = 0;

 private:
  void take(const Event& event);

  World& world_;
  std::unique_ptr<Transport> transport_;
};

/// Polls the ends and moves time until `until` is true. False: the limit passed first.
bool run(World& world, std::initializer_list<End*> ends, const std::function<bool()>& until, Duration limit = seconds(60));
/// Lets this much time pass.
void settle(World& world, std::initializer_list<End*> ends, Duration time);

/// Two nodes "a" and "b" on one link, a connection from a to b, and memory of b granted to a.
struct Pair {
  explicit Pair(uint64_t seed, const LinkOptions& link = {}, const TransportOptions& options = {}, size_t bytes = 1U << 20);

  bool run(const std::function<bool()>& until, Duration limit = seconds(60)) {
    return test::run(world, {&a, &b}, until, limit);
  }
  /// Writes (or reads) `bytes` in operations of `piece`, ids 1 …; waits for all. False: the time was not enough.
  bool move(Op op, uint32_t piece, Duration limit = seconds(60));
  void post_all(Op op, uint32_t piece, uint64_t& next, uint64_t operations);

  World world;
  std::vector<std::byte> near;  ///< a's memory
  std::vector<std::byte> far;   ///< b's memory
  End a;
  End b;
  ConnectionId from_a = 0;
  ConnectionId from_b = 0;
  std::unique_ptr<MemoryRegion> near_region;
  std::unique_ptr<MemoryRegion> far_region;
  RemoteRegion remote;
};

}  // namespace haul::sim::test
