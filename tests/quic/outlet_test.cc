// What was written leaves, however full the socket is and whatever it can't do.
#include "quic/outlet.h"

#include <sys/socket.h>

#include <algorithm>
#include <catch2/catch.hpp>
#include <deque>
#include <vector>

#include "base/random.h"
#include "loopback.h"
#include "quic/udp.h"

namespace haul::quic {
namespace {

using Bytes = std::vector<std::byte>;

/// Takes as many bursts as it is told to.
class NarrowSocket final : public DatagramSocket {
 public:
  size_t room = 0;
  size_t asked = 0;
  std::vector<Bytes> datagrams;

  Burst receive() override { return {}; }
  bool send(const Burst& burst) override {
    ++asked;
    if (room == 0) return false;
    --room;
    for (size_t begin = 0; begin < burst.bytes.size(); begin += burst.datagram_bytes) {
      const auto one = burst.bytes.subspan(begin, std::min(burst.datagram_bytes, burst.bytes.size() - begin));
      datagrams.emplace_back(one.begin(), one.end());
    }
    return true;
  }
  const net::Endpoint& local() const noexcept override { return local_; }
  int fd() const noexcept override { return -1; }

 private:
  net::Endpoint local_;
};

net::Endpoint somebody(uint16_t port) {
  const sockaddr_in address = haul::test::loopback(port);
  net::Endpoint endpoint;
  std::copy_n(reinterpret_cast<const char*>(&address), sizeof(address), reinterpret_cast<char*>(&endpoint.storage));
  endpoint.bytes = sizeof(address);
  return endpoint;
}

struct Narrow {
  NarrowSocket* socket = nullptr;
  Outlet outlet;
  Bytes memory = Bytes(max_burst_bytes);
  std::vector<Bytes> written;

  Narrow() : outlet(make(socket), true) {}
  static std::unique_ptr<DatagramSocket> make(NarrowSocket*& at) {
    auto made = std::make_unique<NarrowSocket>();
    at = made.get();
    return made;
  }
  void write(BurstWriter& burst, size_t bytes, uint16_t port) {
    const auto room = burst.room(1500);
    written.emplace_back(bytes, static_cast<std::byte>(written.size() + 1));
    std::copy(written.back().begin(), written.back().end(), room.begin());
    burst.add(bytes, 0, somebody(port));
  }
};

TEST_CASE("packets that were written are kept while the socket is full, and leave in order", "[quic]") {
  Narrow narrow;
  BurstWriter burst(narrow.memory, narrow.outlet);
  SECTION("a packet for somebody else, behind a burst that did not fit") {
    narrow.write(burst, 1000, 1);
    narrow.write(burst, 1000, 1);
    narrow.write(burst, 1000, 2);
  }
  SECTION("a larger packet") {
    narrow.write(burst, 1000, 1);
    narrow.write(burst, 1200, 1);
    narrow.write(burst, 900, 1);
    narrow.write(burst, 1200, 1);
  }
  burst.flush();
  CHECK(narrow.outlet.blocked());
  CHECK(narrow.socket->datagrams.empty());
  CHECK_FALSE(narrow.outlet.flush());
  narrow.socket->room = 1;
  narrow.outlet.flush();
  narrow.socket->room = 10;
  CHECK(narrow.outlet.flush());
  CHECK_FALSE(narrow.outlet.blocked());
  CHECK(narrow.socket->datagrams == narrow.written);
}

TEST_CASE("answers to strangers are not kept", "[quic]") {
  Narrow narrow;
  const Bytes bytes(100);
  const Burst answer{.bytes = bytes, .datagram_bytes = bytes.size(), .ecn = 0, .remote = somebody(1)};
  narrow.outlet.answer(answer);
  CHECK_FALSE(narrow.outlet.blocked());
  narrow.outlet.send(answer);
  CHECK(narrow.outlet.blocked());
  const size_t asked = narrow.socket->asked;
  narrow.outlet.answer(answer);
  CHECK(narrow.socket->asked == asked);
  narrow.socket->room = 10;
  CHECK(narrow.outlet.flush());
  CHECK(narrow.socket->datagrams.size() == 1);
}

std::unique_ptr<DatagramSocket> socket_at_loopback(uint32_t buffer_bytes = 1U << 20) {
  auto made = open_udp(somebody(0), false, buffer_bytes);
  REQUIRE(made.ok());
  return std::move(*made);
}

void receive_all(DatagramSocket& socket, std::vector<Bytes>& received) {
  for (Burst burst = socket.receive(); !burst.bytes.empty(); burst = socket.receive()) {
    for (size_t begin = 0; begin < burst.bytes.size(); begin += burst.datagram_bytes) {
      const auto one = burst.bytes.subspan(begin, std::min(burst.datagram_bytes, burst.bytes.size() - begin));
      received.emplace_back(one.begin(), one.end());
    }
  }
}

TEST_CASE("bursts arrive as the datagrams they are, also where the kernel does not segment", "[quic]") {
  const bool segments = GENERATE(true, false);
  const auto from = socket_at_loopback();
  const auto to = socket_at_loopback();
  // The kernel refuses to segment what gets no check sum: the nearest to a device without offload that needs no device.
  const int off = 1;
  if (!segments) REQUIRE(setsockopt(from->fd(), SOL_SOCKET, SO_NO_CHECK, &off, sizeof(off)) == 0);
  Bytes bytes(7 * 1200 + 500);
  base::Random(1).fill(bytes);
  REQUIRE(from->send({.bytes = bytes, .datagram_bytes = 1200, .ecn = 0, .remote = to->local()}));
  std::vector<Bytes> received;
  receive_all(*to, received);
  REQUIRE(received.size() == 8);
  Bytes all;
  for (const Bytes& one : received) all.insert(all.end(), one.begin(), one.end());
  CHECK(all == bytes);
}

TEST_CASE("what the socket has no room for goes on where it stopped", "[quic]") {
  const auto from = socket_at_loopback(4096);
  const auto to = socket_at_loopback(8U << 20);
  const int off = 1;
  REQUIRE(setsockopt(from->fd(), SOL_SOCKET, SO_NO_CHECK, &off, sizeof(off)) == 0);
  Bytes bytes(60 * 1000);
  base::Random(2).fill(bytes);
  const Burst burst{.bytes = bytes, .datagram_bytes = 1000, .ecn = 0, .remote = to->local()};
  // What lies unread at the other end is charged to the sender's buffer on loopback.
  std::vector<Bytes> received;
  for (int i = 0; i < 100 && !from->send(burst); ++i) receive_all(*to, received);
  receive_all(*to, received);
  Bytes all;
  for (const Bytes& one : received) all.insert(all.end(), one.begin(), one.end());
  CHECK(received.size() == 60);
  CHECK(all == bytes);
}

TEST_CASE("what nothing can carry is lost, and the socket goes on", "[quic]") {
  const auto from = socket_at_loopback();
  const auto to = socket_at_loopback();
  const Bytes too_long(65520);  // beyond what UDP over IPv4 carries
  CHECK(from->send({.bytes = too_long, .datagram_bytes = too_long.size(), .ecn = 0, .remote = to->local()}));
  const Bytes fits(10);
  CHECK(from->send({.bytes = fits, .datagram_bytes = fits.size(), .ecn = 0, .remote = to->local()}));
  std::vector<Bytes> received;
  receive_all(*to, received);
  CHECK(received.size() == 1);
}

}  // namespace
}  // namespace haul::quic
