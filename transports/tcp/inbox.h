// Where other threads leave things for a transport: sockets that an acceptor hands over, names that were resolved.
#pragma once

#include <memory>
#include <mutex>
#include <variant>
#include <vector>

#include "base/unique_fd.h"
#include "haul/status.h"
#include "haul/transport.h"
#include "net/resolver.h"
#include "tcp/greeting.h"
#include "tcp/socket.h"
#include "tcp/wire.h"

namespace haul::tcp {

/// An accepted socket whose peer introduced itself.
struct Arrival {
  base::UniqueFd socket;
  wire::Preface preface;
  Link link;
};

using net::Resolution;

/// Thread-safe. Outlives its transport when others still hold it; what comes then is dropped with it.
class Inbox {
 public:
  using Item = std::variant<Arrival, Resolution>;

  /// Errors: exhausted (file descriptors).
  static Result<std::shared_ptr<Inbox>> create();

  void put(Item item);
  std::vector<Item> take();
  /// Readable when something is there.
  int fd() const noexcept { return event_.get(); }

 private:
  base::UniqueFd event_;
  std::mutex mutex_;
  std::vector<Item> items_;
};

}  // namespace haul::tcp
