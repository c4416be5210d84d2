// The asking side: connects to one server, runs one job, leaves.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "haul/engine.h"
#include "object/job.h"

namespace haul::object {

struct ClientOptions {
  Address address;
  uint32_t lanes = 0;
  TransportPolicy policy = {};
  Duration timeout = std::chrono::seconds(10);  ///< for connecting, and again for the server's welcome
};

/// The engine's thread only. Must be destroyed before the engine; its two on_ functions are what EngineOptions' callbacks call.
class FileClient {
 public:
  /// Null: there was no thread for it.
  using MakeJob = std::function<std::unique_ptr<Job>(Channel&)>;

  FileClient(Engine& engine, const Clock& clock, ClientOptions options, MakeJob make_job);
  ~FileClient();

  void start();
  void on_message(Peer peer, const Message& message);
  void on_peer_closed(Peer peer, const Status& status);

  /// After every wait of the engine, and at least ten times a second.
  void step(TimePoint now);
  /// Ends the job, or the attempt to connect; finished() follows.
  void stop(Failure why);

  bool finished() const noexcept { return phase_ == Phase::finished; }
  bool connected() const noexcept { return welcome_.has_value(); }
  /// What went wrong, before, in or after the job.
  const Failure& failure() const noexcept;
  /// Null until the job began.
  const Job* job() const noexcept { return job_.get(); }
  /// What the peer calls itself, and the way to it, as they were while it was connected.
  const std::string& peer_name() const noexcept { return peer_name_; }
  const std::string& path() const noexcept { return path_; }
  const std::string& software() const noexcept { return software_; }
  uint16_t server_version() const noexcept { return welcome_.value_or(0); }
  Duration connect_duration() const noexcept { return connect_duration_; }

 private:
  enum class Phase : uint8_t { connecting, greeting, running, leaving, finished };

  void on_ready(const Status& status);
  void on_welcome(const FileMessage& message);
  void give_up(Failure why);
  void leave();

  Engine& engine_;
  const Clock& clock_;
  ClientOptions options_;
  MakeJob make_job_;
  Phase phase_ = Phase::connecting;
  Peer peer_;
  std::unique_ptr<Channel> channel_;
  std::unique_ptr<Job> job_;
  Failure failure_;
  std::optional<uint16_t> welcome_;
  std::string software_;
  std::string peer_name_;
  std::string path_;
  TimePoint deadline_{};
  TimePoint began_{};
  Duration connect_duration_{};
  bool peer_gone_ = false;
  bool closing_ = false;
  std::shared_ptr<char> alive_ = std::make_shared<char>();
};

}  // namespace haul::object
