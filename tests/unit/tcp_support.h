// Two tcp transports in one thread, driven by hand, and a raw socket that speaks the framing.
#pragma once

#include <poll.h>
#include <sys/socket.h>

#include <array>
#include <catch2/catch.hpp>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/random.h"
#include "base/unique_fd.h"
#include "haul/tcp.h"
#include "haul/time.h"
#include "io_ways.h"
#include "tcp/wire.h"

namespace haul::tcp::test {

inline constexpr Duration patience = std::chrono::seconds(10);

struct Seen {
  Event::Kind kind;
  ConnectionId connection;
  uint64_t id;
  uint64_t tag;
  std::vector<std::byte> payload;
  const std::byte* place;
  std::optional<uint32_t> crc32c;
  Status status;
};

/// One transport and what it told so far. Landed writes are answered at once unless `answers` is off.
class Side {
 public:
  explicit Side(Options options) {
    auto made = make_transport(std::move(options));
    INFO(made.status().to_string());
    REQUIRE(made.ok());
    transport = std::move(*made);
  }

  static TimePoint now() { return system_clock().now(); }

  void step() {
    std::array<Event, 64> events;
    const size_t count = transport->poll(now(), NextPoll::when_woken, events);
    for (size_t i = 0; i < count; ++i) {
      const Event& event = events[i];
      seen.push_back({event.kind,
                      event.connection,
                      event.id,
                      event.tag,
                      {event.payload.begin(), event.payload.end()},
                      event.payload.data(),
                      event.crc32c,
                      event.status});
      if (event.kind == Event::Kind::landed && answers) transport->answer(event.connection, event.id, answer, now());
    }
  }

  size_t count(Event::Kind kind) const {
    size_t number = 0;
    for (const Seen& event : seen) number += event.kind == kind ? 1U : 0U;
    return number;
  }
  const Seen* find(Event::Kind kind, std::optional<uint64_t> id = {}) const {
    for (const Seen& event : seen) {
      if (event.kind == kind && (!id || event.id == *id)) return &event;
    }
    return nullptr;
  }
  const Seen* completed(uint64_t id) const { return find(Event::Kind::completed, id); }

  std::unique_ptr<Transport> transport;
  std::vector<Seen> seen;
  bool answers = true;
  Status answer;
};

/// Polls the sides in turn until the condition holds. False: it did not within the time.
inline bool run(std::initializer_list<Side*> sides, const std::function<bool()>& until, Duration limit = patience) {
  const TimePoint end = Side::now() + limit;
  while (!until()) {
    if (Side::now() > end) return false;
    for (Side* side : sides) side->step();
  }
  return true;
}

inline Options options_for(Io io) {
  Options options;
  options.io = io;
  return options;
}

/// A connected pair.
struct Pair {
  explicit Pair(Io io) : Pair(options_for(io), options_for(io)) {}
  Pair(Options active, Options passive, const std::string& host = "127.0.0.1") : a(std::move(active)), b(std::move(passive)) {
    auto bound = b.transport->listen({host, 0});
    INFO(bound.status().to_string());
    REQUIRE(bound.ok());
    address = *bound;
    connect();
  }

  void connect() {
    auto end = a.transport->open({.address = address}, Side::now());
    REQUIRE(end.ok());
    at_a = end->connection;
    REQUIRE(a.transport->join(at_a, {}, Side::now()).ok());
    REQUIRE(run({&a, &b}, [&] { return a.find(Event::Kind::connected) && b.find(Event::Kind::accepted); }));
    at_b = b.find(Event::Kind::accepted)->connection;
  }
  bool run_until(const std::function<bool()>& until, Duration limit = patience) { return run({&a, &b}, until, limit); }

  Side a;
  Side b;
  Address address;  // that b listens at
  ConnectionId at_a = 0;
  ConnectionId at_b = 0;
};

/// Memory with a region, filled with random bytes.
struct Memory {
  Memory(Side& side, size_t bytes, uint64_t seed) : data(bytes) {
    base::Random(seed).fill(data);
    auto made = side.transport->register_memory(data, MemoryKind::host);
    REQUIRE(made.ok());
    region = std::move(*made);
  }
  std::vector<std::byte> data;
  std::unique_ptr<MemoryRegion> region;
};

inline LocalGrant grant_all(Side& side, ConnectionId connection, const Memory& memory, Rights rights = Rights::read_write) {
  auto made = side.transport->grant(connection, *memory.region, {0, memory.data.size()}, rights, Side::now());
  REQUIRE(made.ok());
  return *made;
}

inline Operation operation(Op op, uint64_t id, const Memory& local, uint64_t local_offset, const RemoteRegion& remote,
                           uint64_t remote_offset, uint32_t length) {
  Operation made;
  made.op = op;
  made.id = id;
  made.tag = id + 1000;
  made.local = local.region.get();
  made.local_offset = local_offset;
  made.remote = &remote;
  made.remote_offset = remote_offset;
  made.length = length;
  return made;
}

/// A plain blocking socket for speaking the framing by hand, with a time limit on every call.
class RawSocket {
 public:
  static RawSocket connect_to(const Address& address);
  static RawSocket listen_on_loopback(Address& bound);
  RawSocket accept_one();
  static bool ipv6_works();

  bool send(std::span<const std::byte> bytes);
  bool send(const wire::Preface& preface);
  bool send(const wire::FrameHeader& header);
  /// Exactly so many bytes, or as many as came before the end or the time limit.
  std::vector<std::byte> receive(size_t bytes);
  /// Something can be received (or accepted) now.
  bool readable() const;
  /// The peer closed or reset the connection within the time limit.
  bool ended();
  void close() { fd_.reset(); }
  int fd() const { return fd_.get(); }

 private:
  explicit RawSocket(int fd);
  base::UniqueFd fd_;
};

/// A preface with the limits of a normal peer.
inline wire::Preface normal_preface() {
  return {.kind = wire::PrefaceKind::bootstrap, .max_payload_bytes = 4U << 20, .max_message_bytes = 16U << 10, .credits = 4096};
}

}  // namespace haul::tcp::test
