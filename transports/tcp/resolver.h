// Turns host names into addresses without blocking: numeric ones at once, others on a helper thread.
#pragma once

#include <deque>
#include <memory>
#include <vector>

#include "haul/address.h"
#include "tcp/inbox.h"
#include "tcp/socket.h"

namespace haul::tcp {

/// At once: blocks when the host is a name that the system has to ask somebody for. For addresses of this machine.
Result<std::vector<Endpoint>> resolve_now(const Address& address);

/// A look-up can't be interrupted, so its thread is detached and shares only the inbox: results for what is gone are dropped.
class Resolver {
 public:
  explicit Resolver(std::shared_ptr<Inbox> inbox) : inbox_(std::move(inbox)) {}

  /// A Resolution for `connection` comes to the inbox. At most a few look-ups run at one time; others wait their turn.
  void resolve(ConnectionId connection, const Address& address);
  /// Each Resolution taken from the inbox makes room for the next look-up.
  void finished();

 private:
  struct Wanted {
    ConnectionId connection = 0;
    Address address;
  };
  void start_next();

  std::shared_ptr<Inbox> inbox_;
  std::deque<Wanted> waiting_;
  size_t running_ = 0;
};

}  // namespace haul::tcp
