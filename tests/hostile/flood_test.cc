// A flood of strangers, from another process: an established transfer goes on, memory stays bounded, honest peers get in.
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <filesystem>
#include <fstream>

#include "base/unique_fd.h"
#include "host.h"

namespace haul::hostile {
namespace {

constexpr size_t flood_connections = 10'000;
constexpr uint32_t flood_sources = 8;

// GCC says it by macros, clang by features.
#ifndef __has_feature
#define __has_feature(feature) 0
#endif

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__) || __has_feature(address_sanitizer) || \
    __has_feature(thread_sanitizer)
constexpr bool memory_is_ours = false;  // a sanitizer keeps what was freed
#else
constexpr bool memory_is_ours = true;
#endif

sockaddr_in address_of(uint32_t host, uint16_t port) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(host);
  address.sin_port = htons(port);
  return address;
}

/// A connection that may still be under way. -1: none could be had.
int connect_from(uint32_t source, uint16_t port) {
  const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0) return -1;
  const sockaddr_in from = address_of(source, 0);
  const sockaddr_in to = address_of(INADDR_LOOPBACK, port);
  const int on = 1;
  setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof(on));
  if (::bind(fd, reinterpret_cast<const sockaddr*>(&from), sizeof(from)) == 0 &&
      (::connect(fd, reinterpret_cast<const sockaddr*>(&to), sizeof(to)) == 0 || errno == EINPROGRESS)) {
    return fd;
  }
  ::close(fd);
  return -1;
}

size_t raise_descriptor_limit() {
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return 0;
  limit.rlim_cur = limit.rlim_max;
  if (setrlimit(RLIMIT_NOFILE, &limit) != 0 || getrlimit(RLIMIT_NOFILE, &limit) != 0) return 0;
  return limit.rlim_cur;
}

/// Strangers who say nothing, who say a little, who say it byte after byte, and who begin a handshake and leave it there.
class Flood {
 public:
  explicit Flood(std::vector<std::byte> hello) : hello_(std::move(hello)) {
    std::array<int, 2> to_child{};
    std::array<int, 2> to_parent{};
    REQUIRE(pipe2(to_child.data(), O_CLOEXEC) == 0);
    REQUIRE(pipe2(to_parent.data(), O_CLOEXEC) == 0);
    child_ = fork();
    REQUIRE(child_ >= 0);
    if (child_ == 0) {
      const alarm_clock bounded;
      ::close(to_child[1]);
      flood(to_child[0], to_parent[1]);
    }
    ::close(to_child[0]);
    ::close(to_parent[1]);
    orders_.reset(to_child[1]);
    reports_.reset(to_parent[0]);
  }
  ~Flood() {
    orders_.reset();  // which tells it to end
    waitpid(child_, nullptr, 0);
  }
  Flood(const Flood&) = delete;
  Flood& operator=(const Flood&) = delete;

  void start(uint16_t port) const { REQUIRE(write(orders_.get(), &port, sizeof(port)) == sizeof(port)); }
  /// How many connections there were, once all are.
  std::optional<uint32_t> all_made() const {
    pollfd ready{reports_.get(), POLLIN, 0};
    uint32_t made = 0;
    if (::poll(&ready, 1, 0) <= 0 || read(reports_.get(), &made, sizeof(made)) != sizeof(made)) return {};
    return made;
  }

 private:
  struct alarm_clock {
    alarm_clock() { alarm(120); }
  };

  // In the child, which has this thread only: no memory of others, no exit handlers.
  [[noreturn]] void flood(int orders, int reports) const {
    uint16_t port = 0;
    if (read(orders, &port, sizeof(port)) != sizeof(port)) _exit(1);
    const size_t most_at_once = raise_descriptor_limit();
    std::vector<int> sockets;
    uint32_t made = 0;
    pollfd end{orders, POLLIN, 0};
    for (size_t i = 0; i < flood_connections; ++i) {
      // Where this process may not hold so many, the oldest make room.
      if (sockets.size() + 64 > most_at_once) {
        ::close(sockets.front());
        sockets.erase(sockets.begin());
      }
      const int fd = connect_from(INADDR_LOOPBACK + 1 + static_cast<uint32_t>(i % flood_sources), port);
      if (fd < 0) continue;
      ++made;
      sockets.push_back(fd);
      speak(fd, i);
      if (i % 16 == 0) usleep(200);
    }
    if (write(reports, &made, sizeof(made)) != sizeof(made)) _exit(1);
    for (size_t round = 0; ::poll(&end, 1, 1) == 0; ++round) {
      for (size_t i = 2; i < sockets.size(); i += 4) {
        if (round < hello_.size()) ::send(sockets[i], &hello_[round], 1, MSG_NOSIGNAL | MSG_DONTWAIT);
      }
    }
    _exit(0);
  }
  void speak(int fd, size_t number) const {
    pollfd connected{fd, POLLOUT, 0};
    if (number % 4 == 0 || ::poll(&connected, 1, 2) <= 0) return;
    const size_t bytes = number % 4 == 1 ? 3 : number % 4 == 2 ? 1 : hello_.size();
    ::send(fd, hello_.data(), bytes, MSG_NOSIGNAL | MSG_DONTWAIT);
  }

