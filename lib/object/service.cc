// The serving side: sessions and their jobs.
#include "object/service.h"

#include <fcntl.h>
#include <fmt/format.h>

#include <algorithm>

#include "object/measure.h"
#include "object/names.h"
#include "object/receiver.h"
#include "object/sender.h"

namespace haul::object {

struct FileService::Session {
  explicit Session(Peer peer) : channel(peer) {}

  Channel channel;
  std::unique_ptr<Job> job;
  std::string peer_name;
  bool reported = false;
  bool leaving = false;  ///< close once the channel is drained
  bool closing = false;  ///< close() was called
  bool gone = false;
  TimePoint began{};
};

namespace {

std::string absolute(std::string_view folder, std::string_view name) {
  std::string path = fmt::format("/{}", folder);
  if (!name.empty()) path += path.back() == '/' ? std::string(name) : fmt::format("/{}", name);
  return path;
}

/// What a peer with credentials was not allowed by its line in the file of authorized peers; empty: it may. Paths are those
/// that it names: links within the served folder lead where they lead.
std::string forbidden(const PeerIdentity& identity, const FileMessage& request) {
  if (!identity.authenticated()) return {};
  std::string_view verb;
  std::string path;
  if (const auto* push = std::get_if<PushRequest>(&request)) {
    verb = "push";
    path = absolute(push->destination, push->into ? push->name : std::string());
  } else if (const auto* pull = std::get_if<PullRequest>(&request)) {
    verb = "pull";
    path = absolute(pull->path, {});
  }
  if (verb.empty() || identity.may(verb, path)) return {};
  return fmt::format("\"{}\" ({}) may not {} {}: its line in the server's authorized_peers file does not allow it",
                     identity.name, identity.fingerprint, verb, printable(path));
}

std::string description(const FileMessage& request) {
  if (const auto* push = std::get_if<PushRequest>(&request)) return fmt::format("push to /{}", printable(push->destination));
  if (const auto* pull = std::get_if<PullRequest>(&request)) return fmt::format("pull of /{}", printable(pull->path));
  return "measurement";
}

}  // namespace

FileService::FileService(ServiceOptions options) : options_(std::move(options)) {}

FileService::~FileService() = default;

FileService::Session* FileService::find(const Peer& peer) {
  for (auto& session : sessions_) {
    if (session->channel.peer() == peer) return session.get();
  }
  return nullptr;
}

void FileService::on_peer(Peer peer) {
  if (stopping_ || sessions_.size() >= options_.max_sessions) {
    Channel channel(peer);
    channel.send(
        Failed{.kind = FailureKind::limit,
               .text = stopping_ ? "the server is stopping" : "the server has all the sessions it may have: try again later"});
    peer.close();
    return;
  }
  auto session = std::make_unique<Session>(peer);
  const PeerIdentity identity = peer.identity();
  session->peer_name = printable(identity.authenticated() ? identity.name : peer.name());
  session->channel.send(Welcome{.version = file_protocol_version, .software = fmt::format("haul {}", version())});
  sessions_.push_back(std::move(session));
}

void FileService::on_message(Peer peer, const Message& message) {
  Session* session = find(peer);
  if (session == nullptr || session->leaving) return;
  auto decoded = decode(message.payload);
  if (!decoded) return refuse(*session, FailureKind::protocol, std::string(decoded.status().message()));
  const bool is_data = std::holds_alternative<Data>(*decoded);
  if (is_data != message.notification) return refuse(*session, FailureKind::protocol, "a notification where a message belongs");
  if (const auto* ping = std::get_if<Ping>(&*decoded)) return session->channel.send(Pong{ping->token});
  if (session->job) return session->job->on_message(*decoded);
  if (std::holds_alternative<Working>(*decoded)) {  // it counts what it is about to push
    session->began = TimePoint{};
    return;
  }
  begin_job(*session, *decoded);
}

void FileService::on_peer_closed(Peer peer, const Status& status) {
  Session* session = find(peer);
  if (session == nullptr) return;
  session->gone = true;
  if (session->job) session->job->on_peer_lost(status);
}

void FileService::begin_job(Session& session, const FileMessage& request) {
  if (std::holds_alternative<Failed>(request)) {  // it gave up before it began
    session.leaving = true;
    return;
  }
  uint16_t theirs = file_protocol_version;
  if (const auto* push = std::get_if<PushRequest>(&request)) theirs = push->version;
  if (const auto* pull = std::get_if<PullRequest>(&request)) theirs = pull->version;
  if (theirs != file_protocol_version) {
    return refuse(session, FailureKind::protocol,
                  fmt::format("the client speaks version {} of the file protocol, the server version {}: upgrade the older one",
                              theirs, file_protocol_version));
  }
  if (std::string fault = forbidden(session.channel.peer().identity(), request); !fault.empty()) {
    return refuse(session, FailureKind::not_permitted, std::move(fault));
  }
  session.job = make_job(session, request);
  if (!session.job) return;
  session.job->describe(description(request));
  session.job->start();
}

std::unique_ptr<Job> FileService::make_job(Session& session, const FileMessage& request) {
  if (std::holds_alternative<Measure>(request))
    return std::make_unique<MeasureHost>(session.channel, *engine_, options_.limits);
  base::UniqueFd folder(fcntl(options_.folder.get(), F_DUPFD_CLOEXEC, 0));
  if (!folder) {
    refuse(session, FailureKind::limit, "the server has no file descriptor left: try again later");
    return nullptr;
  }
  auto worker = options_.make_worker();
  if (!worker) {
    refuse(session, FailureKind::limit, "the server can start no further thread: try again later");
    return nullptr;
  }
  if (const auto* push = std::get_if<PushRequest>(&request)) {
    SinkOptions sink{.destination = push->destination,
                     .into = push->into,
                     .name = push->name,
                     .overwrite = push->overwrite,
                     .totals = push->totals,
                     .shown_folder = {}};
    return std::make_unique<Receiver>(session.channel, *engine_, std::move(folder), std::move(sink), std::move(worker),
                                      options_.limits, std::nullopt);
  }
  if (const auto* pull = std::get_if<PullRequest>(&request)) {
    if (const auto fault = name_fault(pull->path); !fault.empty()) {
      refuse(session, FailureKind::bad_name, fmt::format("the path \"{}\" is refused: {}", printable(pull->path), fault));
      return nullptr;
    }
    if (pull->rate_bytes_s) session.channel.peer().limit_rate(pull->rate_bytes_s);
    const Root root{.folder_fd = folder.get(), .follow = Follow::inside};
    std::vector<Top> tops{
        {.path = pull->path, .name = std::string(split(pull->path).second), .only_what_is_in_it = pull->path.empty()}};
    return std::make_unique<Sender>(session.channel, *engine_,
                                    std::make_unique<Source>(std::move(tops), root, std::move(folder)), std::move(worker),
                                    options_.limits, std::nullopt);
  }
  refuse(session, FailureKind::protocol, "the first message is not a request");
  return nullptr;
}

void FileService::refuse(Session& session, FailureKind kind, std::string text) {
  if (session.job) return session.job->fail({.kind = kind, .message = std::move(text)});
  session.channel.send(Failed{.kind = kind, .text = text});
  session.leaving = true;
  if (!options_.on_job_done) return;
  JobReport report;
  report.what = "request";
  report.failure = {.kind = kind, .message = std::move(text)};
  options_.on_job_done(session.peer_name, report);
}

void FileService::step(TimePoint now) {
  for (auto& session : sessions_) step_session(*session, now);
  std::erase_if(sessions_, [](const auto& session) { return session->gone && (!session->job || session->job->finished()); });
}

void FileService::step_session(Session& session, TimePoint now) {
  if (session.began == TimePoint{}) session.began = now;
  session.channel.flush();
  if (session.job) session.job->step(now);
  if (session.job && session.job->finished() && !session.reported) {
    session.reported = true;
    session.began = now;
    ++jobs_done_;
    if (options_.on_job_done) options_.on_job_done(session.peer_name, session.job->report());
  }
  const bool resting = !session.job || session.reported;
  if (resting && now - session.began >= options_.idle) session.leaving = true;
  if (session.gone || session.closing) return;
  if (session.channel.overflowed()) {
    session.closing = true;
    session.channel.peer().close(false);
  } else if (resting && (session.leaving || stopping_) && session.channel.drained()) {
    session.closing = true;
    session.channel.peer().close();
  }
}

void FileService::stop(const Failure& why) {
  if (stopping_) return;
  stopping_ = true;
  for (auto& session : sessions_) {
    if (session->job) session->job->fail(why);
  }
}

}  // namespace haul::object
