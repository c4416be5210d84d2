// The asking side, from connecting to leaving.
#include "object/client.h"

#include <fmt/format.h>

namespace haul::object {

namespace {
constexpr Duration farewell = std::chrono::seconds(1);
}

FileClient::FileClient(Engine& engine, const Clock& clock, ClientOptions options, MakeJob make_job)
    : engine_(engine), clock_(clock), options_(std::move(options)), make_job_(std::move(make_job)) {}

FileClient::~FileClient() = default;

void FileClient::start() {
  began_ = clock_.now();
  PeerOptions options;
  options.lanes = options_.lanes;
  options.policy = options_.policy;
  options.connect_timeout = options_.timeout;
  options.on_ready = [this, alive = std::weak_ptr<char>(alive_)](Peer, const Status& status) {
    if (!alive.expired()) on_ready(status);
  };
  // The engine bounds the attempt; this only guards against an engine that forgets to.
  deadline_ = began_ + options_.timeout * 2;
  auto peer = engine_.connect(options_.address, std::move(options));
  if (!peer)
    return give_up(connection_failure(peer.status(), fmt::format("cannot connect to {}", options_.address.to_string())));
  peer_ = *peer;
}

void FileClient::on_ready(const Status& status) {
  if (phase_ != Phase::connecting) return;
  if (!status.ok()) return give_up(connection_failure(status, fmt::format("cannot reach {}", options_.address.to_string())));
  connect_duration_ = clock_.now() - began_;
  channel_ = std::make_unique<Channel>(peer_);
  phase_ = Phase::greeting;
  deadline_ = clock_.now() + options_.timeout;
}

void FileClient::on_message(Peer peer, const Message& message) {
  if (peer != peer_) return;
  on_ready({});  // the welcome may be delivered before that callback
  if (phase_ == Phase::leaving || phase_ == Phase::finished) return;
  auto decoded = decode(message.payload);
  const bool fits = decoded.ok() && std::holds_alternative<Data>(*decoded) == message.notification;
  if (!fits) {
    const auto why =
        decoded.ok() ? std::string("a notification where a message belongs") : std::string(decoded.status().message());
    return stop({.kind = FailureKind::protocol, .message = fmt::format("{}: {}", options_.address.to_string(), why)});
  }
  if (phase_ == Phase::greeting) return on_welcome(*decoded);
  job_->on_message(*decoded);
}

void FileClient::on_welcome(const FileMessage& message) {
  if (const auto* failed = std::get_if<Failed>(&message)) {
    return give_up({.kind = failed->kind, .message = failed->text, .side = Side::there});
  }
  const auto* welcome = std::get_if<Welcome>(&message);
  if (welcome == nullptr) {
    return give_up(
        {.kind = FailureKind::protocol,
         .message = fmt::format("{} is no file server: its first message is another", options_.address.to_string())});
  }
  software_ = printable(welcome->software);
  peer_name_ = printable(peer_.name());
  welcome_ = welcome->version;
  if (welcome->version != file_protocol_version) {
    return give_up(
        {.kind = FailureKind::protocol,
         .message = fmt::format("{} speaks version {} of the file protocol, this program version {}: upgrade the older one",
                                options_.address.to_string(), welcome->version, file_protocol_version)});
  }
  phase_ = Phase::running;
  job_ = make_job_(*channel_);
  if (!job_) return give_up({.kind = FailureKind::limit, .message = "no thread could be started (`ulimit -u`)"});
  job_->start();
}

void FileClient::on_peer_closed(Peer peer, const Status& status) {
  if (peer != peer_) return;
  peer_gone_ = true;
  if (job_) job_->on_peer_lost(status);
  if (phase_ == Phase::greeting) {
    give_up(status.ok() ? Failure{.kind = FailureKind::connection,
                                  .message = fmt::format("{} closed the connection at once", options_.address.to_string()),
                                  .side = Side::there,
                                  .status = StatusCode::unavailable}
                        : connection_failure(status, fmt::format("lost {}", options_.address.to_string())));
  }
}

void FileClient::step(TimePoint now) {
  if (channel_) channel_->flush();
  if (phase_ == Phase::running) {
    job_->step(now);
    if (job_->finished()) leave();
  }
  const bool waiting_for_server = phase_ == Phase::connecting || phase_ == Phase::greeting;
  if (waiting_for_server && now >= deadline_) {
    give_up({.kind = FailureKind::connection,
             .message = fmt::format("{} is connected but does not answer as a file server; is it `haul serve`?",
                                    options_.address.to_string()),
             .status = StatusCode::timed_out});
  }
  if (phase_ != Phase::leaving) return;
  if (!closing_ && channel_->drained()) {
    closing_ = true;
    peer_.close();
  }
  if (peer_gone_ || now >= deadline_) phase_ = Phase::finished;
}

void FileClient::stop(Failure why) {
  if (phase_ == Phase::running) {
    job_->fail(std::move(why));
  } else if (phase_ != Phase::leaving && phase_ != Phase::finished) {
    give_up(std::move(why));
  }
}

void FileClient::give_up(Failure why) {
  if (failure_.failed()) return;
  failure_ = std::move(why);
  if (channel_ && !peer_gone_) return leave();
  phase_ = Phase::finished;
}

void FileClient::leave() {
  phase_ = Phase::leaving;
  path_ = peer_.explain();
  deadline_ = clock_.now() + farewell;
}

const Failure& FileClient::failure() const noexcept { return !failure_.failed() && job_ ? job_->report().failure : failure_; }

}  // namespace haul::object
