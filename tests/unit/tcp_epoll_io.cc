// The epoll loop by itself: operations that are cancelled and end otherwise at the same time.
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <catch2/catch.hpp>
#include <memory>

#include "base/unique_fd.h"
#include "tcp/io.h"

namespace haul::tcp {
namespace {

/// Owns one receive and destroys it as soon as it is over, as whoever accepts strangers does.
struct Owner final : IoHandler {
  void on_io(IoOperation&, int result) override {
    results.push_back(result);
    operation.reset();
  }
  void on_released(IoOperation&, bool) override {}

  std::unique_ptr<IoOperation> operation = std::make_unique<IoOperation>();
  std::vector<int> results;
};

struct Receive {
  explicit Receive(int fd) {
    owner.operation->handler = &owner;
    owner.operation->fd = fd;
    owner.operation->message.msg_iov = &range;
    owner.operation->message.msg_iovlen = 1;
  }

  std::array<char, 8> memory{};
  iovec range{memory.data(), memory.size()};
  Owner owner;
};

}  // namespace

TEST_CASE("epoll: a receive that is cancelled while its bytes are there is over once", "[tcp]") {
  std::array<int, 2> fds{};
  REQUIRE(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds.data()) == 0);
  const base::UniqueFd here(fds[0]);
  const base::UniqueFd there(fds[1]);
  const auto io = make_epoll_io().value();
  const bool waits_first = GENERATE(false, true);
  Receive receive(here.get());
  io->submit(*receive.owner.operation);
  if (waits_first) io->poll();  // else it is started and cancelled in one turn
  REQUIRE(write(there.get(), "bytes", 5) == 5);
  io->cancel(*receive.owner.operation);
  io->poll();
  io->poll();
  REQUIRE(receive.owner.results.size() == 1);
  CHECK(receive.owner.results[0] == (waits_first ? -ECANCELED : 5));
  io->forget(here.get());
}

}  // namespace haul::tcp
