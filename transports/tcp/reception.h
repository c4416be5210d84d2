// Listening sockets, and accepted ones until they introduced themselves: bounded in number and time.
#pragma once

#include <array>
#include <memory>
#include <optional>
#include <unordered_map>
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
    uint64_t network = 0;   // where it is from: Endpoint::network()
    size_t postponed = 0;   // bytes that wait until their handshake may begin
    bool admitted = false;  // its handshake, if there is one, was allowed to begin
    bool leaving = false;
    bool parting = false;  // it was told why, and hangs up itself: closing now could take the words back
    size_t unread = 0;     // bytes that it said since

    bool silent() const noexcept { return parting || (!admitted && postponed == 0); }
  };

  void accept_more();
  void accepted(const IoOperation& operation, int result);
  void make_room();
  void receive(Guest& guest);
  void received(Guest& guest, int result);
  void greet(Guest& guest, size_t bytes);
  void resume(Guest& guest);
  bool may_handshake();
  void leave(const Guest& guest);
  void part(Guest& guest);
  void turned_away(const Guest& guest, const Status& why);

  Context& context_;
  ArrivalSink& sink_;
  std::vector<std::unique_ptr<Door>> doors_;
  std::vector<std::unique_ptr<Guest>> guests_;   // the oldest first
  std::array<std::byte, 4096> unread_{};         // what those who part still say
  std::unordered_map<uint64_t, size_t> places_;  // that a network's guests hold
  size_t postponed_ = 0;                         // guests whose handshakes wait
  TimePoint next_handshake_{};
  std::optional<TimePoint> retry_;  // when accept() is tried again, after the system ran out of something
  TimePoint log_period_end_{};
  uint32_t logged_ = 0;      // lines in this period
  uint64_t not_logged_ = 0;  // strangers turned away since
  bool stopping_ = false;
};

}  // namespace haul::tcp
