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

/// What to add to a refusal by policy.
std::string_view insecure_hint();

}  // namespace haul::tool
