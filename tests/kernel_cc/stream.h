// One TCP connection over loopback whose sender selects `haul`, pumped by one thread.
#pragma once

#include <arpa/inet.h>
#include <linux/filter.h>
#include <linux/tcp.h>
#include <poll.h>
#include <sys/socket.h>

#include <array>
#include <catch2/catch.hpp>
#include <chrono>
#include <cstdlib>
#include <functional>
#include <string>
#include <thread>
#include <vector>

#include "base/unique_fd.h"
#include "haul/kernel_congestion.h"

namespace haul::tcp::test {

/// Installed as long as this lives.
struct Installed {
  explicit Installed(const kernel_congestion::InstallOptions& options = {}) : directory_(options.directory) {
    const Status status = kernel_congestion::install(options);
    INFO(status.to_string());
    REQUIRE(status.ok());
  }
  ~Installed() { static_cast<void>(kernel_congestion::uninstall(directory_, kernel_congestion::Reach::machine)); }
  Installed(const Installed&) = delete;
  Installed& operator=(const Installed&) = delete;

 private:
  std::string directory_;
};

/// A delay on lo (and what else netem takes) as long as this lives, where the kernel can.
struct Netem {
  explicit Netem(const std::string& delay)
      : works(std::system(("tc qdisc add dev lo root netem limit 100000 delay " + delay + " 2>/dev/null").c_str()) == 0) {}
  ~Netem() {
    if (works) static_cast<void>(std::system("tc qdisc del dev lo root"));
  }
  Netem(const Netem&) = delete;
  Netem& operator=(const Netem&) = delete;
  const bool works;
};

class Stream {
 public:
  Stream() {
    const base::UniqueFd listener(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    auto* const generic = reinterpret_cast<sockaddr*>(&address);
    socklen_t bytes = sizeof(address);
    REQUIRE(bind(listener.get(), generic, bytes) == 0);
    REQUIRE(listen(listener.get(), 1) == 0);
    REQUIRE(getsockname(listener.get(), generic, &bytes) == 0);
    sender_ = base::UniqueFd(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    REQUIRE(connect(sender_.get(), generic, bytes) == 0);
    receiver_ = base::UniqueFd(accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC));
    REQUIRE(receiver_);
    choose(kernel_congestion::name);
  }

  /// The sender's congestion control from here on.
  void choose(const std::string& name) {
    REQUIRE(setsockopt(sender_.get(), IPPROTO_TCP, TCP_CONGESTION, name.data(), static_cast<socklen_t>(name.size())) == 0);
  }

  int sender() const { return sender_.get(); }
  tcp_info info() const {
    tcp_info info{};
    socklen_t bytes = sizeof(info);
    REQUIRE(getsockopt(sender_.get(), IPPROTO_TCP, TCP_INFO, &info, &bytes) == 0);
    return info;
  }
  uint64_t window_bytes() const {
    const tcp_info now = info();
    return uint64_t{now.tcpi_snd_cwnd} * now.tcpi_snd_mss;
  }

  /// The receiver's kernel drops `per_mille` of the segments that come, before TCP sees them.
  void lose(uint32_t per_mille) {
    const auto limit = static_cast<uint32_t>(uint64_t{per_mille} * ~0U / 1000);
    constexpr auto random = static_cast<uint32_t>(SKF_AD_OFF) + SKF_AD_RANDOM;
    std::array<sock_filter, 4> code{{{BPF_LD | BPF_W | BPF_ABS, 0, 0, random},
                                     {BPF_JMP | BPF_JGE | BPF_K, 1, 0, limit},
                                     {BPF_RET | BPF_K, 0, 0, 0},
                                     {BPF_RET | BPF_K, 0, 0, ~0U}}};
    const sock_fprog program{static_cast<uint16_t>(code.size()), code.data()};
    REQUIRE(setsockopt(receiver_.get(), SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof(program)) == 0);
  }

  /// Until nothing is under way. Then one byte is the first of a new flight.
  void drain() {
    for (int i = 0; i < 5000; ++i) {
      take();
      const tcp_info now = info();
      if (now.tcpi_unacked == 0 && now.tcpi_notsent_bytes == 0) return;
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    FAIL("the connection does not drain");
  }
  void send_one() {
    REQUIRE(send(sender_.get(), memory_.data(), 1, MSG_NOSIGNAL) == 1);
    drain();
  }

  /// Sends all that the kernel takes for so long; calls `each` about once a millisecond. Returns bytes received a second.
  double run(
      std::chrono::milliseconds time, const std::function<void()>& each = [] {}) {
    using SteadyClock = std::chrono::steady_clock;
    const auto begin = SteadyClock::now();
    uint64_t received = 0;
    while (SteadyClock::now() - begin < time) {
      // A path without a limit takes more and more.
      constexpr int at_most = 64;
      for (int i = 0; i < at_most && send(sender_.get(), memory_.data(), memory_.size(), MSG_DONTWAIT | MSG_NOSIGNAL) > 0;
           ++i) {
        received += take();
      }
      received += take();
      each();
      std::array<pollfd, 2> watched{{{sender_.get(), POLLOUT, 0}, {receiver_.get(), POLLIN, 0}}};
      poll(watched.data(), watched.size(), 1);
    }
    return static_cast<double>(received) / std::chrono::duration<double>(SteadyClock::now() - begin).count();
  }

 private:
  uint64_t take() {
    uint64_t taken = 0;
    ssize_t bytes = 0;
    while ((bytes = recv(receiver_.get(), sink_.data(), sink_.size(), MSG_DONTWAIT)) > 0) taken += static_cast<uint64_t>(bytes);
    return taken;
  }

  base::UniqueFd sender_;
  base::UniqueFd receiver_;
  std::vector<char> memory_ = std::vector<char>(64U << 10);
  std::vector<char> sink_ = std::vector<char>(256U << 10);
};

}  // namespace haul::tcp::test
