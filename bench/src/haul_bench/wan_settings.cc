// The command line of haul-bench wan, and the links it asks for.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cmath>
#include <utility>

#include "flowsim/quantities.h"
#include "haul_bench/wan.h"
#include "measure/durations.h"
#include "wan/one_way.h"

namespace bench {

namespace {

using haul::Status;
using haul::StatusCode;

Status wrong(const char* option, const std::string& text, std::string_view remedy) {
  return {StatusCode::invalid, fmt::format("--{} {} is not {}", option, text, remedy)};
}

/// Reads `text` where there is one.
template <typename T, typename Parse>
Status take(const char* option, const std::string& text, const Parse& parse, std::string_view remedy, T& into) {
  if (text.empty()) return {};
  const auto value = parse(text);
  if (!value) return wrong(option, text, remedy);
  into = *value;
  return {};
}

std::optional<flowsim::BurstLoss> parse_burst(const std::string& text) {
  const size_t first = text.find(',');
  if (first == std::string::npos) return std::nullopt;
  const size_t second = text.find(',', first + 1);
  const auto enter = flowsim::parse_fraction(text.substr(0, first));
  const auto leave = flowsim::parse_fraction(text.substr(first + 1, second - first - 1));
  const auto loss = second == std::string::npos ? std::optional(1.0) : flowsim::parse_fraction(text.substr(second + 1));
  if (!enter || !leave || !loss) return std::nullopt;
  return flowsim::BurstLoss{*enter, *leave, *loss};
}

std::optional<flowsim::Outage> parse_outage(const std::string& text) {
  const size_t at = text.find('@');
  if (at == std::string::npos) return std::nullopt;
  const auto length = flowsim::parse_duration(text.substr(0, at));
  const auto begin = flowsim::parse_duration(text.substr(at + 1));
  if (!length || !begin) return std::nullopt;
  return flowsim::Outage{*begin, *length};
}

haul::Result<wan::Row> row_of(const WanSettings& settings) {
  constexpr std::string_view rate = haul::base::rate_remedy;
  constexpr const char* time = "a time: write 100ms, 1.5s";
  wan::Row row;
  flowsim::Link& link = row.link;
  std::vector<Status> read{
      take("rate", settings.rate, flowsim::parse_rate, rate, link.rate_bytes_s),
      take("rtt", settings.rtt, flowsim::parse_duration, time, link.rtt),
      take("loss", settings.loss, flowsim::parse_fraction, "a fraction: write 0.1% or 0.001", link.loss),
      take("burst-loss", settings.burst_loss, parse_burst, "ENTER,LEAVE[,LOSS], fractions: write 0.1%,25%", link.burst_loss),
      take("jitter", settings.jitter, flowsim::parse_duration, time, link.jitter),
      take("codel", settings.codel, flowsim::parse_duration, time, link.codel_target),
      take("back-rate", settings.back_rate, flowsim::parse_rate, rate, link.back_rate_bytes_s),
      take("rival", settings.rival, wan::parse_iperf3, "a congestion control of iperf3's: write cubic, bbr, or bbr:8",
           row.rival)};
  for (const std::string& text : settings.outages) {
    flowsim::Outage outage;
    read.push_back(take("outage", text, parse_outage, "LENGTH@BEGIN: write 5s@10s", outage));
    link.outages.push_back(outage);
  }
  for (const Status& status : read) {
    if (!status.ok()) return status;
  }
  if (!(settings.queue_bdp > 0) || !std::isfinite(settings.queue_bdp) || settings.queue_bdp > 1e6) {
    return wrong("queue-bdp", fmt::format("{}", settings.queue_bdp),
                 "a queue in bandwidth-delay products above 0: write 1, 0.5");
  }
  link.buffer_bytes = static_cast<uint64_t>(settings.queue_bdp * static_cast<double>(link.rate_bytes_s) *
                                            static_cast<double>(link.rtt.count()) * 1e-9);
  if (const std::string why = wan::complaint(link); !why.empty()) return Status(StatusCode::invalid, why);
  row.name = wan::describe(link);
  if (row.rival) row.name += ", beside " + row.rival->name();
  return row;
}

bool has_off(const wan::Matrix& matrix) {
  return std::find(matrix.controllers.begin(), matrix.controllers.end(), "off") != matrix.controllers.end();
}

/// What only tcp has is not asked of another backend: a run that left it out would not be what was asked for.
Status fits_transport(const WanSettings& settings, const wan::Matrix& matrix) {
  if (matrix.transport == "tcp") return {};
  const auto of_tcp = [&](const char* option) {
    return Status(StatusCode::invalid,
                  fmt::format("--{} is of haul's tcp: leave it out with transport {}", option, matrix.transport));
  };
  if (settings.kernel_controller != "off") return of_tcp("kernel-controller");
  if (!settings.congestions.empty()) return of_tcp("congestion");
  if (matrix.transport == "quic" && has_off(matrix)) {
    return {StatusCode::invalid, "quic is never without one of haul's controllers: ask for another one than off"};
  }
  return {};
}

}  // namespace

haul::Result<wan::Matrix> matrix_of(const WanSettings& settings) {
  wan::Matrix matrix;
  if (!settings.matrix_path.empty()) {
    auto loaded = wan::load_matrix(settings.matrix_path);
    if (!loaded) return loaded.status();
    matrix = std::move(*loaded);
  } else {
    auto row = row_of(settings);
    if (!row) return row.status();
    matrix.rows.push_back(std::move(*row));
  }
  if (!settings.transport.empty()) matrix.transport = settings.transport;
  if (!settings.controllers.empty()) matrix.controllers = settings.controllers;
  if (!settings.beside.empty()) matrix.beside.clear();
  for (const std::string& text : settings.beside) {
    const auto program = wan::parse_iperf3(text);
    if (!program) return wrong("beside", text, "a congestion control of iperf3's: write cubic, bbr, or bbr:8");
    matrix.beside.push_back(*program);
  }
  if (settings.duration_s) {
    matrix.duration = from_seconds(*settings.duration_s);
  }
  if (const std::string why = wan::complaint(matrix.duration); !why.empty()) return Status(StatusCode::invalid, why);
  if (settings.seed) matrix.seed = *settings.seed;
  if (Status status = fits_transport(settings, matrix); !status.ok()) return status;
  if (settings.remembered && matrix.transport != "quic" && (matrix.controllers.empty() || has_off(matrix))) {
    return Status(StatusCode::invalid,
                  "--remembered: nothing is remembered without a controller of haul's: add --controller hub");
  }
  return matrix;
}

CLI::App* add_wan(CLI::App& app, WanSettings& settings) {
  CLI::App* command = app.add_subcommand("wan", "haul and iperf3 across an emulated long link; needs root");
  std::vector<CLI::Option*> of_link{
      command->add_option("--rate", settings.rate, "Of the link, in bits per second")->capture_default_str(),
      command->add_option("--rtt", settings.rtt, "Round trip without queue")->capture_default_str(),
      command->add_option("--queue-bdp", settings.queue_bdp, "Queue in bandwidth-delay products")->capture_default_str(),
      command->add_option("--loss", settings.loss, "Random loss of payload's packets: 0.1%"),
      command->add_option(
          "--burst-loss", settings.burst_loss,
          "ENTER,LEAVE[,LOSS]: probabilities per packet of turning bad, of turning good, of being lost while bad"),
      command->add_option("--outage", settings.outages, "LENGTH@BEGIN, as 5s@10s: nothing passes; several")->delimiter(','),
      command->add_option("--jitter", settings.jitter, "Up to so much more delay for each packet, in order"),
      command->add_option("--codel", settings.codel, "CoDel in the queue, with this target"),
      command->add_option("--back-rate", settings.back_rate, "For acknowledgements (default: the link's rate)"),
      command->add_option("--rival", settings.rival, "iperf3 at the same time: cubic, bbr, bbr:8 (8 streams)")};
  CLI::Option* matrix = command->add_option("--matrix", settings.matrix_path, "A file (TOML) with several links instead");
  for (CLI::Option* option : of_link) matrix->excludes(option);
  command
      ->add_option("--beside", settings.beside, "iperf3 on the same links afterwards: cubic,bbr,bbr:8 (default: the matrix's)")
      ->delimiter(',');
  command->add_option("--transport", settings.transport, "haul's backend: tcp, quic (default: the matrix's, or tcp)");
  command->add_option("--io", settings.io, "How haul's tcp asks the kernel: uring, epoll, prefer")
      ->check(CLI::IsMember({"uring", "epoll", "prefer"}))
      ->capture_default_str();
  command->add_option("--zero-copy", settings.zero_copy, "Whether haul's tcp sends without copying: auto, off, always")
      ->check(CLI::IsMember({"auto", "off", "always"}))
      ->capture_default_str();
  command
      ->add_option("--controller", settings.controllers,
                   "haul's own congestion control (default: the matrix's, or off); several")
      ->check(CLI::IsMember(wan::controller_names()))
      ->delimiter(',');
  command
      ->add_option("--congestion", settings.congestions,
                   "The kernel's congestion control under haul's tcp (default: the backend's choice); several")
      ->delimiter(',');
  command
      ->add_option("--kernel-controller", settings.kernel_controller,
                   "Whether haul's tcp takes haul's congestion control in the kernel (haul cc): auto, off, require")
      ->check(CLI::IsMember({"auto", "off", "require"}))
      ->capture_default_str();
  command->add_option("--lanes", settings.lanes, "haul's connections; 0: as many as it finds worth having")
      ->check(CLI::Range(0, 64))
      ->capture_default_str();
  command->add_flag("--remembered", settings.remembered,
                    "haul goes over each link once before, unmeasured, and begins with what it remembers of that");
  command->add_option("--duration", settings.duration_s, "Seconds of each run (default 20, or the matrix's)");
  command->add_option("--seed", settings.seed, "Of what chance decides on the link");
  command->add_flag("--calibrate-only", settings.calibrate_only, "Only measure how good the emulated links are");
  command->add_flag("--json", settings.json, "Print JSON");
  command->add_option("--report", settings.report_path, "Write plots there: one HTML page");
  return command;
}

}  // namespace bench
