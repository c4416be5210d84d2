// Knows which transport of the process an accepted socket belongs to.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <vector>

#include "haul/tcp.h"
#include "tcp/inbox.h"
#include "tcp/socket.h"
#include "tcp/wire.h"

namespace haul::tcp {

/// Thread-safe: transports of several engines share one.
class Acceptor {
 public:
  void attach(std::shared_ptr<Inbox> inbox);
  void detach(const std::shared_ptr<Inbox>& inbox);

  /// Lanes with this token belong to `inbox`.
  void expect(const wire::Token& token, std::shared_ptr<Inbox> inbox);
  void forget(const wire::Token& token);

  /// Who gets a socket: for a lane who expects it (null: nobody), else the attached transports in turn.
  std::shared_ptr<Inbox> route(const wire::Preface& preface);

  /// `inbox`'s transport listens at `endpoint` until it detaches; it is the first to get a peer.
  void listening(const Endpoint& endpoint, const std::shared_ptr<Inbox>& inbox);
  /// The port of a listening socket that is reached at this local address.
  std::optional<uint16_t> port_at(const Endpoint& local);

 private:
  struct Door {
    Endpoint endpoint;
    const Inbox* inbox;
  };

  std::mutex mutex_;
  std::vector<std::shared_ptr<Inbox>> members_;
  size_t turn_ = 0;
  std::map<wire::Token, std::shared_ptr<Inbox>> lanes_;
  std::vector<Door> doors_;
};

}  // namespace haul::tcp
