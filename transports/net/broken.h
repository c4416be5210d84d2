// What a backend over sockets tells of a peer that broke its protocol.
#pragma once

#include <fmt/format.h>

#include <string_view>

#include "haul/status.h"

namespace haul::net {

/// `what` names the mistake; the connection it came over is closed.
inline Status broken(std::string_view what) {
  return Status(StatusCode::protocol, fmt::format("the peer broke the protocol: {}; the connection was closed", what));
}

}  // namespace haul::net
