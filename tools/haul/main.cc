// The haul command: reads the command line and calls the command.
#include <fmt/format.h>
#include <sys/resource.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "choices.h"
#include "commands.h"
#include "object/url.h"
#include "outcome.h"
#include "print.h"
#include "signals.h"
#include "steering.h"

namespace haul::tool {
namespace {

constexpr const char* footer = R"(
Examples:
  haul serve --listen 127.0.0.1:7440 --root /srv/models
  haul push model.safetensors haul://127.0.0.1:7440/models/
  haul push ./llama haul://127.0.0.1:7440/models/llama-2
  haul pull haul://127.0.0.1:7440/models/llama-2 ./here
  haul keygen --out ~/.haul
  haul cc install --group haul

Exit codes:
  0 done                    4 refused by policy or by the server
  1 failed under way        5 a file or folder on this machine
  2 wrong command line      6 a checksum failed for good
  3 server not reachable    7 a file or folder on the other machine
  128 + N: ended by signal N (130: Ctrl-C, 143: terminated)
)";

/// What a command's options write to. Nothing is shared: CLI11 hands the environment's values also to commands that were not
/// asked for.
template <typename Options>
struct Command {
  CommonOptions common;
  Options own;
};

struct CommandLine {
  Command<ServeOptions> serve;
  Command<MoveOptions> push;
  Command<MoveOptions> pull;
  Command<ProbeOptions> probe;
  Command<std::string> explain;  ///< an address, or nothing
  Command<KeygenOptions> keygen;
  Command<std::string> fingerprint;  ///< of this file
  Command<CcOptions> cc;
};

void add_security(CLI::App& command, CommonOptions& common) {
  static const std::map<std::string, tcp::KernelTls> kernel_names{
      {"auto", tcp::KernelTls::automatic}, {"off", tcp::KernelTls::off}, {"require", tcp::KernelTls::require}};
  command
      .add_option("--credentials", common.credentials,
                  "Folder with haul.key and haul.crt (haul keygen), and authorized_peers, ca.crt or ca.crl where they are "
                  "used. Default: $HAUL_CREDENTIALS, else none: loopback only")
      ->envname("HAUL_CREDENTIALS")
      ->option_text("DIR");
  command.add_option("--authorized-peers", common.authorized_peers, "Whom to trust, if not in that folder")
      ->option_text("FILE");
  command.add_option("--ca", common.ca, "Authorities to trust (PEM), if not in that folder")->option_text("FILE");
  command.add_option("--crl", common.crl, "What they revoked (PEM), if not in that folder")->option_text("FILE");
  command.add_option("--protection", common.protection, "The least that a link must have, with credentials")
      ->check(CLI::IsMember({"encrypted", "integrity", "plain"}).description(""))
      ->option_text("encrypted|integrity|plain [encrypted]");
  command.add_option("--kernel-tls", common.kernel_tls, "Let the kernel seal TLS records")
      ->transform(one_of(kernel_names))
      ->option_text("auto|off|require [auto]");
  command.add_flag("--insecure", common.insecure, "Allow addresses other than loopback: no authentication, plain text");
}

void add_json(CLI::App& command, CommonOptions& common) {
  command.add_flag("--json", common.json, "Write the outcome to stdout as one JSON object");
}

void add_common(CLI::App& command, CommonOptions& common, bool connects) {
  static const std::map<std::string, tcp::Io> io_names{
      {"uring", tcp::Io::uring}, {"epoll", tcp::Io::epoll}, {"prefer", tcp::Io::prefer_uring}};
  static const std::map<std::string, bool> switch_names{{"on", true}, {"off", false}};
  add_json(command, common);
  command.add_flag("-v,--verbose", common.verbose, "Log to stderr what the engine does");
  add_security(command, common);
  command.add_option("--io", common.io, "How the kernel is asked: uring, epoll, or prefer (uring, else epoll with a warning)")
      ->transform(one_of(io_names))
      ->option_text("uring|epoll|prefer [uring]");
  command
      .add_option("--transport", common.transport,
                  "What carries payload: tcp; quic; rdma, or fail; auto: rdma where both sides have it")
      ->check(CLI::IsMember({"tcp", "quic", "rdma", "auto"}).description(""))
      ->option_text("tcp|quic|rdma|auto [tcp]");
  command.add_option("--qlog", common.qlog, "Write what happens on each quic connection to a file there (qlog)")
      ->check(CLI::ExistingDirectory.description(""))
      ->option_text("DIR");
  command
      .add_option("--rdma-device", common.rails,
                  "An RDMA port to use, and its GID; may be repeated, or several behind commas. Default: all that are active")
      ->delimiter(',')
      ->allow_extra_args(false)
      ->option_text("DEVICE[:PORT[:GID]],...");
  command.add_option("--integrity", common.integrity, "CRC32C of every block this side sends, checked where it lands")
      ->transform(one_of(switch_names))
      ->option_text("on|off [on]");
  command.add_option("--timeout", common.timeout_s, "Give up connecting, or on a silent peer, after so many seconds")
      ->check(CLI::Range(0.1, 86400.0).description(""))
      ->option_text("SECONDS [10]");
  add_steering(command, common);
  if (!connects) return;
  command
      .add_option("--lanes", common.lanes,
                  "Connections side by side. Default: one, or as many as bring something; over rdma two, or one for each port")
      ->check(CLI::Range(1, 64).description(""))
      ->option_text("N");
}

void add_serve(CLI::App& app, CommandLine& line) {
  auto* command = app.add_subcommand("serve", "Serve a folder: clients push files into it and pull files from it");
  add_common(*command, line.serve.common, false);
  command->add_option("--listen", line.serve.own.listen, "Where to listen; port 0 lets the system choose (it is printed)")
      ->required()
      ->option_text("HOST:PORT");
  command->add_option("--root", line.serve.own.root, "The folder; nothing outside of it is touched")
      ->required()
      ->option_text("DIR");
  command->add_option("--max-sessions", line.serve.own.max_sessions, "Clients at a time")
      ->check(CLI::Range(1, 1000).description(""))
      ->option_text("N [16]");
  command->add_option("--slots", line.serve.own.slots, "Blocks of staging memory a client")
      ->check(CLI::Range(1, 256).description(""))
      ->option_text("N [8]");
  command->add_option("--slot-mib", line.serve.own.slot_mib, "Size of a block")
      ->check(CLI::Range(1, 64).description(""))
      ->option_text("MIB [4]");
  add_client_rates(*command, line.serve.own.client_rates);
  command->add_flag("--once", line.serve.own.once, "Stop when the first job is over and its client has left");
}

void add_move(CLI::App& app, CommandLine& line) {
  auto* push =
      app.add_subcommand("push",
                         "Send files and folders to a server.\n"
                         "DEST is the name that PATH gets. It is the folder that PATHs go into if it ends in a slash, if there "
                         "are several PATHs, or if it is a folder and PATH a file.");
  add_common(*push, line.push.common, true);
  push->add_option("PATH", line.push.own.paths, "Files and folders, then haul://HOST:PORT/DEST")
      ->required()
      ->expected(2, 1 << 29)  // CLI11 writes fewer than these as "(2x)"
      ->option_text("... haul://HOST:PORT/DEST");
  push->add_flag("--overwrite,--force", line.push.own.overwrite,
                 "Replace files that exist, each at once when its successor is complete");
  push->add_flag("-q,--quiet", line.push.own.quiet, "No progress");

  auto* pull = app.add_subcommand("pull", "Fetch a file or folder from a server into a folder");
  add_common(*pull, line.pull.common, true);
  pull->add_option("URL", line.pull.own.url, "What to fetch; a path of / is everything")
      ->required()
      ->option_text("haul://HOST:PORT/PATH");
  pull->add_option("DIR", line.pull.own.folder, "The folder it goes into; made if it is missing")->required()->option_text(" ");
  pull->add_flag("--overwrite,--force", line.pull.own.overwrite,
                 "Replace files that exist, each at once when its successor is complete");
  pull->add_flag("-q,--quiet", line.pull.own.quiet, "No progress");
}

void add_look(CLI::App& app, CommandLine& line) {
  auto* probe = app.add_subcommand("probe", "Connect to a server; tell its versions, the round trip and the throughput");
  add_common(*probe, line.probe.common, true);
  probe->add_option("ADDRESS", line.probe.own.address, "The server")->required()->option_text("HOST:PORT");
  probe->add_option("--seconds", line.probe.own.seconds, "How long to measure throughput")
      ->check(CLI::Range(0.0, 60.0).description(""))
      ->option_text("S [1]");

  auto* explain =
      app.add_subcommand("explain", "Tell what the engine chose here and why; with a server, also for the way to it");
  add_common(*explain, line.explain.common, true);
  explain->add_option("ADDRESS", line.explain.own, "A server")->option_text("HOST:PORT");
}

void add_keys(CLI::App& app, CommandLine& line) {
  auto* keygen = app.add_subcommand("keygen", "Make a key and a certificate that this machine proves its identity with");
  add_json(*keygen, line.keygen.common);
  keygen->add_option("--out", line.keygen.own.folder, "The folder that gets haul.key and haul.crt; made if it is missing")
      ->required()
      ->option_text("DIR");
  keygen->add_option("--name", line.keygen.own.name, "What the certificate calls this side")->option_text("NAME [the host's]");
  keygen->add_option("--days", line.keygen.own.days, "How long the certificate is valid")
      ->check(CLI::Range(1, 36500).description(""))
      ->option_text("N [3650]");

  auto* fingerprint = app.add_subcommand("fingerprint", "Tell the fingerprint of a certificate's key");
  add_json(*fingerprint, line.fingerprint.common);
  fingerprint->add_option("FILE", line.fingerprint.own, "The certificate, as PEM")->required()->option_text("FILE.crt");
}

void add_cc(CLI::App& app, CommandLine& line) {
  auto* cc =
      app.add_subcommand("cc",
                         "haul's congestion control in this machine's kernel: put it there, take it out, or tell what is "
                         "there.\nIt stays until it is taken out, or the machine restarts.");
  cc->require_subcommand(1);
  const auto add = [&](const char* name, CcAction action, const char* description) {
    auto* command = cc->add_subcommand(name, description);
    add_json(*command, line.cc.common);
    command->add_option("--directory", line.cc.own.directory, "The folder of its maps, in a bpf file system")
        ->option_text(fmt::format("DIR [{}]", line.cc.own.directory));
    command->callback([&line, action] { line.cc.own.action = action; });
    return command;
  };
  add("install", CcAction::install, "Put it into the kernel (root, or CAP_BPF, CAP_PERFMON and CAP_CHOWN)")
      ->add_option("--group", line.cc.own.group, "Whose processes may drive their sockets with it, besides root's")
      ->option_text("NAME");
  add("uninstall", CcAction::uninstall, "Take it out, of whatever version; open connections keep it (root)")
      ->add_flag("--wherever", line.cc.own.wherever,
                 "Also what has its maps in another folder or container: ends every installation of haul on this machine");
  add("status", CcAction::status, "Tell whether it is there, and whether you may use it");
}

int run(const CLI::App& app, CommandLine& line) {
  if (app.got_subcommand("serve")) return serve(line.serve.common, line.serve.own);
  if (app.got_subcommand("push")) {
    MoveOptions& move = line.push.own;
    move.url = move.paths.back();
    move.paths.pop_back();
    return push(line.push.common, move);
  }
  if (app.got_subcommand("pull")) return pull(line.pull.common, line.pull.own);
  if (app.got_subcommand("probe")) return probe(line.probe.common, line.probe.own);
  if (app.got_subcommand("keygen")) return keygen(line.keygen.common, line.keygen.own);
  if (app.got_subcommand("fingerprint")) return fingerprint(line.fingerprint.common, line.fingerprint.own);
  if (app.got_subcommand("cc")) return cc(line.cc.common, line.cc.own);
  return explain(line.explain.common, line.explain.own);
}

/// Sessions and files need descriptors; the soft limit is often far below the hard one.
void raise_descriptor_limit() {
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur == limit.rlim_max) return;
  limit.rlim_cur = limit.rlim_max;
  setrlimit(RLIMIT_NOFILE, &limit);
}

