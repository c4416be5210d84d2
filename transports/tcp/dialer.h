// Connects to the first of several addresses that answers, trying them in a staggered race (RFC 8305, "Happy Eyeballs").
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "base/unique_fd.h"
#include "haul/status.h"
#include "tcp/context.h"
#include "tcp/socket.h"

namespace haul::tcp {

class DialerOwner {
 public:
  virtual ~DialerOwner() = default;
  virtual void on_dialed(base::UniqueFd socket) = 0;
  virtual void on_dial_failed(const Status& status) = 0;
};

/// Used once. Must not be destroyed while busy().
class Dialer final : public IoHandler {
 public:
  Dialer(Context& context, DialerOwner& owner) : context_(context), owner_(owner) {}

  /// `endpoints` in the resolver's order of preference, not empty. `target`: what the user asked for, for messages.
  void start(std::vector<Endpoint> endpoints, std::string target);
  /// Starts the next address when it is time.
  void on_timer();
  void stop();
  bool busy() const noexcept;

  void on_io(IoOperation& operation, int result) override;
  void on_released(IoOperation&, bool) override {}

 private:
  struct Attempt {
    IoOperation operation;
    base::UniqueFd socket;
    Endpoint endpoint;
  };

  void start_next();
  void failed(const Status& why);

  Context& context_;
  DialerOwner& owner_;
  std::string target_;
  std::vector<Endpoint> endpoints_;
  size_t next_ = 0;
  TimePoint next_start_{};
  std::vector<std::unique_ptr<Attempt>> attempts_;
  size_t racing_ = 0;
  Status first_failure_;
  bool over_ = false;
};

}  // namespace haul::tcp
