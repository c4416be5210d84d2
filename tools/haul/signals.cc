// A thread that waits for signals.
#include "signals.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <system_error>
#include <utility>

namespace haul::tool {

namespace {

sigset_t watched() {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGINT);
  sigaddset(&set, SIGTERM);
  return set;
}

}  // namespace

void prepare_signals() {
  const sigset_t set = watched();
  pthread_sigmask(SIG_BLOCK, &set, nullptr);
  std::signal(SIGPIPE, SIG_IGN);
  std::signal(SIGXFSZ, SIG_IGN);  // a write beyond the file size limit answers EFBIG instead
}

Result<std::unique_ptr<SignalWatch>> SignalWatch::start(std::function<void()> on_signal) {
  std::unique_ptr<SignalWatch> watch(new SignalWatch());
  watch->on_signal_ = std::move(on_signal);
  const sigset_t set = watched();
  watch->signals_.reset(signalfd(-1, &set, SFD_CLOEXEC));
  watch->quit_.reset(eventfd(0, EFD_CLOEXEC));
  if (!watch->signals_ || !watch->quit_)
    return Status::from_errno(StatusCode::exhausted, errno,
                              "no file descriptor is left to wait for signals with (`ulimit -n`)");
  try {
    watch->thread_ = std::thread([self = watch.get()] { self->run(); });
  } catch (const std::system_error& error) {
    return Status::from_errno(StatusCode::exhausted, error.code().value(),
                              "no thread could be started to wait for signals (`ulimit -u`)");
  }
  return watch;
}

SignalWatch::~SignalWatch() {
  if (!thread_.joinable()) return;
  eventfd_write(quit_.get(), 1);
  thread_.join();
}

void SignalWatch::run() {
  std::array<pollfd, 2> watch{pollfd{.fd = signals_.get(), .events = POLLIN, .revents = 0},
                              pollfd{.fd = quit_.get(), .events = POLLIN, .revents = 0}};
  while (true) {
    if (poll(watch.data(), watch.size(), -1) < 0) continue;
    if (watch[1].revents != 0) return;
    signalfd_siginfo info{};
    if (read(signals_.get(), &info, sizeof(info)) != static_cast<ssize_t>(sizeof(info))) continue;
    const int number = static_cast<int>(info.ssi_signo);
    if (caught_.load(std::memory_order_relaxed) != 0) _exit(128 + number);
    caught_.store(number, std::memory_order_release);
    on_signal_();
  }
}

}  // namespace haul::tool
