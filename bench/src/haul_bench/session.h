// The measuring side's connection: engine, receiver, the working sets of both sides, and questions to the receiver.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "haul/engine.h"
#include "haul_bench/protocol.h"
#include "haul_bench/server_process.h"
#include "haul_bench/settings.h"

namespace bench {

/// What both sides have used up to one moment.
struct BothUsages {
  Usage client;
  Usage server;
};

class Session {
 public:
  /// Starts a receiver if the settings name no peer, connects, and exchanges memory. Bounded in time.
  static haul::Result<std::unique_ptr<Session>> open(const Settings& settings);
  /// Says goodbye to the peer, so that the receiver ends without an error.
  ~Session();
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;

  haul::Peer peer() const { return peer_; }
  haul::Engine& engine() { return *engine_; }
  const haul::Buffer& local() const { return local_; }
  const haul::RemoteBuffer& remote() const { return remote_; }
  haul::Slice local(uint64_t offset, uint64_t length) const { return local_.slice(offset, length); }
  haul::RemoteSlice remote(uint64_t offset, uint64_t length) const { return remote_.slice(offset, length); }

  /// The notifications that follow the receiver's answers to pings. One handler at a time; empty: none.
  void on_ping(std::function<void(const Ping&)> handler) { on_ping_ = std::move(handler); }

  /// A transfer or the peer failed: what waits, ends with this. The first failure counts.
  void fail(const haul::Status& why);

  /// Runs the engine until `done`, a failure or the limit. Errors: the failure, or timed_out with what was waited for.
  /// Asks `done` every `step` at least.
  haul::Status run_until(const std::function<bool()>& done, haul::Duration limit, const char* waiting_for,
                         haul::Duration step = std::chrono::milliseconds(500));

  haul::Result<BothUsages> usages();

  /// The receiver's settings where they differ from ours, else empty.
  const std::string& difference() const { return difference_; }

 private:
  explicit Session(const Settings& settings) : settings_(settings) {}
  haul::Status connect();
  haul::Status exchange_memory();
  void on_message(const haul::Message& message);

  const Settings& settings_;
  std::optional<ServerProcess> server_;
  haul::Status failure_;
  std::function<void(const Ping&)> on_ping_;
  std::optional<Ready> ready_;
  std::optional<Usage> server_usage_;
  std::string difference_;
  std::unique_ptr<haul::Engine> engine_;  // after what its callbacks use
  haul::Peer peer_;
  haul::Buffer local_;
  haul::RemoteBuffer remote_;
};

}  // namespace bench
