// Strangers at the door: how slow they may be, how many of them, how often.
#include <netinet/in.h>
#include <sys/socket.h>

#include "base/unique_fd.h"
#include "host.h"

namespace haul::hostile {
namespace {

/// A socket to bob, and what it says.
struct Stranger {
  explicit Stranger(const Address& address, uint32_t source = INADDR_LOOPBACK) {
    sockaddr_in from{};
    from.sin_family = AF_INET;
    from.sin_addr.s_addr = htonl(source);
    sockaddr_in to = from;
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    to.sin_port = htons(address.port);
    REQUIRE(::bind(socket.get(), reinterpret_cast<const sockaddr*>(&from), sizeof(from)) == 0);
    int error = EINTR;
    for (int i = 0; i < 10 && (error == EINTR || error == EALREADY); ++i) {
      error = ::connect(socket.get(), reinterpret_cast<const sockaddr*>(&to), sizeof(to)) == 0 ? 0 : errno;
    }
    REQUIRE((error == 0 || error == EISCONN));
  }
  bool say(std::span<const std::byte> bytes) const {
    return ::send(socket.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL) == static_cast<ssize_t>(bytes.size());
  }
  /// Something can be read; its first byte, if there was one, else -1: the other side hung up.
  std::optional<int> heard() const {
    std::byte first{};
    const ssize_t got = ::recv(socket.get(), &first, 1, MSG_DONTWAIT | MSG_PEEK);
    if (got < 0 && (errno == EAGAIN || errno == EINTR)) return {};
    return got == 1 ? static_cast<int>(first) : -1;
  }
  base::UniqueFd socket{::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)};
};

void check_still_open(Host& bob, const Address& address) {
  Host alice(parties().alice, with_io(tcp::Io::epoll), {});
  alice.connect(address);
  REQUIRE(run({bob.engine.get(), alice.engine.get()}, [&] { return alice.decided(); }));
  INFO(alice.ready.to_string());
  CHECK(alice.ready.ok());
}

TEST_CASE("who is slow with a handshake, or leaves it half done, is hung up on", "[hostile]") {
  tcp::Options options = with_io(GENERATE(from_range(haul::test::ways_of_io())));
  options.preface_timeout = 400ms;
  Host bob(parties().bob, options, {});
  const Address address = bob.listen();
  const auto hello = client_hello(parties().alice);
  const Stranger silent(address);
  const Stranger slow(address);
  const Stranger half(address);
  const Stranger whole(address);
  REQUIRE(half.say(std::span(hello).first(hello.size() / 2)));
  REQUIRE(whole.say(hello));  // gets an answer, and says nothing more
  size_t said = 0;
  TimePoint next = system_clock().now();
  const auto step = [&] {
    if (system_clock().now() < next || said == hello.size()) return;
    next += 5ms;  // the whole of it would take longer than the time limit
    if (slow.say(std::span(hello).subspan(said, 1))) ++said;
  };
  const auto hung_up = [](const Stranger& stranger) {
    std::array<std::byte, 4096> ignored{};
    ssize_t got = 1;
    while (got > 0) got = ::recv(stranger.socket.get(), ignored.data(), ignored.size(), MSG_DONTWAIT);
    return got == 0 || (errno != EAGAIN && errno != EINTR);
  };
  CHECK(run(
      {bob.engine.get()}, [&] { return hung_up(silent) && hung_up(slow) && hung_up(half) && hung_up(whole); }, 10s, step));
  CHECK(said < hello.size());
  check_still_open(bob, address);
}

TEST_CASE("handshakes are begun at the rate that is configured, and none is forgotten", "[hostile]") {
  tcp::Options options = with_io(GENERATE(from_range(haul::test::ways_of_io())));
  options.max_handshakes_per_s = 20;
  options.preface_timeout = 20s;
  Host bob(parties().bob, options, {});
  const Address address = bob.listen();
  const auto hello = client_hello(parties().alice);
  std::vector<std::unique_ptr<Stranger>> strangers;
  const TimePoint start = system_clock().now();
  constexpr size_t count = 25;
  for (size_t i = 0; i < count; ++i) {
    REQUIRE(strangers.emplace_back(std::make_unique<Stranger>(address))->say(hello));
  }
  const auto answered = [&] {
    return static_cast<size_t>(
        std::count_if(strangers.begin(), strangers.end(), [](const auto& stranger) { return stranger->heard() == 22; }));
  };
  bool too_fast = false;
  REQUIRE(run({bob.engine.get()}, [&] {
    const size_t now = answered();
    const double elapsed_s = std::chrono::duration<double>(system_clock().now() - start).count();
    // A fifth of a second's share at once.
    too_fast = too_fast || static_cast<double>(now) > (elapsed_s + 0.2) * options.max_handshakes_per_s + 2;
    return now == count;
  }));
  CHECK_FALSE(too_fast);
}

TEST_CASE("strangers who hold all places do not keep others out", "[hostile]") {
  tcp::Options options = with_io(GENERATE(from_range(haul::test::ways_of_io())));
  options.max_unidentified = 8;
  options.preface_timeout = 60s;
  const bool from_one_address = GENERATE(true, false);
  const bool begin_handshakes = GENERATE(true, false);
  Host bob(parties().bob, options, {});
  const Address address = bob.listen();
  const auto hello = client_hello(parties().alice);
  std::vector<std::unique_ptr<Stranger>> strangers;
  for (uint32_t i = 0; i < 16; ++i) {
    const uint32_t source = INADDR_LOOPBACK + (from_one_address ? 0 : 1 + i);
    const Stranger& stranger = *strangers.emplace_back(std::make_unique<Stranger>(address, source));
    REQUIRE(stranger.say(begin_handshakes ? std::span(hello) : std::span(hello).first(1)));
    run(
        {bob.engine.get()}, [] { return false; }, 5ms);
  }
  check_still_open(bob, address);
}

TEST_CASE("a crowd from one address makes room for each other, not for a lone one elsewhere", "[hostile]") {
  tcp::Options options = with_io(GENERATE(from_range(haul::test::ways_of_io())));
  options.max_unidentified = 8;
  options.preface_timeout = 60s;
  Host bob(parties().bob, options, {});
  const Address address = bob.listen();
  const auto hello = client_hello(parties().alice);
  const Stranger lone(address, INADDR_LOOPBACK + 7);
  run(
      {bob.engine.get()}, [] { return false; }, 20ms);
  std::vector<std::unique_ptr<Stranger>> crowd;
  for (int i = 0; i < 40; ++i) {
    crowd.push_back(std::make_unique<Stranger>(address));
    if (i % 2 == 0) static_cast<void>(crowd.back()->say(hello));
    run(
        {bob.engine.get()}, [] { return false; }, 2ms);
  }
  CHECK_FALSE(lone.heard().has_value());  // it was not hung up on, although it was there first and said nothing
  REQUIRE(lone.say(hello));
  CHECK(run({bob.engine.get()}, [&] { return lone.heard() == 22; }));
}

TEST_CASE("who was told why it must go, and does not, is hung up on", "[hostile]") {
  Host bob(parties().bob, with_io(GENERATE(from_range(haul::test::ways_of_io()))), {});
  const Address address = bob.listen();
  const bool talks_on = GENERATE(true, false);
  auto hello = client_hello(parties().alice);
  const auto protocol = std::as_bytes(std::span(std::string_view("haul/1")));
  const auto offered = std::search(hello.begin(), hello.end(), protocol.begin(), protocol.end());
  REQUIRE(offered != hello.end());
  *offered = std::byte{'x'};  // another protocol than haul's
  const Stranger stranger(address);
  REQUIRE(stranger.say(hello));
  REQUIRE(run({bob.engine.get()}, [&] { return stranger.heard() == 21; }));
  const std::vector<std::byte> more(talks_on ? 16384 : 1);
  TimePoint next = system_clock().now();
  const auto hung_up = [&] {
    if (system_clock().now() < next) return false;
    next = system_clock().now() + 10ms;
    const ssize_t said = ::send(stranger.socket.get(), more.data(), more.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
    return said < 0 && (errno == EPIPE || errno == ECONNRESET);
  };
  CHECK(run({bob.engine.get()}, hung_up, 10s));
}

TEST_CASE("strangers do not fill the log", "[hostile]") {
  Host bob(parties().bob, with_io(tcp::Io::epoll), {});
  const Address address = bob.listen();
  const std::vector<std::byte> nonsense(100, std::byte{'x'});
  constexpr size_t count = 300;
  for (size_t i = 0; i < count; ++i) {
    const Stranger stranger(address);
    REQUIRE(stranger.say(nonsense));
    REQUIRE(run({bob.engine.get()}, [&] { return stranger.heard().has_value(); }));
  }
  CHECK(bob.told("turned away"));
  CHECK(bob.log.size() < count / 2);
}

}  // namespace
}  // namespace haul::hostile
