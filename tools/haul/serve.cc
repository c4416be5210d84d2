// haul serve.
#include <fcntl.h>
#include <fmt/format.h>

#include <cerrno>
#include <cstdio>
#include <memory>

#include "commands.h"
#include "host.h"
#include "object/service.h"
#include "object/stale.h"
#include "outcome.h"
#include "print.h"
#include "signals.h"
#include "steering.h"
#include "text.h"

namespace haul::tool {

using object::Failure;
using object::FailureKind;
using object::FileService;

namespace {

constexpr Duration wait_with_sessions = std::chrono::milliseconds(200);
constexpr Duration wait_without = std::chrono::seconds(10);
constexpr Duration time_to_stop = std::chrono::seconds(3);

void print_job(const std::string& peer, const object::JobReport& report, const CommonOptions& common) {
  const bool ok = !report.failure.failed();
  if (common.json) {
    nlohmann::json event{{"event", "job"},
                         {"ok", ok},
                         {"peer", peer},
                         {"what", report.what},
                         {"entries", report.entries_done},
                         {"bytes", report.bytes_done}};
    tell_steering(event, common, report.controlled_paths);
    if (!ok)
      event["error"] = {{"kind", object::to_string(report.failure.kind)},
                        {"message", object::printable(report.failure.message)}};
    print_json(event);
    return;
  }
  const auto done = fmt::format("{} entries, {}", report.entries_done, bytes_text(static_cast<double>(report.bytes_done)));
  if (ok) {
    print(stdout, "{}: {}: done, {}\n", peer, report.what, done);
  } else {
    print(stdout, "{}: {}: failed after {}: {}\n", peer, report.what, done, object::printable(report.failure.message));
  }
  std::fflush(stdout);
}

void print_listening(const Address& address, const CommonOptions& common, const ServeOptions& options) {
  if (common.json) {
    nlohmann::json event{{"event", "listening"}, {"address", address.to_string()}};
    tell_steering(event, common, {});
    event["client_rates_bytes_s"] = nlohmann::json::object();
    for (const ClientRate& rate : options.client_rates) event["client_rates_bytes_s"][rate.name] = rate.bytes_s;
    print_json(event);
  } else {
    print(stdout, "listening on {}\n", address.to_string());
    std::fflush(stdout);
  }
}

/// Until a signal, or with `once` until the first job is over; then until everybody has left or the time to stop is over.
int drive(Engine& engine, FileService& service, const SignalWatch& signals, bool once) {
  const Clock& clock = system_clock();
  std::optional<TimePoint> stop_by;
  while (!stop_by || (service.sessions() > 0 && clock.now() < *stop_by)) {
    engine.wait(service.sessions() > 0 ? wait_with_sessions : wait_without);
    service.step(clock.now());
    const bool stop = signals.caught() != 0 || (once && service.jobs_done() > 0 && service.sessions() == 0);
    if (!stop || stop_by) continue;
    stop_by = clock.now() + time_to_stop;
    service.stop({.kind = FailureKind::interrupted, .message = "the server is stopping"});
  }
  return signals.caught() != 0 ? exit_signal + signals.caught() : exit_ok;
}

object::ServiceOptions service_options(const CommonOptions& common, const ServeOptions& options, base::UniqueFd folder) {
  object::ServiceOptions out;
  out.folder = std::move(folder);
  out.max_sessions = options.max_sessions;
  out.limits.slots = options.slots;
  out.limits.slot_bytes = options.slot_mib << 20;
  out.on_job_done = [&common](const std::string& peer, const object::JobReport& report) { print_job(peer, report, common); };
  return out;
}

/// A client is served as the tenant of its name, over whatever connections: it shares the server's rate as one, and has the one
/// that --client-rate gave it.
void place(Peer& peer) {
  const PeerIdentity identity = peer.identity();
  if (!identity.authenticated()) return;
  if (const Status status = peer.set_tenant(identity.name); !status.ok()) {
    print(stderr, "haul: client \"{}\" is served without a rate or share of its own: {}\n", object::printable(identity.name),
          object::printable(status.message()));
  }
}

Status limit_clients(Engine& engine, const ServeOptions& options) {
  for (const ClientRate& rate : options.client_rates) {
    if (Status status = engine.limit_tenant(rate.name, rate.bytes_s); !status.ok()) return status;
  }
  return {};
}

}  // namespace

int serve(const CommonOptions& common, const ServeOptions& options) {
  const auto failed = [&](const Failure& failure, int code) { return report_failure("serve", failure, code, common.json); };
  const auto address = Address::parse(options.listen);
  if (!address) return failed(usage_failure(address.status().message()), exit_usage);
  if (!options.client_rates.empty() && credentials_of(common).empty()) {
    return failed(usage_failure(fmt::format("--client-rate {}: without credentials no client's name is known: give "
                                            "--credentials (haul keygen makes them), or --rate for all clients together",
                                            options.client_rates.front().name)),
                  exit_usage);
  }
  base::UniqueFd folder(open(options.root.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!folder) return failed(object::file_failure(errno, fmt::format("cannot serve \"{}\"", options.root)), exit_local_file);
  if (const auto removed = object::remove_stale(folder.get(), object::stale_depth); removed > 0) {
    print(stderr, "haul: removed {} unfinished files that an earlier run left behind\n", removed);
  }
  if (common.insecure)
    print(stderr, "haul: warning: --insecure: anyone who reaches this address may read and write {}\n", options.root);

  std::unique_ptr<FileService> service;  // outlives the engine as an empty pointer, for late callbacks
  auto engine = make_engine(common, {.on_peer =
                                         [&](Peer peer) {
                                           if (!service) return;
                                           place(peer);
                                           service->on_peer(peer);
                                         },
                                     .on_message =
                                         [&](Peer peer, const Message& message) {
                                           if (service) service->on_message(peer, message);
                                         },
                                     .on_peer_closed =
                                         [&](Peer peer, const Status& status) {
                                           if (service) service->on_peer_closed(peer, status);
                                         }});
  if (!engine) return failed(object::connection_failure(engine.status(), "cannot start"), exit_transfer);
  if (const Status limited = limit_clients(**engine, options); !limited.ok())
    return failed(object::connection_failure(limited, "cannot start"), exit_transfer);
  const auto signals = SignalWatch::start([&engine] { (*engine)->wake(); });
  if (!signals) return failed(object::connection_failure(signals.status(), "cannot start"), exit_transfer);
  auto service_settings = service_options(common, options, std::move(folder));
  service_settings.make_worker = [&engine] { return object::make_thread_worker([&engine] { (*engine)->wake(); }); };
  service = std::make_unique<FileService>(std::move(service_settings));
  service->attach(**engine);
  const auto bound = (*engine)->listen(*address);
  if (!bound) {
    const Failure failure = object::connection_failure(bound.status(), "cannot serve");
    return failed(failure, exit_code(failure, Reached::engine, 0));
  }
  print_listening(*bound, common, options);
  const int code = drive(**engine, *service, **signals, options.once);
  service.reset();
  return code;
}

}  // namespace haul::tool
