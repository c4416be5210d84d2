// I/O over epoll: every operation is tried at once, and waits for an edge when the socket was not ready.
#include <poll.h>
#include <sys/epoll.h>

#include <array>
#include <cerrno>
#include <unordered_map>
#include <utility>
#include <vector>

#include "base/check.h"
#include "base/unique_fd.h"
#include "tcp/io.h"

namespace haul::tcp {

namespace {

constexpr int max_edges = 64;

bool reads(IoKind kind) { return kind == IoKind::receive || kind == IoKind::accept || kind == IoKind::readable; }

class EpollIo final : public IoLoop {
 public:
  Status start() {
    epoll_.reset(epoll_create1(EPOLL_CLOEXEC));
    if (epoll_) return {};
    return Status::from_errno(StatusCode::exhausted, errno, "an epoll descriptor could not be made (`ulimit -n`)");
  }

  const char* name() const noexcept override { return "epoll"; }
  bool wants_nonblocking_sockets() const noexcept override { return true; }
  bool has_queued() const noexcept override { return !queued_.empty(); }
  int wakeup_fd() const noexcept override { return epoll_.get(); }
  bool has_zero_copy() const noexcept override { return false; }

  void submit(IoOperation& operation) override {
    base::check(!operation.busy(), "an I/O operation was submitted twice");
    operation.in_progress = true;
    queued_.push_back({&operation, false});
  }

  void cancel(IoOperation& operation) override {
    if (!operation.in_progress) return;
    queued_.push_back({&operation, true});
    ++cancels_;
  }

  void forget(int fd) override {
    if (sockets_.erase(fd) > 0) epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, fd, nullptr);
  }

  size_t poll() override {
    size_t reports = start_queued();
    std::array<epoll_event, max_edges> edges;  // NOLINT(cppcoreguidelines-pro-type-member-init)
    const int count = epoll_wait(epoll_.get(), edges.data(), max_edges, 0);
    for (int i = 0; i < count; ++i) {
      reports += wake(edges[static_cast<size_t>(i)].data.fd, edges[static_cast<size_t>(i)].events);
    }
    return reports;
  }

  bool wait(int limit_ms) override {
    pollfd waiting{epoll_.get(), POLLIN, 0};
    if (queued_.empty()) ::poll(&waiting, 1, limit_ms);
    return true;
  }

  Result<int> register_buffer(std::span<std::byte>) override {
    return Status(StatusCode::unsupported, "epoll has no registered buffers");
  }
  void unregister_buffer(int) override {}

 private:
  struct Queued {
    IoOperation* operation;  // null: it ended before its turn to be cancelled came
    bool cancel;
  };
  // What waits for an edge.
  struct Socket {
    IoOperation* reader = nullptr;
    IoOperation* writer = nullptr;
  };

  size_t start_queued() {
    size_t reports = 0;
    working_.clear();
    working_.swap(queued_);  // handlers queue more: those are for the next round
    for (Queued& item : working_) {
      IoOperation* operation = std::exchange(item.operation, nullptr);
      if (operation == nullptr) continue;
      if (item.cancel) --cancels_;
      reports += item.cancel ? end(*operation, -ECANCELED) : attempt(*operation);
    }
    return reports;
  }

  // Its handler may destroy an operation that is over.
  void drop_cancels(const IoOperation& operation) {
    for (std::vector<Queued>* list : {&working_, &queued_}) {
      for (Queued& item : *list) {
        if (!item.cancel || item.operation != &operation) continue;
        item.operation = nullptr;
        --cancels_;
      }
    }
  }

  size_t wake(int fd, uint32_t events) {
    constexpr uint32_t broken = EPOLLERR | EPOLLHUP;
    const auto found = sockets_.find(fd);
    if (found == sockets_.end()) return 0;
    size_t reports = 0;
    IoOperation* reader = found->second.reader;
    IoOperation* writer = found->second.writer;
    if (reader != nullptr && (events & (EPOLLIN | EPOLLRDHUP | broken)) != 0) reports += attempt(*reader);
    if (writer != nullptr && writer->in_progress && (events & (EPOLLOUT | broken)) != 0) reports += attempt(*writer);
    return reports;
  }