  std::vector<std::byte> hello_;
  pid_t child_ = -1;
  base::UniqueFd orders_;
  base::UniqueFd reports_;
};

uint64_t resident_bytes() {
  std::ifstream file("/proc/self/statm");
  uint64_t size = 0;
  uint64_t resident = 0;
  file >> size >> resident;
  return resident * static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
}

size_t open_descriptors() {
  const std::filesystem::directory_iterator begin("/proc/self/fd");
  return static_cast<size_t>(std::distance(begin, std::filesystem::directory_iterator()));
}

/// Puts one after the other for as long as it is stepped.
struct Stream {
  Stream(Host& to, Host& from) : source(filled(*from.engine, bytes, 1)), target(filled(*to.engine, bytes, 2)), sender(&from) {}
  void start(Peer at_owner) { remote = at_owner.grant(target.slice(), Rights::write).value(); }
  void keep_going(Peer to_owner) {
    if (transfer.valid() && !transfer.done()) return;
    if (transfer.valid()) {
      all_ok = all_ok && transfer.status().ok();
      ++done;
    }
    transfer = to_owner.put(source.slice(), remote.slice());
  }
  static constexpr uint64_t bytes = 2 << 20;
  Buffer source;
  Buffer target;
  Host* sender;
  RemoteBuffer remote;
  Transfer transfer;
  uint64_t done = 0;
  bool all_ok = true;
};

TEST_CASE("10,000 strangers leave a transfer running, memory bounded, and the door open", "[hostile][flood]") {
  const tcp::Io io = GENERATE(from_range(haul::test::ways_of_io()));
  const Flood flood(client_hello(parties().carol));
  raise_descriptor_limit();
  Host bob(parties().bob, with_io(io), {});
  Host alice(parties().alice, with_io(io), {});
  const Address address = bob.listen();
  const uint32_t places = tcp::Options{}.max_unidentified;
  Peer to_bob = alice.connect(address);
  REQUIRE(run({bob.engine.get(), alice.engine.get()}, [&] { return alice.decided() && !bob.arrived.empty(); }));
  INFO(alice.ready.to_string());
  REQUIRE(alice.ready.ok());
  Stream stream(bob, alice);
  stream.start(bob.arrived[0]);
  const auto step_until = [&](const std::function<bool()>& until) {
    return run({bob.engine.get(), alice.engine.get()}, until, patience, [&] { stream.keep_going(to_bob); });
  };
  REQUIRE(step_until([&] { return stream.done >= 3; }));

  const uint64_t resident_before = resident_bytes();
  const size_t descriptors_before = open_descriptors();
  const uint64_t done_before = stream.done;
  size_t most_descriptors = 0;
  flood.start(address.port);
  std::optional<uint32_t> made;
  uint64_t rounds = 0;
  REQUIRE(step_until([&] {
    if (rounds++ % 64 == 0) most_descriptors = std::max(most_descriptors, open_descriptors());
    made = flood.all_made();
    return made.has_value();
  }));
  CHECK(*made == flood_connections);
  CHECK(stream.done > done_before);
  CHECK(most_descriptors <= descriptors_before + places + 16);

  // The strangers are still there.
  std::vector<std::unique_ptr<Host>> honest;
  for (int i = 0; i < 3; ++i) {
    Host& carol = *honest.emplace_back(std::make_unique<Host>(parties().carol, with_io(io), EngineOptions{}));
    carol.connect(address);
    REQUIRE(run(
        {bob.engine.get(), alice.engine.get(), carol.engine.get()}, [&] { return carol.decided(); }, patience,
        [&] { stream.keep_going(to_bob); }));
    INFO(carol.ready.to_string());
    CHECK(carol.ready.ok());
  }
  const uint64_t done_at_end = stream.done;
  REQUIRE(step_until([&] { return stream.done > done_at_end; }));
  CHECK(stream.all_ok);
  CHECK(alice.closed.empty());
  constexpr uint64_t bytes_a_place = 64U << 10;
  constexpr uint64_t of_three_peers = 24U << 20;  // with both ends in this process
  INFO("resident: " << resident_before << " before, " << resident_bytes() << " now");
  if (memory_is_ours) CHECK(resident_bytes() < resident_before + places * bytes_a_place + of_three_peers);
}

}  // namespace
}  // namespace haul::hostile
