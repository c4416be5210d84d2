// Two transports with a relay between that loses what it likes: all arrives all the same.
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <catch2/catch.hpp>
#include <vector>

#include "base/random.h"
#include "base/unique_fd.h"
#include "loopback.h"
#include "quic/ends.h"

namespace haul::quic {
namespace {

using namespace std::chrono_literals;
using security::test::Folder;
using security::test::Party;
using test::dial;
using test::End;
using test::run;

/// Between one dialing side and a listener. Loses by turns: nothing, some packets, all.
class Relay {
 public:
  Relay(uint16_t listener, uint64_t seed) : to_(haul::test::loopback(listener)), random_(seed) {
    sockaddr_in any = haul::test::loopback(0);
    for (const auto& socket : {socket_.get(), back_.get()}) {
      REQUIRE(::bind(socket, reinterpret_cast<const sockaddr*>(&any), sizeof(any)) == 0);
    }
    socklen_t bytes = sizeof(any);
    REQUIRE(::getsockname(socket_.get(), reinterpret_cast<sockaddr*>(&any), &bytes) == 0);
    port_ = ntohs(any.sin_port);
  }
  uint16_t port() const noexcept { return port_; }
  /// From now on it loses packets.
  void begin_losing() { losing_ = true; }

  void move(TimePoint now) {
    if (now >= turn_over_) {
      constexpr std::array<double, 4> chances = {0, 0.2, 0.6, 1};
      chance_ = losing_ ? chances[random_.below(chances.size())] : 0;
      turn_over_ = now + std::chrono::milliseconds(5 + random_.below(chance_ == 1 ? 80 : 30));
    }
    socklen_t bytes = sizeof(from_);
    for (ssize_t got = 0; (got = ::recvfrom(socket_.get(), packet_.data(), packet_.size(), MSG_DONTWAIT,
                                            reinterpret_cast<sockaddr*>(&from_), &bytes)) > 0;) {
      pass(back_.get(), to_, got);
    }
    for (ssize_t got = 0; (got = ::recv(back_.get(), packet_.data(), packet_.size(), MSG_DONTWAIT)) > 0;) {
      pass(socket_.get(), from_, got);
    }
  }

 private:
  void pass(int socket, const sockaddr_in& to, ssize_t bytes) {
    if (random_.chance(chance_)) return;
    ::sendto(socket, packet_.data(), static_cast<size_t>(bytes), 0, reinterpret_cast<const sockaddr*>(&to), sizeof(to));
  }

  base::UniqueFd socket_{::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0)};  // towards who dials
  base::UniqueFd back_{::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0)};
  sockaddr_in to_;
  sockaddr_in from_{};
  uint16_t port_ = 0;
  std::vector<std::byte> packet_ = std::vector<std::byte>(65536);
  base::Random random_;
  bool losing_ = false;
  double chance_ = 0;
  TimePoint turn_over_{};
};

struct Place {
  std::vector<std::byte> memory;
  std::unique_ptr<MemoryRegion> region;
  Place(Transport& transport, size_t bytes) : memory(bytes) {
    region = transport.register_memory(memory, MemoryKind::host).value();
  }
};

TEST_CASE("writes and reads complete, whatever is lost", "[quic]") {
  const uint64_t seed = GENERATE(1, 2, 3);
  CAPTURE(seed);
  constexpr uint32_t length = 60'000;
  constexpr uint64_t count = 60;
  const Folder folder;
  const Party alice(folder, "alice");
  const Party bob(folder, "bob");
  alice.knows(bob);
  bob.knows(alice);
  End a(&alice);
  End b(&bob);
  const auto address = b.transport->listen({"127.0.0.1", 0});
  REQUIRE(address.ok());
  Relay relay(address->port, seed);
  size_t completed = 0;
  size_t failed = 0;
  const auto step = [&] {
    relay.move(system_clock().now());
    for (Event& event : std::exchange(b.seen, {})) {
      if (event.kind == Event::Kind::landed) b.transport->answer(event.connection, event.id, {}, system_clock().now());
      if (event.kind == Event::Kind::accepted) b.seen.push_back(std::move(event));
    }
    for (const Event& event : a.seen) {
      if (event.kind != Event::Kind::completed) continue;
      ++completed;
      failed += event.status.ok() ? 0 : 1;
    }
    std::erase_if(a.seen, [](const Event& event) { return event.kind == Event::Kind::completed; });
  };
  const ConnectionId here = dial(a, {"127.0.0.1", relay.port()});
  REQUIRE(run({&a, &b}, [&] { return step(), a.last(Event::Kind::connected) && b.last(Event::Kind::accepted); }));
  const ConnectionId there = b.last(Event::Kind::accepted)->connection;

  Place source(*a.transport, count * length);
  Place target(*b.transport, count * length);
  base::Random random(seed);
  random.fill(source.memory);
  const auto granted = b.transport->grant(there, *target.region, {0, target.memory.size()}, Rights::read_write, TimePoint{});
  REQUIRE(granted.ok());
  relay.begin_losing();
  // By and by, so that there are pauses after which nothing else overtakes what was lost.
  for (uint64_t i = 0; i < count; ++i) {
    Operation operation;
    operation.op = i % 3 == 2 ? Op::read : Op::write;
    operation.id = i;
    operation.local = source.region.get();
    operation.local_offset = i * length;
    operation.remote = &granted->remote;
    operation.remote_offset = i * length;
    operation.length = 1 + static_cast<uint32_t>(random.below(length));
    REQUIRE(a.transport->post(here, std::span(&operation, 1), system_clock().now()) == 1);
    run(
        {&a, &b}, [&] { return step(), completed > i; }, std::chrono::milliseconds(1 + random.below(40)));
  }
  CHECK(run(
      {&a, &b}, [&] { return step(), completed == count; }, 20s));
  CHECK(completed == count);
  CHECK(failed == 0);
}

}  // namespace
}  // namespace haul::quic
