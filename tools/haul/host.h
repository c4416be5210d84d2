// The engine that a command runs on, made from its options.
#pragma once

#include <functional>
#include <memory>

#include "haul/engine.h"
#include "options.h"

namespace haul::tool {

struct EngineCallbacks {
  std::function<void(Peer)> on_peer;
  std::function<void(Peer, const Message&)> on_message;
  std::function<void(Peer, const Status&)> on_peer_closed;
};

/// Over tcp, with a log to stderr.
Result<std::unique_ptr<Engine>> make_engine(const CommonOptions& options, EngineCallbacks callbacks);

/// The files that the command line names, or that are in its folder.
Credentials credentials_of(const CommonOptions& options);

}  // namespace haul::tool
