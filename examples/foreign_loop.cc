// An engine inside a program's own epoll loop: wait for its wakeup_fd, call poll() until there is nothing to do.
#include <haul/engine.h>
#include <haul/tcp.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include <cstring>
#include <iostream>

namespace {

std::unique_ptr<haul::Engine> make_engine(haul::EngineOptions options) {
  haul::tcp::Options tcp;
  tcp.io = haul::tcp::Io::prefer_uring;  // else epoll, where io_uring is forbidden, as in many containers
  std::vector<std::unique_ptr<haul::Transport>> transports;
  transports.push_back(haul::tcp::make_transport(tcp).value());
  return haul::Engine::create(std::move(options), std::move(transports)).value();
}

void watch(int epoll, int fd) {
  epoll_event event{};
  event.events = EPOLLIN;
  event.data.fd = fd;
  if (epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) != 0) throw std::runtime_error(std::strerror(errno));
}

/// The program's other business: a timer that fires once.
int make_timer(time_t seconds) {
  const int fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC);
  itimerspec spec{};
  spec.it_value.tv_sec = seconds;
  timerfd_settime(fd, 0, &spec, nullptr);
  return fd;
}

}  // namespace

int main() {
  haul::Buffer source, copy;
  bool done = false;

  haul::EngineOptions serves, reads;
  serves.on_peer = [&](haul::Peer peer) { peer.send(peer.grant(source.slice(), haul::Rights::read).value().serialize()); };
  reads.on_message = [&](haul::Peer peer, const haul::Message& message) {
    const auto remote = haul::RemoteBuffer::deserialize(message.payload).value();
    haul::TransferOptions options;
    options.on_done = [&](const haul::TransferResult& result) {
      std::cout << "get: " << result.status.to_string() << ", " << result.bytes << " bytes\n";
      done = result.status.ok();
    };
    peer.get(copy.slice(), remote.slice(), std::move(options));
  };

  const auto server = make_engine(std::move(serves));
  const auto reader = make_engine(std::move(reads));
  source = server->allocate(16 << 20).value();
  copy = reader->allocate(16 << 20).value();
  std::memset(source.data(), 42, source.size());

  const int epoll = epoll_create1(EPOLL_CLOEXEC);
  const int timer = make_timer(20);
  watch(epoll, server->wakeup_fd());
  watch(epoll, reader->wakeup_fd());
  watch(epoll, timer);

  reader->connect(server->listen({"127.0.0.1", 0}).value()).value();
  // Calls made outside of poll() take effect in the next one: ask for it.
  server->wake();
  reader->wake();

  bool late = false;
  while (!done && !late) {
    epoll_event events[8];
    const int count = epoll_wait(epoll, events, 8, -1);
    for (int i = 0; i < count; ++i) {
      if (events[i].data.fd == timer) late = true;
      for (haul::Engine* engine : {server.get(), reader.get()}) {
        while (events[i].data.fd == engine->wakeup_fd() && engine->poll() > 0) continue;
      }
    }
  }
  close(timer);
  close(epoll);
  const bool equal = done && std::memcmp(source.data(), copy.data(), source.size()) == 0;
  std::cout << (equal ? "the copy is equal\n" : "no copy\n");
  return equal ? 0 : 1;
}
