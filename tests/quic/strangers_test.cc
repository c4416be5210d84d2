// Who is let in: identities, address validation, and datagrams that belong to no connection.
#include <sys/socket.h>

#include <algorithm>
#include <catch2/catch.hpp>
#include <chrono>
#include <vector>

#include "base/random.h"
#include "base/unique_fd.h"
#include "haul/quic.h"
#include "loopback.h"
#include "quic/ends.h"
#include "unit/security_support.h"

namespace haul::quic {
namespace {

using namespace std::chrono_literals;
using security::test::Folder;
using security::test::Party;
using test::dial;
using test::End;
using test::run;

struct Two {
  Folder folder;
  Party alice{folder, "alice"};
  Party bob{folder, "bob"};
  Options bobs;

  std::pair<Event::Kind, Status> meet(const std::vector<std::byte>& garbage = {}) const {
    End a(&alice);
    End b(&bob, bobs);
    const auto address = b.transport->listen({"127.0.0.1", 0});
    REQUIRE(address.ok());
    dial(a, *address);
    const base::UniqueFd socket(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    const sockaddr_in to = haul::test::loopback(address->port);
    if (!garbage.empty()) {
      ::sendto(socket.get(), garbage.data(), garbage.size(), 0, reinterpret_cast<const sockaddr*>(&to), sizeof(to));
    }
    REQUIRE(run({&a, &b}, [&] { return a.last(Event::Kind::connected) || a.last(Event::Kind::closed); }));
    if (a.last(Event::Kind::connected)) {
      CHECK(run({&a, &b}, [&] { return b.last(Event::Kind::accepted).has_value(); }));
      CHECK(a.transport->identity(a.last(Event::Kind::connected)->connection).name == "bob");
      CHECK(b.transport->identity(b.last(Event::Kind::accepted)->connection).name == "alice");
      return {Event::Kind::connected, {}};
    }
    CHECK_FALSE(b.last(Event::Kind::accepted).has_value());
    return {Event::Kind::closed, a.last(Event::Kind::closed)->status};
  }
};

TEST_CASE("peers that know each other connect", "[quic]") {
  Two two;
  two.alice.knows(two.bob);
  two.bob.knows(two.alice);
  CHECK(two.meet().first == Event::Kind::connected);
}

TEST_CASE("a stranger is refused, and told what to do", "[quic]") {
  Two two;
  const bool alice_knows = GENERATE(true, false);
  if (alice_knows) {
    two.alice.knows(two.bob);
  } else {
    two.bob.knows(two.alice);
  }
  const auto [kind, status] = two.meet();
  INFO(status.to_string());
  CHECK(kind == Event::Kind::closed);
  CHECK(status.code() == StatusCode::refused);
  const Party& unknown = alice_knows ? two.alice : two.bob;
  CHECK(status.message().find(unknown.fingerprint.to_string()) != std::string_view::npos);
}

TEST_CASE("whoever must prove its address does so, and connects", "[quic]") {
  Two two;
  two.alice.knows(two.bob);
  two.bob.knows(two.alice);
  two.bobs.retry_from = 0;
  CHECK(two.meet().first == Event::Kind::connected);
}

TEST_CASE("garbage disturbs nobody", "[quic]") {
  Two two;
  two.alice.knows(two.bob);
  two.bob.knows(two.alice);
  base::Random random(5);
  for (const size_t bytes : {1U, 20U, 43U, 1200U, 1400U}) {
    for (const auto first : {std::byte{0x40}, std::byte{0xc0}, std::byte{0xff}, std::byte{0}}) {
      std::vector<std::byte> garbage(bytes);
      random.fill(garbage);
      garbage[0] = first;
      CHECK(two.meet(garbage).first == Event::Kind::connected);
    }
  }
}

TEST_CASE("without credentials there is no quic", "[quic]") {
  End end(nullptr);
  CHECK(end.transport->listen({"127.0.0.1", 0}).status().code() == StatusCode::refused);
  ConnectOptions options;
  options.address = Address{"127.0.0.1", 4433};
  CHECK(end.transport->open(options, system_clock().now()).status().code() == StatusCode::refused);
}

/// What a listener says to a datagram of a stranger.
std::vector<std::byte> answer_to(std::span<const std::byte> datagram, Options options = {}) {
  const Folder folder;
  const Party bob(folder, "bob");
  End b(&bob, std::move(options));
  const auto address = b.transport->listen({"127.0.0.1", 0});
  REQUIRE(address.ok());
  const base::UniqueFd socket(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  const sockaddr_in to = haul::test::loopback(address->port);
  REQUIRE(::sendto(socket.get(), datagram.data(), datagram.size(), 0, reinterpret_cast<const sockaddr*>(&to), sizeof(to)) > 0);
  std::vector<std::byte> answer(2000);
  ssize_t received = -1;
  run(
      {&b}, [&] { return (received = ::recv(socket.get(), answer.data(), answer.size(), MSG_DONTWAIT)) > 0; }, 100ms);
  answer.resize(received > 0 ? static_cast<size_t>(received) : 0);
  return answer;
}

TEST_CASE("packets of unknown connections are answered by shorter ones, or not at all", "[quic]") {
  base::Random random(9);
  for (const size_t bytes : {10U, 43U, 60U, 200U, 1200U}) {
    std::vector<std::byte> packet(bytes);
    random.fill(packet);
    packet[0] = std::byte{0x41};
    const auto answer = answer_to(packet);
    CAPTURE(bytes, answer.size());
    CHECK(answer.empty() == (bytes <= 43));
    CHECK(answer.size() < bytes);
  }
}

TEST_CASE("another version is answered by ours, if it is paid for", "[quic]") {
  for (const size_t bytes : {1200U, 1199U}) {
    std::vector<std::byte> packet(bytes);
    packet[0] = std::byte{0xc0};
    packet[1] = std::byte{0x1a};  // a version kept for this (RFC 9000 section 15)
    packet[2] = packet[3] = packet[4] = std::byte{0x2a};
    packet[5] = std::byte{8};   // length of the destination's id
    packet[14] = std::byte{8};  // and of the source's
    const auto answer = answer_to(packet);
    if (bytes < 1200) {
      CHECK(answer.empty());
      continue;
    }
    REQUIRE(answer.size() >= 11);
    CHECK((answer[0] & std::byte{0x80}) != std::byte{0});
    CHECK(std::all_of(answer.begin() + 1, answer.begin() + 5, [](std::byte byte) { return byte == std::byte{0}; }));
    CHECK(std::vector(answer.end() - 4, answer.end()) == std::vector{std::byte{0}, std::byte{0}, std::byte{0}, std::byte{1}});
  }
}

}  // namespace
}  // namespace haul::quic
