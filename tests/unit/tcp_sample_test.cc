// What the tcp backend tells of a socket: whether it wants for data, or for room.
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <catch2/catch.hpp>
#include <optional>
#include <vector>

#include "base/unique_fd.h"
#include "tcp/socket.h"

using namespace haul;
using haul::base::UniqueFd;

namespace {

template <typename T>
void set(int fd, int level, int name, T value) {
  REQUIRE(setsockopt(fd, level, name, &value, sizeof(value)) == 0);
}

/// Two ends of a connection over loopback. The far one acknowledges late, as it does where it hopes for more.
struct Loopback {
  explicit Loopback(int send_buffer) {
    const UniqueFd listening(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t bytes = sizeof(address);
    REQUIRE(bind(listening.get(), reinterpret_cast<const sockaddr*>(&address), bytes) == 0);
    REQUIRE(listen(listening.get(), 1) == 0);
    REQUIRE(getsockname(listening.get(), reinterpret_cast<sockaddr*>(&address), &bytes) == 0);
    near = UniqueFd(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    set(near.get(), SOL_SOCKET, SO_SNDBUF, send_buffer);
    REQUIRE(connect(near.get(), reinterpret_cast<const sockaddr*>(&address), bytes) == 0);
    far = UniqueFd(accept(listening.get(), nullptr, nullptr));
    REQUIRE(far);
    set(near.get(), IPPROTO_TCP, TCP_NODELAY, 1);
    set(far.get(), IPPROTO_TCP, TCP_QUICKACK, 0);
  }
  UniqueFd near;
  UniqueFd far;
};

/// One segment is under way. Absent: it was acknowledged before we looked, so that there is nothing to see.
std::optional<bool> wants_for_data(int send_buffer, uint64_t queued_bytes) {
  constexpr size_t segment = 30'000;
  const Loopback sockets(send_buffer);
  const std::vector<std::byte> payload(segment);
  if (send(sockets.near.get(), payload.data(), payload.size(), MSG_DONTWAIT | MSG_NOSIGNAL) != segment) return std::nullopt;
  PathSample sample;
  tcp::sample_socket(sockets.near.get(), queued_bytes, sample);
  PathSample after;
  tcp::sample_socket(sockets.near.get(), queued_bytes, after);
  if (after.bytes_in_flight != after.bytes_unsent || after.bytes_in_flight == 0) return std::nullopt;
  return sample.app_limited;
}

bool often_wants_for_data(int send_buffer, uint64_t queued_bytes) {
  for (int attempt = 0; attempt < 200; ++attempt) {
    if (const auto wants = wants_for_data(send_buffer, queued_bytes)) return *wants;
  }
  FAIL("all was acknowledged at once, two hundred times");
  return false;
}

}  // namespace

TEST_CASE("tcp: a socket whose send buffer is full of what is under way does not want for data, if there is more", "[tcp]") {
  constexpr int small = 20 << 10;  // which the kernel doubles
  constexpr int large = 1 << 20;
  CHECK_FALSE(often_wants_for_data(small, 1));
  CHECK(often_wants_for_data(small, 0));
  CHECK(often_wants_for_data(large, 1));  // there is room: who has more is late
}
