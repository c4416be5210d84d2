// Finds out whether io_uring works here.
#include "tcp/uring_probe.h"

#include <fmt/format.h>
#include <sys/resource.h>

#include <array>
#include <cerrno>
#include <fstream>
#include <memory>
#include <string>

namespace haul::tcp {

namespace {

constexpr const char* remedy = "; use Io::epoll (`--io epoll`), which works everywhere but needs more processor time";

constexpr unsigned submission_entries = 256;
constexpr unsigned completion_entries = 4096;
// One thread uses the ring (the first that polls it), completions wait until it asks for them, and it can see in memory
// whether asking is worth a system call.
constexpr unsigned setup_flags = IORING_SETUP_R_DISABLED | IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN |
                                 IORING_SETUP_TASKRUN_FLAG | IORING_SETUP_CQSIZE | IORING_SETUP_CLAMP;

struct Needed {
  int code;
  const char* name;
};
constexpr std::array needed_operations = {
    Needed{IORING_OP_RECVMSG, "recvmsg"},   Needed{IORING_OP_SENDMSG, "sendmsg"},
    Needed{IORING_OP_ACCEPT, "accept"},     Needed{IORING_OP_CONNECT, "connect"},
    Needed{IORING_OP_POLL_ADD, "poll_add"}, Needed{IORING_OP_ASYNC_CANCEL, "async_cancel"}};

struct FreeProbe {
  void operator()(io_uring_probe* probe) const noexcept { io_uring_free_probe(probe); }
};
using Probe = std::unique_ptr<io_uring_probe, FreeProbe>;

// 0: allowed, 1: only with privilege, 2: never; absent before Linux 6.6.
std::string disabled_setting() {
  std::ifstream file("/proc/sys/kernel/io_uring_disabled");
  std::string value;
  file >> value;
  return value;
}

Status setup_failed(int error) {
  const std::string setting = disabled_setting();
  if (setting == "1" || setting == "2") {
    return Status::from_errno(
        StatusCode::unsupported, error,
        fmt::format("io_uring is forbidden on this machine (kernel.io_uring_disabled is {}; 0 permits it){}", setting, remedy));
  }
  switch (error) {
    case EPERM:
    case EACCES:
      return Status::from_errno(
          StatusCode::unsupported, error,
          fmt::format("io_uring is forbidden to this process, as container runtimes do with seccomp{}", remedy));
    case ENOSYS:
      return Status::from_errno(StatusCode::unsupported, error, fmt::format("this kernel has no io_uring{}", remedy));
    case EINVAL:
      return Status::from_errno(StatusCode::unsupported, error,
                                fmt::format("this kernel's io_uring is too old: Linux 6.1 or newer is needed{}", remedy));
    case ENOMEM: {
      rlimit limit{};
      getrlimit(RLIMIT_MEMLOCK, &limit);
      return Status::from_errno(
          StatusCode::exhausted, error,
          fmt::format("an io_uring could not be made: locked memory ran out (RLIMIT_MEMLOCK is {} bytes; raise "
                      "it with `ulimit -l`, LimitMEMLOCK= or limits.conf){}",
                      limit.rlim_cur, remedy));
    }
    case EMFILE:
    case ENFILE:
      return Status::from_errno(StatusCode::exhausted, error,
                                "an io_uring could not be made: file descriptors ran out (`ulimit -n`)");
    default: return Status::from_errno(StatusCode::unsupported, error, fmt::format("an io_uring could not be made{}", remedy));
  }
}

Status has_operations(io_uring& ring) {
  const Probe probe(io_uring_get_probe_ring(&ring));
  for (const Needed& operation : needed_operations) {
    if (probe && io_uring_opcode_supported(probe.get(), operation.code) != 0) continue;
    return Status(StatusCode::unsupported,
                  fmt::format("this kernel's io_uring lacks the operation {}{}", operation.name, remedy));
  }
  return {};
}

}  // namespace

bool uring_has_zero_copy(io_uring& ring) {
  const Probe probe(io_uring_get_probe_ring(&ring));
  // SENDMSG_ZC came with Linux 6.1, reports of what was copied with 6.2, which is known by its successor operations only.
  constexpr int first_operation_after_reports = IORING_OP_SENDMSG_ZC + 1;
  return probe && io_uring_opcode_supported(probe.get(), IORING_OP_SEND_ZC) != 0 &&
         probe->last_op >= first_operation_after_reports;
}

Status uring_make(io_uring& ring) {
  io_uring_params params{};
  params.flags = setup_flags;
  params.cq_entries = completion_entries;
  const int error = io_uring_queue_init_params(submission_entries, &ring, &params);
  if (error < 0) return setup_failed(-error);
  Status status = has_operations(ring);
  if (!status.ok()) io_uring_queue_exit(&ring);
  return status;
}

Status uring_probe() {
  io_uring ring{};
  Status status = uring_make(ring);
  if (status.ok()) io_uring_queue_exit(&ring);
  return status;
}

}  // namespace haul::tcp