/// Whoever reads the output relies on it: what did not get out is a failure.
int with_output_written(int code) {
  if (std::fflush(stdout) == 0 && std::ferror(stdout) == 0) return code;
  print(stderr, "haul: not all of the output could be written: is its disk full, or its reader gone?\n");
  return code == exit_ok ? exit_transfer : code;
}

int main_checked(int argc, char** argv) {
  CLI::App app("haul moves model weights and other bulk data between machines.");
  app.set_version_flag("--version", fmt::format("haul {}", version()));
  app.footer(footer);
  app.require_subcommand(1);
  CommandLine line;
  add_serve(app, line);
  add_move(app, line);
  add_look(app, line);
  add_keys(app, line);
  add_cc(app, line);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    if (app.exit(error) == 0) return exit_ok;  // that was --help or --version
    const std::vector<std::string_view> words(argv + 1, argv + argc);
    const auto commands = app.get_subcommands();
    // Parsing may have ended before it came to the flag.
    if (std::find(words.begin(), words.end(), "--json") != words.end())
      print_failure(commands.empty() ? "" : commands.front()->get_name(), usage_failure(error.what()), exit_usage);
    return with_output_written(exit_usage);
  }
  raise_descriptor_limit();
  return with_output_written(run(app, line));
}

}  // namespace
}  // namespace haul::tool

int main(int argc, char** argv) {
  haul::tool::prepare_signals();
  return haul::tool::main_checked(argc, argv);
}
