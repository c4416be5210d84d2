// Turns host names into addresses without blocking: numeric ones at once, others on a helper thread.
#pragma once

#include <deque>
#include <functional>
#include <utility>
#include <vector>

#include "haul/address.h"
#include "haul/transport.h"
#include "net/endpoint.h"

namespace haul::net {

/// At once: blocks when the host is a name that the system has to ask somebody for. For addresses of this machine.
Result<std::vector<Endpoint>> resolve_now(const Address& address);

/// What a name resolved to, for a connection that may be gone meanwhile.
struct Resolution {
  ConnectionId connection = 0;
  std::vector<Endpoint> endpoints;
  Status status;
};

/// A look-up can't be interrupted, so its thread is detached and shares only what `put` holds: results for what is gone are
/// dropped there.
class Resolver {
 public:
  using Put = std::function<void(Resolution)>;
  /// `put` is called by any thread.
  explicit Resolver(Put put) : put_(std::move(put)) {}

  /// A Resolution for `connection` comes to `put`. At most a few look-ups run at one time; others wait their turn.
  void resolve(ConnectionId connection, const Address& address);
  /// Each Resolution that came makes room for the next look-up.
  void finished();

 private:
  struct Wanted {
    ConnectionId connection = 0;
    Address address;
  };
  void start_next();

  Put put_;
  std::deque<Wanted> waiting_;
  size_t running_ = 0;
};

}  // namespace haul::net
