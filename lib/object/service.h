// The serving side: sessions of many clients on one engine, each bounded, all kept beneath one folder.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/unique_fd.h"
#include "haul/engine.h"
#include "object/job.h"
#include "object/worker.h"

namespace haul::object {

struct ServiceOptions {
  base::UniqueFd folder;  ///< what is served
  uint32_t max_sessions = 16;
  JobLimits limits;                          ///< of each session
  Duration idle = std::chrono::seconds(60);  ///< a client that asks for nothing for this long is sent away
  MakeWorker make_worker;
  /// A job ended, well or not. `peer` is for people.
  std::function<void(const std::string& peer, const JobReport& report)> on_job_done;
};

/// One connection is one session is at most one job. The engine's thread only. Must be destroyed before the engine; its three
/// on_ functions are what EngineOptions' callbacks call.
class FileService {
 public:
  explicit FileService(ServiceOptions options);
  ~FileService();

  void attach(Engine& engine) noexcept { engine_ = &engine; }

  void on_peer(Peer peer);
  void on_message(Peer peer, const Message& message);
  void on_peer_closed(Peer peer, const Status& status);

  /// After every wait of the engine, and at least once a second while there are sessions.
  void step(TimePoint now);

  /// No new sessions; those that there are end, clean up and say why.
  void stop(const Failure& why);
  size_t sessions() const noexcept { return sessions_.size(); }
  uint64_t jobs_done() const noexcept { return jobs_done_; }

 private:
  struct Session;

  Session* find(const Peer& peer);
  void begin_job(Session& session, const FileMessage& request);
  std::unique_ptr<Job> make_job(Session& session, const FileMessage& request);
  void refuse(Session& session, FailureKind kind, std::string text);
  void step_session(Session& session, TimePoint now);

  ServiceOptions options_;
  Engine* engine_ = nullptr;
  bool stopping_ = false;
  uint64_t jobs_done_ = 0;
  std::vector<std::unique_ptr<Session>> sessions_;
};

}  // namespace haul::object
