// Runs one client job.
#include "client_run.h"

#include <fmt/format.h>

#include <utility>

#include "host.h"
#include "outcome.h"
#include "progress.h"
#include "signals.h"

namespace haul::tool {

using object::FailureKind;
using object::FileClient;

namespace {

constexpr Duration longest_wait = std::chrono::milliseconds(100);

void drive(Engine& engine, FileClient& client, const SignalWatch& signals, Progress& progress, ClientOutcome& outcome) {
  const Clock& clock = system_clock();
  TimePoint began{};
  client.start();
  while (!client.finished()) {
    engine.wait(longest_wait);
    const TimePoint now = clock.now();
    client.step(now);
    if (signals.caught() != 0) client.stop({.kind = FailureKind::interrupted, .message = "interrupted"});
    if (const auto* job = client.job()) {
      if (began == TimePoint{}) began = now;
      if (!job->finished()) outcome.duration = now - began;
      progress.update(job->report(), now);
    }
  }
  progress.end();
}

}  // namespace

ClientOutcome run_client(const CommonOptions& common, const Address& address, bool show_progress, MakeClientJob make_job,
                         const std::function<void(const object::FileClient&, Engine&)>& inspect) {
  ClientOutcome outcome;
  std::unique_ptr<FileClient> client;  // outlives the engine as an empty pointer, for late callbacks
  auto engine = make_engine(common, {.on_peer = {},
                                     .on_message =
                                         [&](Peer peer, const Message& message) {
                                           if (client) client->on_message(peer, message);
                                         },
                                     .on_peer_closed =
                                         [&](Peer peer, const Status& status) {
                                           if (client) client->on_peer_closed(peer, status);
                                         }});
  if (!engine) {
    outcome.failure = object::connection_failure(engine.status(), "cannot start");
    return outcome;
  }
  const auto signals = SignalWatch::start([&engine] { (*engine)->wake(); });
  if (!signals) {
    outcome.failure = object::connection_failure(signals.status(), "cannot start");
    return outcome;
  }
  Progress progress(show_progress);
  client = std::make_unique<FileClient>(
      **engine, system_clock(),
      object::ClientOptions{.address = address, .lanes = common.lanes, .policy = common.policy(), .timeout = common.timeout()},
      [&](object::Channel& channel) { return make_job(channel, **engine); });
  drive(**engine, *client, **signals, progress, outcome);
  outcome.failure = client->failure();
  outcome.reached = client->connected() ? Reached::server : Reached::engine;
  outcome.signal = (*signals)->caught();
  inspect(*client, **engine);
  client.reset();
  return outcome;
}

}  // namespace haul::tool
