// Listening sockets, and accepted ones until they introduced themselves: bounded in number and time.
#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "base/unique_fd.h"
#include "tcp/context.h"
#include "tcp/greeting.h"
#include "tcp/inbox.h"
#include "tcp/socket.h"
#include "tcp/wire.h"

namespace haul::tcp {

class ArrivalSink {
 public:
  virtual ~ArrivalSink() = default;
  virtual void on_arrival(Arrival arrival) = 0;
};

/// Must not be destroyed while busy().
class Reception final : public IoHandler {
 public:
  Reception(Context& context, ArrivalSink& sink) : context_(context), sink_(sink) {}

  void open(base::UniqueFd listening);
  void on_timer();
  void stop();
  bool busy() const noexcept;

  void on_io(IoOperation& operation, int result) override;
  void on_released(IoOperation&, bool) override {}

 private:
  struct Door {
    IoOperation operation;
    base::UniqueFd socket;
  };
  struct Guest {
    IoOperation operation;
    base::UniqueFd socket;
    Endpoint from;
    TimePoint deadline{};
    std::unique_ptr<Greeting> greeting;
    iovec range{};
    size_t postponed = 0;   // bytes that wait until their handshake may begin
    bool admitted = false;  // its handshake, if there is one, was allowed to begin
    bool leaving = false;
  };

  void accept_more();
  void accepted(const IoOperation& operation, int result);
  void make_room();
  void receive(Guest& guest);
  void received(Guest& guest, int result);
  void greet(Guest& guest, size_t bytes);
  bool may_handshake();
  void leave(const Guest& guest);

  Context& context_;
  ArrivalSink& sink_;
  std::vector<std::unique_ptr<Door>> doors_;
  std::vector<std::unique_ptr<Guest>> guests_;
  TimePoint next_handshake_{};
  std::optional<TimePoint> retry_;  // when accept() is tried again, after the system ran out of something
  bool stopping_ = false;
};

}  // namespace haul::tcp
