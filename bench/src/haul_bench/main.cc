// haul-bench: measures haul between two processes, on one machine or on two. bench/README.md tells what each figure means.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <optional>
#include <string>
#include <utility>

#include "base/quantities.h"
#include "haul/engine.h"
#include "haul_bench/credentials.h"
#include "haul_bench/modes.h"
#include "haul_bench/report.h"
#include "haul_bench/server.h"
#include "haul_bench/session.h"
#include "haul_bench/settings.h"
#include "haul_bench/sim.h"
#include "haul_bench/wan.h"
#include "wan/matrix.h"

namespace {

using bench::Mode;
using bench::Settings;

constexpr int exit_failed = 1;
constexpr int exit_usage = 2;

/// Bytes per second in place of what people write.
CLI::Validator rate_reader() {
  return {[](std::string& text) {
            const auto rate = haul::base::parse_rate(text);
            if (!rate) return fmt::format("{} is not {}", text, haul::base::rate_remedy);
            text = std::to_string(*rate);
            return std::string();
          },
          "RATE"};
}

void add_shared_options(CLI::App& command, Settings& settings) {
  command.add_option("--transport", settings.transport, "Backend of payload (rdma: control messages go over tcp)")
      ->check(CLI::IsMember({"tcp", "quic", "rdma"}))
      ->capture_default_str();
  command
      .add_option("--rdma-device", settings.rails,
                  "RDMA ports and GIDs of this side, DEVICE[:PORT[:GID]],... Default: all that are active")
      ->delimiter(',')
      ->allow_extra_args(false);
  command
      .add_option("--receiver-rdma-device", settings.receiver_rails, "The same of the receiver it starts. Default: this side's")
      ->delimiter(',')
      ->allow_extra_args(false);
  command.add_option(
      "--udp-payload", settings.udp_payload_bytes,
      "Most bytes of a packet of quic; what the path carries of that is found (default: up to 8952, on loopback 65000)");
  command.add_option("--qlog", settings.qlog, "Folder for a qlog file of each quic connection")->check(CLI::ExistingDirectory);
  command.add_option("--io", settings.io, "How tcp asks the kernel: uring, epoll, or prefer (uring where it works)")
      ->check(CLI::IsMember({"uring", "epoll", "prefer"}))
      ->capture_default_str();
  command
      .add_option("--zero-copy", settings.zero_copy,
                  "tcp sends large payload without copying: auto (where it pays), off, always (even where the kernel copies)")
      ->check(CLI::IsMember({"auto", "off", "always"}))
      ->capture_default_str();
  command.add_option("--congestion", settings.congestion,
                     "The kernel's congestion control for tcp (default: the backend's choice)");
  command.add_option("--controller", settings.controller, "haul's own congestion control: automatic is hub from 2 ms on")
      ->check(CLI::IsMember(wan::controller_names()))
      ->capture_default_str();
  command
      .add_option(
          "--kernel-controller", settings.kernel_controller,
          "Whether tcp takes haul's congestion control in the kernel: auto (beyond a rack, where it is there), off, require")
      ->check(CLI::IsMember({"auto", "off", "require"}))
      ->capture_default_str();
  command
      .add_option("--rate", settings.rate_limit_bytes_s,
                  "At most so much payload, in bits per second (500M, 2G), of what a side starts to move")
      ->transform(rate_reader());
  command.add_option("--remember", settings.remembered_paths,
                     "Begin with the paths remembered in this file, and keep what this side learns of them there");
  command.add_option("--poll", settings.poll, "spin: busy polling; event: poll briefly, then block")
      ->check(CLI::IsMember({"spin", "event"}))
      ->capture_default_str();
  command.add_option("--integrity", settings.integrity, "Checksums of what this side sends")
      ->check(CLI::IsMember({"on", "off"}))
      ->capture_default_str();
  command
      .add_option("--encryption", settings.encryption,
                  "on; integrity (readable, not alterable); plain (only authenticated); off (no credentials)")
      ->check(CLI::IsMember({"on", "integrity", "plain", "off"}))
      ->capture_default_str();
  command
      .add_option("--kernel-tls", settings.kernel_tls, "Who seals the records: auto (the kernel where it can), off, require")
      ->check(CLI::IsMember({"auto", "off", "require"}))
      ->capture_default_str();
  command.add_option("--credentials", settings.credentials,
                     "Folder with haul.crt, haul.key and authorized_peers (default: made for a run of its own)");
  command.add_option("--pin", settings.pin, "Processor for this side, and for the receiver it starts: A or A,B")
      ->delimiter(',');
  command.add_flag("--insecure", settings.insecure, "Speak to addresses other than loopback, without authentication");
}

void add_measuring_options(CLI::App& command, Settings& settings) {
  const CLI::AsSizeValue size(false);
  add_shared_options(command, settings);
  command.add_option("--peer", settings.peer, "HOST:PORT of a haul-bench server (default: start one on loopback)");
  command.add_option("--op", settings.op, "put or get")->check(CLI::IsMember({"put", "get"}))->capture_default_str();
  command.add_option("--size", settings.size_bytes, "Bytes to move in all (K, M, G), instead of --duration")->transform(size);
  command.add_option("--duration", settings.duration_s, "Seconds to measure (default 5, without --size)")
      ->check(CLI::Range(0.01, 86400.0));
  command.add_option("--warmup", settings.warmup_s, "Seconds before, not measured")
      ->check(CLI::Range(0.0, 3600.0))
      ->capture_default_str();
  command.add_option("--drain", settings.drain_s, "Seconds for the last transfers to end")
      ->check(CLI::Range(0.1, 86400.0))
      ->capture_default_str();
  command
      .add_option("--series", settings.series_every_s, "Look at the path every so many seconds, for the JSON (default: never)")
      ->check(CLI::Range(0.001, 3600.0));
  command.add_option("--block", settings.block_bytes, "Bytes of a transfer, or of a descriptor (K, M, G)")
      ->transform(size)
      ->check(CLI::PositiveNumber);
  command
      .add_option("--working-set", settings.working_set_bytes, "Memory on each side that the run walks through (default 64M)")
      ->transform(size)
      ->check(CLI::PositiveNumber);
  command.add_option("--lanes", settings.lanes, "Connections (default: one; over rdma, not for latency: two, or one a port)")
      ->check(CLI::Range(1, 64));
  command.add_option("--inflight", settings.inflight, "Transfers outstanding (default: by block size)")
      ->check(CLI::Range(1, 4096));
  command.add_option("--count", settings.count, "Descriptors in a batch")->check(CLI::Range(1, 65536))->capture_default_str();
  command.add_flag("--json", settings.json, "Print JSON");
}

void add_server_options(CLI::App& command, Settings& settings) {
  add_shared_options(command, settings);
  command.add_option("--listen", settings.listen, "HOST:PORT; port 0: the system's choice")->capture_default_str();
  command.add_option("--lifetime", settings.lifetime_s, "End after so many seconds (0: on a signal)")->capture_default_str();
  command.add_flag("--once", settings.once, "End with the first client, or with the process that started this one");
}

CLI::App* add_sim(CLI::App& app, bench::SimSettings& settings) {
  CLI::App* command = app.add_subcommand("sim", "Congestion controllers over scenarios, in virtual time");
  command->add_option("scenario", settings.paths, "Scenario files (TOML), or folders of them")->required();
  command
      ->add_option("--controller", settings.controllers,
                   "Instead of the scenarios' own: hub, bbr, cubic, swift, fixed; several")
      ->delimiter(',');
  command->add_option("--seed", settings.seed, "Instead of the scenarios' own");
  command->add_flag("--heat-map", settings.heat_map,
                    "Also use of the link over loss and round trip, on the first scenario's link");
  command->add_option("--json", settings.json_path, "Write figures and series there (-: standard output)");
  command->add_option("--report", settings.report_path, "Write plots there: one HTML page");
  command->add_option("--remember", settings.memory_path, "Start with the paths remembered in this file, and keep them there");
  return command;
}

int run_client(Settings settings) {
  std::optional<bench::TemporaryCredentials> made;
  if (settings.authenticates() && settings.credentials.empty()) {
    auto credentials = bench::TemporaryCredentials::make();
    if (!credentials) {
      fmt::print(stderr, "haul-bench: {}\n", credentials.status().to_string());
      return exit_failed;
    }
    made.emplace(std::move(*credentials));
    settings.credentials = made->folder();
  }
  const auto session = bench::Session::open(settings);
  if (!session) {
    fmt::print(stderr, "haul-bench: {}\n", session.status().to_string());
    return exit_failed;
  }
  if (!(*session)->difference().empty()) {
    fmt::print(stderr, "haul-bench: the sides have different settings: {}\n", (*session)->difference());
  }
  const auto report = bench::measure(**session, settings);
  if (!report) {
    fmt::print(stderr, "haul-bench: {}\n", report.status().to_string());
    return exit_failed;
  }
  fmt::print("{}", settings.json ? bench::to_json(settings, *report) : bench::to_text(settings, *report));
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  Settings settings;
  CLI::App app{"Measures haul between two processes"};
  app.set_version_flag("--version", std::string(haul::version()));
  app.require_subcommand(1);
  const auto add = [&](Mode mode, const char* what) {
    CLI::App* command = app.add_subcommand(bench::to_string(mode), what);
    command->callback([&settings, mode] { settings.mode = mode; });
    return command;
  };
  add_measuring_options(*add(Mode::throughput, "Large transfers, several outstanding"), settings);
  add_measuring_options(*add(Mode::latency, "Half of a put answered by a put (or single gets)"), settings);
  add_measuring_options(*add(Mode::descriptors, "Batches of small scattered descriptors"), settings);
  add_measuring_options(*add(Mode::idle, "Processor time of a connected pair that does nothing"), settings);
  bench::SimSettings sim_settings;
  const CLI::App* sim = add_sim(app, sim_settings);
  bench::WanSettings wan_settings;
  const CLI::App* wan = bench::add_wan(app, wan_settings);
  add_server_options(*add(Mode::server, "The other side, on this or another host"), settings);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : exit_usage;
  }
  if (sim->parsed()) return bench::run_sim(sim_settings);
  if (wan->parsed()) return bench::run_wan(wan_settings);
  if (const std::string wrong = bench::complete(settings); !wrong.empty()) {
    fmt::print(stderr, "haul-bench: {}\n", wrong);
    return exit_usage;
  }
  return settings.mode == Mode::server ? bench::run_server(settings) : run_client(settings);
}
