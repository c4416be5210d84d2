// The kernel as a fuzz target plays it: what a connection receives, and how much of what it sends is taken at a time.
#pragma once

#include <deque>
#include <optional>
#include <vector>

#include "fuzz/target.h"
#include "tcp/io.h"

namespace haul::fuzz {

/// Sockets given to it carry no traffic. One connection at a time.
class ScriptedIo final : public tcp::IoLoop {
 public:
  std::deque<std::byte> incoming;  ///< what the connection receives next
  bool ended = false;              ///< nothing comes after `incoming`
  size_t receive_most = SIZE_MAX;  ///< at a time
  size_t send_most = SIZE_MAX;     ///< at a time; 0: the peer takes nothing
  Bytes sent;

  const char* name() const noexcept override { return "scripted"; }
  bool wants_nonblocking_sockets() const noexcept override { return false; }
  void submit(tcp::IoOperation& operation) override;
  void cancel(tcp::IoOperation& operation) override;
  void forget(int) override {}
  size_t poll() override;
  bool has_queued() const noexcept override { return submitted_; }
  bool wait(int) override { return true; }
  int wakeup_fd() const noexcept override { return -1; }
  bool has_zero_copy() const noexcept override { return false; }
  Result<int> register_buffer(std::span<std::byte>) override { return Status(StatusCode::unsupported, "not here"); }
  void unregister_buffer(int) override {}

 private:
  struct Pending {
    tcp::IoOperation* operation;
    bool cancelled;
  };

  /// The operation's result; absent: it goes on.
  std::optional<int> progress(const Pending& pending);
  std::optional<int> receive(msghdr& message);
  std::optional<int> send(const msghdr& message);

  std::vector<Pending> pending_;
  bool submitted_ = false;
};

}  // namespace haul::fuzz
