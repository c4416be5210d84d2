// Asynchronous socket operations, over io_uring or epoll: the one seam between the transport and the kernel.
#pragma once

#include <sys/socket.h>
#include <sys/uio.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "haul/status.h"

namespace haul::tcp {

class IoOperation;

/// Whoever owns operations. Called from Io::poll() only.
class IoHandler {
 public:
  virtual ~IoHandler() = default;
  /// The operation is over and may be submitted again: bytes, an accepted socket, or a negative errno (-ECANCELED).
  virtual void on_io(IoOperation& operation, int result) = 0;
  /// The kernel let go of the memory of a zero-copy send; `copied`: it had copied the bytes after all. Always after on_io().
  virtual void on_released(IoOperation& operation, bool copied) = 0;
};

enum class IoKind : uint8_t { receive, send, send_zero_copy, accept, connect, readable };

/// One operation, owned by its handler, which fills the fields and must keep the operation (and the memory it names) until
/// it is no longer busy(). Reused: the data path allocates none.
class IoOperation {
 public:
  IoHandler* handler = nullptr;
  IoKind kind = IoKind::receive;
  int fd = -1;
  msghdr message{};                    ///< receive, send: the memory
  bool whole = true;                   ///< send: io_uring may go on until all is sent. Kernel TLS refuses that (MSG_WAITALL).
  std::span<const std::byte> payload;  ///< send_zero_copy
  int registered = -1;                 ///< send_zero_copy: the registered buffer that `payload` lies in
  sockaddr_storage address{};          ///< connect: where to; accept: from where
  socklen_t address_bytes = 0;
  uint64_t owner_data = 0;  ///< the handler's own

  /// Submitted and not over, or its memory not released.
  bool busy() const noexcept { return in_progress || unreleased; }

  bool in_progress = false;  ///< for IoLoop
  bool unreleased = false;   ///< for IoLoop
};

/// Used by one thread. Operations of one socket: at most one that reads and one that writes at a time, besides zero-copy sends
/// that only wait for their release.
class IoLoop {
 public:
  virtual ~IoLoop() = default;

  virtual const char* name() const noexcept = 0;
  /// Sockets given to operations must be non-blocking (epoll) or must not be (io_uring).
  virtual bool wants_nonblocking_sockets() const noexcept = 0;
  /// Queues an operation; it starts in the next poll().
  virtual void submit(IoOperation& operation) = 0;
  /// Asks an operation to end early; on_io() follows with -ECANCELED or its own outcome.
  virtual void cancel(IoOperation& operation) = 0;
  /// To be called before a socket is closed. No operation on it may be busy.
  virtual void forget(int fd) = 0;
  /// Starts what is queued, without blocking, and reports what is over. Returns the number of reports.
  virtual size_t poll() = 0;
  /// Something is queued that only poll() starts.
  virtual bool has_queued() const noexcept = 0;
  /// Blocks until something is over or about `limit_ms` passed; for destructors. False: this thread cannot wait for it, since
  /// another one used this object before.
  virtual bool wait(int limit_ms) = 0;
  /// Readable when poll() has work that was not queued by this side.
  virtual int wakeup_fd() const noexcept = 0;
  /// The kernel can release a send's memory later instead of copying it.
  virtual bool has_zero_copy() const noexcept = 0;
  /// Keeps memory pinned for zero-copy sends: an index, or why not (exhausted names the limit). Memory outlives its index.
  virtual Result<int> register_buffer(std::span<std::byte> memory) = 0;
  virtual void unregister_buffer(int index) = 0;
};

/// A receive that does not wait: bytes or a negative errno, -EAGAIN when there is nothing. The operation must not be busy.
int receive_at_once(IoOperation& operation) noexcept;
/// Likewise a send.
int send_at_once(IoOperation& operation) noexcept;

/// Errors: unsupported (the reason and the remedy), exhausted.
Result<std::unique_ptr<IoLoop>> make_uring_io(bool zero_copy);
Result<std::unique_ptr<IoLoop>> make_epoll_io();

}  // namespace haul::tcp