  size_t attempt(IoOperation& operation) {
    int result = perform(operation);
    if (result == -EAGAIN || result == -EINPROGRESS || result == -EALREADY) result = wait_for_edge(operation);
    return result == -EAGAIN ? 0 : end(operation, result);
  }

  static int perform(IoOperation& operation);

  // The socket was registered before the attempt that must not be lost; see watch().
  int wait_for_edge(IoOperation& operation) {
    Socket& socket = sockets_[operation.fd];
    IoOperation*& place = reads(operation.kind) ? socket.reader : socket.writer;
    if (place == &operation) return -EAGAIN;
    place = &operation;
    return watch(operation.fd) ? -EAGAIN : -errno;
  }

  // Edge-triggered for both directions, once. Adding a socket that is ready raises an edge too, so nothing is missed between
  // the attempt and this call.
  bool watch(int fd) {
    epoll_event event{};
    event.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET;
    event.data.fd = fd;
    return epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd, &event) == 0 || errno == EEXIST;
  }

  size_t end(IoOperation& operation, int result) {
    const auto found = sockets_.find(operation.fd);
    if (found != sockets_.end()) {
      if (found->second.reader == &operation) found->second.reader = nullptr;
      if (found->second.writer == &operation) found->second.writer = nullptr;
    }
    if (cancels_ > 0) drop_cancels(operation);
    operation.in_progress = false;
    operation.handler->on_io(operation, result);
    return 1;
  }

  base::UniqueFd epoll_;
  std::vector<Queued> queued_;
  std::vector<Queued> working_;
  size_t cancels_ = 0;  // in both, not begun
  std::unordered_map<int, Socket> sockets_;
};

int EpollIo::perform(IoOperation& operation) {
  ssize_t result = -1;
  switch (operation.kind) {
    case IoKind::receive: return receive_at_once(operation);
    case IoKind::send:
    case IoKind::send_zero_copy: return send_at_once(operation);
    case IoKind::accept:
      operation.address_bytes = sizeof(operation.address);
      result = accept4(operation.fd, reinterpret_cast<sockaddr*>(&operation.address), &operation.address_bytes,
                       SOCK_CLOEXEC | SOCK_NONBLOCK);
      break;
    case IoKind::connect:
      result = connect(operation.fd, reinterpret_cast<const sockaddr*>(&operation.address), operation.address_bytes);
      if (result < 0 && errno == EISCONN) result = 0;
      break;
    case IoKind::readable: {
      pollfd waiting{operation.fd, POLLIN, 0};
      result = ::poll(&waiting, 1, 0);
      if (result == 0) return -EAGAIN;
      break;
    }
  }
  return result < 0 ? -errno : static_cast<int>(result);
}

}  // namespace

int receive_at_once(IoOperation& operation) noexcept {
  const iovec* first = operation.message.msg_iov;
  // The plainer call saves the copying of a msghdr, which counts when a caller spins.
  const ssize_t result = operation.message.msg_iovlen == 1 ? recv(operation.fd, first->iov_base, first->iov_len, MSG_DONTWAIT)
                                                           : recvmsg(operation.fd, &operation.message, MSG_DONTWAIT);
  return result < 0 ? -errno : static_cast<int>(result);
}

int send_at_once(IoOperation& operation) noexcept {
  const ssize_t result = sendmsg(operation.fd, &operation.message, MSG_DONTWAIT | MSG_NOSIGNAL);
  return result < 0 ? -errno : static_cast<int>(result);
}

Result<std::unique_ptr<IoLoop>> make_epoll_io() {
  auto io = std::make_unique<EpollIo>();
  if (Status started = io->start(); !started.ok()) return started;
  return std::unique_ptr<IoLoop>(std::move(io));
}

}  // namespace haul::tcp
