// I/O over io_uring: operations collect in the submission queue, and one system call a poll() starts them and fetches results.
#include <fmt/format.h>
#include <liburing.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <vector>

#include "base/check.h"
#include "base/unique_fd.h"
#include "tcp/io.h"
#include "tcp/uring_probe.h"

namespace haul::tcp {

namespace {

constexpr unsigned buffer_slots = 1024;
constexpr unsigned reap_batch = 64;
// Newer than Debian 12's liburing: IORING_SEND_ZC_REPORT_USAGE and IORING_NOTIF_USAGE_ZC_COPIED of Linux 6.2.
constexpr unsigned report_usage = 1U << 3;
constexpr unsigned was_copied = 1U << 31;
constexpr int max_turns_of_ring = 8;  // of one poll()

class UringIo final : public IoLoop {
 public:
  ~UringIo() override {
    if (made_) io_uring_queue_exit(&ring_);
  }

  Status start(bool zero_copy) {
    if (Status made = uring_make(ring_); !made.ok()) return made;
    made_ = true;
    wakeup_.reset(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
    if (!wakeup_) return Status::from_errno(StatusCode::exhausted, errno, "an eventfd could not be made (`ulimit -n`)");
    const int registered = io_uring_register_eventfd(&ring_, wakeup_.get());
    if (registered < 0) return Status::from_errno(StatusCode::unsupported, -registered, "io_uring does not signal an eventfd");
    zero_copy_ = zero_copy && uring_has_zero_copy(ring_);
    return {};
  }

  const char* name() const noexcept override { return "io_uring"; }
  bool wants_nonblocking_sockets() const noexcept override { return false; }
  bool has_queued() const noexcept override { return io_uring_sq_ready(&ring_) > 0; }
  int wakeup_fd() const noexcept override { return wakeup_.get(); }
  bool has_zero_copy() const noexcept override { return zero_copy_; }

  void submit(IoOperation& operation) override {
    base::check(!operation.busy(), "an I/O operation was submitted twice");
    io_uring_sqe* entry = free_entry();
    prepare(*entry, operation);
    io_uring_sqe_set_data(entry, &operation);
    operation.in_progress = true;
  }

  void cancel(IoOperation& operation) override {
    if (!operation.in_progress) return;
    io_uring_sqe* entry = free_entry();
    io_uring_prep_cancel(entry, &operation, 0);
    io_uring_sqe_set_data(entry, nullptr);
  }

  void forget(int) override {}

  size_t poll() override {
    if (!has_queued() && !has_work()) {
      if (!signalled_) return 0;
      drain_wakeup();
      if (!has_work()) return 0;  // else it came before the descriptor was drained of its signal
    }
    signalled_ = signalled_ || has_work();
    // What is reaped here needs no signal; what comes after the last look does.
    io_uring_cq_eventfd_toggle(&ring_, false);
    size_t reports = 0;
    for (int turn = 0; turn < max_turns_of_ring; ++turn) {
      base::check(enter(), "a tcp transport was polled by a second thread");
      reports += reap();
      io_uring_cq_eventfd_toggle(&ring_, true);
      // The kernel sees the flag, or this thread sees the work. (The standard fence does not build with -fsanitize=thread.)
      __sync_synchronize();
      if (!has_work()) return reports;
      signalled_ = true;
      io_uring_cq_eventfd_toggle(&ring_, false);
    }
    io_uring_cq_eventfd_toggle(&ring_, true);
    eventfd_write(wakeup_.get(), 1);
    signalled_ = true;
    return reports;
  }

  bool wait(int limit_ms) override {
    signalled_ = true;
    if (!enter()) return false;
    pollfd waiting{wakeup_.get(), POLLIN, 0};
    if (!has_work()) ::poll(&waiting, 1, limit_ms);
    return true;
  }

  Result<int> register_buffer(std::span<std::byte> memory) override;
  void unregister_buffer(int index) override;

 private:
  unsigned kernel_flags() const noexcept { return IO_URING_READ_ONCE(*ring_.sq.kflags); }

  bool has_work() const noexcept {
    return io_uring_cq_ready(&ring_) > 0 || (kernel_flags() & (IORING_SQ_TASKRUN | IORING_SQ_CQ_OVERFLOW)) != 0;
  }

  // Only when there is nothing better to do: the counter rises with each arrival, and reading it is a system call.
  void drain_wakeup() noexcept {
    signalled_ = false;
    eventfd_t count = 0;
    eventfd_read(wakeup_.get(), &count);
  }

  // The ring was made disabled, so that it belongs to the thread that polls it first and not to the one that made it.
  void enable() {
    if (enabled_) return;
    enabled_ = true;
    const int error = io_uring_register(static_cast<unsigned>(ring_.ring_fd), IORING_REGISTER_ENABLE_RINGS, nullptr, 0);
    base::check(error == 0, "an io_uring could not be enabled");
  }

  // False: the ring belongs to another thread. Other errors (EBUSY, EAGAIN) mean that completions must be reaped first, which
  // the callers do next.
  bool enter() {
    enable();
    return io_uring_submit_and_get_events(&ring_) != -EEXIST;
  }

  io_uring_sqe* free_entry() {
    io_uring_sqe* entry = io_uring_get_sqe(&ring_);
    if (entry == nullptr) {
      enter();
      entry = io_uring_get_sqe(&ring_);
    }
    base::check(entry != nullptr, "the io_uring submission queue stays full");
    return entry;
  }

  void prepare(io_uring_sqe& entry, IoOperation& operation);

  size_t reap() {
    size_t reports = 0;
    std::array<io_uring_cqe*, reap_batch> entries;
    while (const unsigned count = io_uring_peek_batch_cqe(&ring_, entries.data(), reap_batch)) {
      // Copied, since handlers may submit, which may enter the kernel, which may reuse the entries.
      std::array<io_uring_cqe, reap_batch> copies;  // NOLINT(cppcoreguidelines-pro-type-member-init)
      for (unsigned i = 0; i < count; ++i) copies[i] = *entries[i];
      io_uring_cq_advance(&ring_, count);
      for (unsigned i = 0; i < count; ++i) reports += report(copies[i]);
    }
    return reports;
  }

  static size_t report(const io_uring_cqe& entry) {
    auto* operation = reinterpret_cast<IoOperation*>(entry.user_data);
    if (operation == nullptr) return 0;  // a cancellation's own result tells nothing
    if ((entry.flags & IORING_CQE_F_NOTIF) != 0) {
      operation->unreleased = false;
      operation->handler->on_released(*operation, (static_cast<unsigned>(entry.res) & was_copied) != 0);
      return 1;
    }
    operation->in_progress = false;
    operation->unreleased = (entry.flags & IORING_CQE_F_MORE) != 0;
    operation->handler->on_io(*operation, entry.res);
    return 1;
  }

  io_uring ring_{};
  // Not the ring's own descriptor: a poller of that is not woken by work that waits for its thread (Linux 6.18).
  base::UniqueFd wakeup_;
  bool signalled_ = false;  // something came, and the kernel said so, since the eventfd was drained
  bool made_ = false;
  bool enabled_ = false;
  bool zero_copy_ = false;
  bool has_buffer_table_ = false;
  std::vector<int> free_slots_;
};

void UringIo::prepare(io_uring_sqe& entry, IoOperation& operation) {
  switch (operation.kind) {
    case IoKind::receive: io_uring_prep_recvmsg(&entry, operation.fd, &operation.message, 0); break;
    case IoKind::send:
      io_uring_prep_sendmsg(&entry, operation.fd, &operation.message, MSG_NOSIGNAL | (operation.whole ? MSG_WAITALL : 0));
      break;
    case IoKind::send_zero_copy:
      io_uring_prep_send_zc(&entry, operation.fd, operation.payload.data(), operation.payload.size(),
                            MSG_NOSIGNAL | MSG_WAITALL, report_usage);
      if (operation.registered >= 0) {
        entry.ioprio |= IORING_RECVSEND_FIXED_BUF;
        entry.buf_index = static_cast<uint16_t>(operation.registered);
      }
      break;
    case IoKind::accept:
      operation.address_bytes = sizeof(operation.address);
      io_uring_prep_accept(&entry, operation.fd, reinterpret_cast<sockaddr*>(&operation.address), &operation.address_bytes,
                           SOCK_CLOEXEC);
      break;
    case IoKind::connect:
      io_uring_prep_connect(&entry, operation.fd, reinterpret_cast<const sockaddr*>(&operation.address),
                            operation.address_bytes);
      break;
    case IoKind::readable: io_uring_prep_poll_add(&entry, operation.fd, POLLIN); break;
  }
}

Result<int> UringIo::register_buffer(std::span<std::byte> memory) {
  if (!has_buffer_table_) {
    const int error = io_uring_register_buffers_sparse(&ring_, buffer_slots);
    if (error < 0)
      return Status::from_errno(StatusCode::unsupported, -error, "io_uring has no sparse table of registered buffers");
    has_buffer_table_ = true;
    for (int slot = static_cast<int>(buffer_slots); slot-- > 0;) free_slots_.push_back(slot);
  }
  if (free_slots_.empty()) return Status(StatusCode::exhausted, "all slots for registered buffers are taken");
  const int slot = free_slots_.back();
  const iovec range{memory.data(), memory.size()};
  const __u64 tag = 0;
  const int error = io_uring_register_buffers_update_tag(&ring_, static_cast<unsigned>(slot), &range, &tag, 1);
  if (error < 0) {
    rlimit limit{};
    getrlimit(RLIMIT_MEMLOCK, &limit);
    return Status::from_errno(
        StatusCode::exhausted, -error,
        fmt::format("{} bytes could not be pinned for zero-copy sends (RLIMIT_MEMLOCK is {} bytes; raise it with "
                    "`ulimit -l`, LimitMEMLOCK= or limits.conf)",
                    memory.size(), limit.rlim_cur));
  }
  free_slots_.pop_back();
  return slot;
}

void UringIo::unregister_buffer(int index) {
  const iovec none{nullptr, 0};
  const __u64 tag = 0;
  io_uring_register_buffers_update_tag(&ring_, static_cast<unsigned>(index), &none, &tag, 1);
  free_slots_.push_back(index);
}

}  // namespace

Result<std::unique_ptr<IoLoop>> make_uring_io(bool zero_copy) {
  auto io = std::make_unique<UringIo>();
  if (Status started = io->start(zero_copy); !started.ok()) return started;
  return std::unique_ptr<IoLoop>(std::move(io));
}

}  // namespace haul::tcp
