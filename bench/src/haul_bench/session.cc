// The measuring side's connection to a receiver.
#include "haul_bench/session.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "haul_bench/engine_setup.h"
#include "measure/usage.h"

namespace bench {

namespace {

using haul::Status;
using haul::StatusCode;

constexpr uint64_t client_seed = 1;
constexpr auto answer_limit = std::chrono::seconds(10);
constexpr auto memory_limit = std::chrono::seconds(120);  // the receiver fills its working set before it answers
constexpr auto goodbye_limit = std::chrono::seconds(2);

}  // namespace

haul::Result<std::unique_ptr<Session>> Session::open(const Settings& settings) {
  std::unique_ptr<Session> session(new Session(settings));
  if (settings.peer.empty()) {
    auto server = ServerProcess::start(settings);
    if (!server) return server.status();
    session->server_.emplace(std::move(server).value());
  }
  if (const Status connected = session->connect(); !connected.ok()) return connected;
  if (const Status exchanged = session->exchange_memory(); !exchanged.ok()) return exchanged;
  return session;
}

Session::~Session() {
  // After a failure callbacks of transfers may lead nowhere any more: the engine must not run again.
  if (!engine_ || !failure_.ok() || peer_.state() != haul::PeerState::ready) return;
  peer_.close();
  const haul::Clock& clock = haul::system_clock();
  const haul::TimePoint end = clock.now() + goodbye_limit;
  // on_peer_closed records the end as a failure.
  while (failure_.ok() && clock.now() < end) engine_->wait(std::chrono::milliseconds(100));
}

Status Session::connect() {
  haul::EngineOptions options;
  options.on_message = [this](haul::Peer /*peer*/, const haul::Message& message) { on_message(message); };
  options.on_peer_closed = [this](haul::Peer /*peer*/, const Status& why) {
    fail(why.ok() ? Status(StatusCode::peer_lost, "the receiver closed the connection before the run was over") : why);
  };
  auto engine = make_engine(settings_, std::move(options));
  if (!engine) return engine.status();
  engine_ = std::move(engine).value();

  const auto address = haul::Address::parse(server_ ? server_->address() : settings_.peer);
  if (!address) return address.status();
  bool ready = false;
  haul::PeerOptions peer_options;
  peer_options.lanes = settings_.lanes;
  peer_options.policy.require = {settings_.transport};
  peer_options.on_ready = [this, &ready](haul::Peer /*peer*/, const Status& outcome) {
    ready = true;
    if (!outcome.ok()) fail(outcome);
  };
  const auto peer = engine_->connect(*address, std::move(peer_options));
  if (!peer) return peer.status();
  peer_ = *peer;
  return run_until([&ready] { return ready; }, answer_limit + std::chrono::seconds(5), "the connection");
}

Status Session::exchange_memory() {
  auto memory = make_working_set(*engine_, settings_.working_set_bytes, client_seed);
  if (!memory) return memory.status();
  local_ = std::move(memory).value();
  const auto granted = peer_.grant(local_.slice(), haul::Rights::write);
  if (!granted) return granted.status();
  const Setup setup{protocol_version, settings_.working_set_bytes, settings_.block_bytes, *granted};
  if (Status sent = peer_.send(encode(setup).bytes()); !sent.ok()) return sent;
  Status answered = run_until([this] { return ready_.has_value(); }, memory_limit, "the receiver's memory");
  if (!answered.ok()) return answered;
  remote_ = ready_->server_memory;
  if (ready_->settings != shared_settings(settings_)) {
    difference_ = fmt::format("ours: {}; receiver: {}", shared_settings(settings_), ready_->settings);
  }
  return {};
}

void Session::on_message(const haul::Message& message) {
  BenchMessage decoded = decode(message.payload);
  if (const auto* ping = std::get_if<Ping>(&decoded)) {
    if (on_ping_) on_ping_(*ping);
  } else if (auto* usage = std::get_if<Usage>(&decoded)) {
    server_usage_ = *usage;
  } else if (auto* ready = std::get_if<Ready>(&decoded)) {
    ready_ = std::move(*ready);
  } else if (auto* refused = std::get_if<Refused>(&decoded)) {
    fail(Status(StatusCode::refused, "the receiver says: " + refused->why));
  } else {
    fail(Status(StatusCode::protocol, "unknown message from the receiver: is it the same build of haul-bench?"));
  }
}

void Session::fail(const Status& why) {
  if (failure_.ok()) failure_ = why;
}

Status Session::run_until(const std::function<bool()>& done, haul::Duration limit, const char* waiting_for,
                          haul::Duration step) {
  const haul::Clock& clock = haul::system_clock();
  const haul::TimePoint end = clock.now() + limit;
  while (failure_.ok() && !done()) {
    const haul::Duration left = end - clock.now();
    if (left <= haul::Duration::zero()) {
      const auto limit_s = std::chrono::duration_cast<std::chrono::seconds>(limit).count();
      fail({StatusCode::timed_out, fmt::format("{} did not come within {} s: is the receiver alive?", waiting_for, limit_s)});
      break;
    }
    engine_->wait(std::min(left, step));
  }
  return failure_;
}

haul::Result<BothUsages> Session::usages() {
  server_usage_.reset();
  if (const Status sent = peer_.send(encode(AskUsage{}).bytes()); !sent.ok()) return sent;
  const Status answered = run_until([this] { return server_usage_.has_value(); }, answer_limit, "the receiver's usage");
  if (!answered.ok()) return answered;
  return BothUsages{{cpu_time_ns(), peak_resident_bytes().value_or(0), retransmits(peer_)}, *server_usage_};
}

}  // namespace bench
