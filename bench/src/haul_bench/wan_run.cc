// One run: two namespaces, the link between them, a server and a client at its ends, and what is seen meanwhile.
#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <nlohmann/json.hpp>
#include <utility>

#include "haul_bench/wan.h"
#include "haul_bench/wan_series.h"
#include "measure/durations.h"
#include "wan/child.h"
#include "wan/tcp_watch.h"

namespace bench {

namespace {

using haul::Duration;
using haul::Status;
using haul::StatusCode;
using Json = nlohmann::json;

constexpr const char* near_address = "10.200.0.1";
constexpr const char* far_address = "10.200.0.2";
constexpr uint16_t haul_port = 7000;
constexpr uint16_t iperf3_port = 5201;
constexpr uint16_t rival_port = 5202;
constexpr auto start_limit = std::chrono::seconds(15);
constexpr auto watch_every = std::chrono::milliseconds(50);
constexpr double series_every_s = 0.05;
// The handshake of quic, with certificates, and its first packets are larger than all that tcp says before the first put.
constexpr uint64_t quic_prelude_bytes = 12U << 10;
constexpr double drain_s = 600;  // a collapsed congestion control takes long for what is outstanding

/// What haul keeps outstanding, so that the link never waits for the application. A packet that is lost twice holds back all
/// that comes after it for two round trips, in each of which path and queue are filled again.
struct Load {
  uint64_t block = 0;
  uint64_t inflight = 0;
};

Load load_for(const flowsim::Link& link) {
  const double path = static_cast<double>(link.rate_bytes_s) * seconds(link.rtt) + static_cast<double>(link.buffer_bytes);
  const auto bytes = static_cast<uint64_t>(std::clamp(3 * path, 1e6, 1.5e9));
  Load load;
  load.block = std::clamp<uint64_t>(std::bit_floor(bytes / 16), 64U << 10, 1U << 20);
  load.inflight = std::clamp<uint64_t>((bytes + load.block - 1) / load.block, 8, 4096);
  return load;
}

/// The same on both sides.
void add_control(std::vector<std::string>& command, const WanRequest& request) {
  const wan::Program& program = request.program;
  command.insert(command.end(), {"--kernel-controller", request.kernel_controller});
  if (!program.controller.empty()) command.insert(command.end(), {"--controller", program.controller});
  if (!program.kernel.empty()) command.insert(command.end(), {"--congestion", program.kernel});
  if (request.credentials.empty()) {
    command.emplace_back("--insecure");
  } else {
    command.insert(command.end(), {"--encryption", "on", "--credentials", request.credentials});
  }
}

std::vector<std::string> haul_server(const WanRequest& request) {
  std::vector<std::string> command{
      "/proc/self/exe", "server",          "--listen", fmt::format("{}:{}", far_address, haul_port),
      "--transport",    request.transport, "--io",     request.io,
      "--zero-copy",    request.zero_copy, "--once"};
  add_control(command, request);
  return command;
}

std::vector<std::string> haul_client(const WanRequest& request) {
  const Load load = load_for(request.row->link);
  std::vector<std::string> command{"/proc/self/exe", "throughput", "--peer", fmt::format("{}:{}", far_address, haul_port)};
  const auto add = [&](const char* option, const std::string& value) { command.insert(command.end(), {option, value}); };
  add("--transport", request.transport);
  add("--io", request.io);
  add("--zero-copy", request.zero_copy);
  // Left open, the engine finds their number.
  if (request.program.connections > 0) add("--lanes", std::to_string(request.program.connections));
  add("--duration", fmt::format("{}", seconds(request.duration)));
  add("--warmup", "0");
  add("--block", std::to_string(load.block));
  add("--inflight", std::to_string(load.inflight));
  add("--working-set", std::to_string(load.block * load.inflight));
  add("--drain", fmt::format("{}", drain_s));
  if (request.transport != "tcp") add("--series", fmt::format("{}", series_every_s));
  if (!request.remembered_paths.empty()) add("--remember", request.remembered_paths);
  add_control(command, request);
  command.emplace_back("--json");
  return command;
}

std::vector<std::string> iperf3_server(uint16_t port) {
  return {wan::program_path("iperf3"), "-s", "-1", "-B", far_address, "-p", std::to_string(port)};
}

std::vector<std::string> iperf3_client(const wan::Program& program, uint16_t port, Duration duration) {
  return {wan::program_path("iperf3"),
          "-c",
          far_address,
          "-p",
          std::to_string(port),
          "-t",
          fmt::format("{}", std::ceil(seconds(duration))),
          "-C",
          program.controller,
          "-P",
          std::to_string(program.connections),
          "-J"};
}

/// A server at the far end and its client at the near one.
struct Pair {
  wan::Child server;
  std::optional<wan::Child> client;
};

haul::Result<Pair> start_server(const std::vector<std::string>& command, const wan::End& far, uint16_t port) {
  auto server = wan::Child::start(command, far);
  if (!server) return server.status();
  Pair pair{std::move(*server), std::nullopt};
  const bool is_haul = port == haul_port;
  // haul says when it listens, whatever it listens with; iperf3 says it to a terminal only.
  const Status ready = wan::wait_until(
      [&] {
        if (pair.server.ended()) return true;
        return is_haul ? pair.server.output().find("listening on") != std::string::npos : wan::listens(far, port);
      },
      start_limit, "a server at the far end");
  if (!ready.ok()) return ready;
  if (pair.server.ended()) return Status(StatusCode::unavailable, "the server ended at once: " + pair.server.complaint());
  return pair;
}

Status start_client(Pair& pair, const std::vector<std::string>& command, const wan::End& near) {
  auto client = wan::Child::start(command, near);
  if (!client) return client.status();
  pair.client.emplace(std::move(*client));
  return {};
}

std::optional<double> number_at(const Json& json, const char* pointer) {
  const Json::json_pointer at(pointer);
  if (!json.contains(at) || !json.at(at).is_number()) return std::nullopt;
  return json.at(at).get<double>();
}

/// Takes haul's own report. Empty: all is there.
std::string take_haul(const Json& json, WanRun& run) {
  const auto goodput = number_at(json, "/goodput_gbytes_s");
  if (!goodput) return "its JSON has no goodput_gbytes_s";
  run.goodput_bits_s = *goodput * 8e9;
  const auto whole_at = [&](const char* pointer) {
    const auto number = number_at(json, pointer);
    return number ? std::optional(static_cast<uint64_t>(*number)) : std::nullopt;
  };
  if (const auto steady = number_at(json, "/steady_goodput_gbytes_s")) run.steady_bits_s = *steady * 8e9;
  run.retransmits = whole_at("/retransmits");
  run.peak_sender_bytes = whole_at("/peak_resident_bytes_sender");
  run.peak_receiver_bytes = whole_at("/peak_resident_bytes_receiver");
  run.path = json.value("path", "");
  run.lanes = json.value("lanes", uint64_t{0});
  const auto controller = json.find("controller_in_force");
  if (controller != json.end() && controller->is_string()) run.controller = controller->get<std::string>();
  return {};
}

/// Puts what haul saw of its path in place of the kernel's view, which knows nothing of it.
void follow_haul(const Json& json, haul::TimePoint began, std::vector<Watched>& watched) {
  const auto series = json.find("series");
  if (series == json.end() || !series->is_object()) return;
  const Duration ahead = haul::TimePoint(Duration(series->at("began_ns").get<int64_t>())) - began;
  const Json& points = series->at("points");
  const auto at = [&](size_t index) { return ahead + from_seconds(points.at(index).at(0).get<double>()); };
  size_t next = 0;
  for (Watched& seen : watched) {
    while (next < points.size() && at(next) <= seen.at) ++next;
    if (next == 0) continue;
    const Json& point = points.at(next - 1);
    wan::TcpState& own = seen.states.front();
    own = wan::TcpState();
    own.window_bytes = point.at(1).get<uint64_t>();
    own.in_flight_bytes = point.at(2).get<uint64_t>();
    own.rtt = from_seconds(point.at(4).get<double>());
  }
}

std::string take_iperf3(const std::string& text, double& goodput_bits_s, std::optional<uint64_t>& retransmits) {
  const Json json = Json::parse(text, nullptr, false);
  if (json.is_object() && json.contains("error")) return json.at("error").get<std::string>();
  const auto goodput = number_at(json, "/end/sum_received/bits_per_second");
  if (!goodput) return "its JSON has no end.sum_received";
  goodput_bits_s = *goodput;
  if (const auto count = number_at(json, "/end/sum_sent/retransmits")) retransmits = static_cast<uint64_t>(*count);
  return {};
}

/// It did not start or does not end; the next run may be another matter. Anything else the next run would meet again.
bool is_of_the_program(const Status& status) {
  return status.code() == StatusCode::unavailable || status.code() == StatusCode::timed_out;
}

/// Everything of one run, in the order in which it must go away again.
class Crossing {
 public:
  static haul::Result<std::unique_ptr<Crossing>> make(const WanRequest& request) {
    const flowsim::Link& link = request.row->link;
    const auto window = static_cast<uint64_t>(static_cast<double>(link.rate_bytes_s) * seconds(link.rtt)) + link.buffer_bytes;
    auto near = wan::End::make(near_address, window);
    if (!near) return near.status();
    auto far = wan::End::make(far_address, window);
    if (!far) return far.status();
    const uint16_t port = request.row->rival ? rival_port : 0;
    auto watch = wan::TcpWatch::make(*near, port);
    if (!watch) return watch.status();
    return std::unique_ptr<Crossing>(new Crossing(request, std::move(*near), std::move(*far), std::move(*watch)));
  }

  haul::Result<WanRun> run() {
    emulator_.start();
    WanRun run;
    run.program = request_.program;
    Status status = start();
    if (status.ok()) status = watch_until_over();
    emulator_.stop();
    if (status.ok()) {
      take_outcome(run);
    } else if (is_of_the_program(status)) {
      run.failed = status.message();
    } else {
      return status;
    }
    const auto dropped = near_.dropped_packets();
    if (!dropped) return dropped.status();
    const auto dropped_back = far_.dropped_packets();
    if (!dropped_back) return dropped_back.status();
    run.record = std::move(emulator_.record());
    run.rejected = wan::rejection(run.record.sending, run.record.reading, run.record.failed_writes + *dropped + *dropped_back);
    const SeriesRequest series{request_.row, &request_.program, &run.record, &watched_, request_.duration, request_.seed};
    run.sim = series_of(series, run.path, run.controller, run.goodput_bits_s);
    return run;
  }

 private:
  Crossing(const WanRequest& request, wan::End near, wan::End far, wan::TcpWatch watch)
      : request_(request),
        near_(std::move(near)),
        far_(std::move(far)),
        emulator_(near_, far_, options(request)),
        watch_(std::move(watch)) {
    for (const wan::End* end : {&near_, &far_}) {
      if (!end->warning().empty()) fmt::print(stderr, "haul-bench: {}\n", end->warning());
    }
  }

  static wan::EmulatorOptions options(const WanRequest& request) {
    wan::EmulatorOptions options;
    options.link = request.row->link;
    options.seed = request.seed;
    options.rival_port = request.row->rival ? rival_port : 0;
    if (request.program.haul && request.transport == "quic") options.begin_after_bytes = quic_prelude_bytes;
    options.point_every = std::max<Duration>(options.point_every, request.duration / 20'000);
    return options;
  }

  Status start() {
    const bool is_haul = request_.program.haul;
    auto own =
        start_server(is_haul ? haul_server(request_) : iperf3_server(iperf3_port), far_, is_haul ? haul_port : iperf3_port);
    if (!own) return own.status();
    own_.emplace(std::move(*own));
    if (request_.row->rival) {
      auto rival = start_server(iperf3_server(rival_port), far_, rival_port);
      if (!rival) return rival.status();
      rival_.emplace(std::move(*rival));
      const auto command = iperf3_client(*request_.row->rival, rival_port, request_.duration);
      if (Status status = start_client(*rival_, command, near_); !status.ok()) return status;
    }
    return start_client(
        *own_, is_haul ? haul_client(request_) : iperf3_client(request_.program, iperf3_port, request_.duration), near_);
  }

  Status watch_until_over() {
    const haul::Clock& clock = haul::system_clock();
    haul::TimePoint next = clock.now();
    const auto over = [&] {
      if (clock.now() >= next && emulator_.began()) {
        watched_.push_back({clock.now() - *emulator_.began(), watch_.ask()});
        next = clock.now() + watch_every;
      }
      return own_->client->ended() && (!rival_ || rival_->client->ended());
    };
    // After the drain everything is fetched back and compared.
    const Load load = load_for(request_.row->link);
    const double back = static_cast<double>(load.block * load.inflight) / static_cast<double>(request_.row->link.rate_bytes_s);
    const auto limit = request_.duration + std::chrono::seconds(static_cast<int64_t>(drain_s + 10 * back) + 60);
    return wan::wait_until(over, limit, "the end of " + request_.program.name());
  }

  void take_outcome(WanRun& run) {
    const auto failed = [&](const wan::Child& child, const std::string& name, const std::string& parsed) {
      if (child.exit_code() == 0 && parsed.empty()) return;
      // iperf3 tells failures within its JSON, too.
      const std::string why = child.errors().empty() && !parsed.empty() ? parsed : child.complaint();
      if (run.failed.empty()) run.failed = fmt::format("{} ended with {}: {}", name, child.exit_code(), why);
    };
    const std::string own = own_->client->output();
    if (run.program.haul) {
      run.transport = request_.transport;
      const Json json = Json::parse(own, nullptr, false);
      failed(*own_->client, run.program.name(), take_haul(json, run));
      if (run.failed.empty() && emulator_.began()) follow_haul(json, *emulator_.began(), watched_);
    } else {
      failed(*own_->client, run.program.name(), take_iperf3(own, run.goodput_bits_s, run.retransmits));
    }
    if (!rival_) return;
    double goodput = 0;
    std::optional<uint64_t> retransmits;
    failed(*rival_->client, "the rival", take_iperf3(rival_->client->output(), goodput, retransmits));
    run.rival_goodput_bits_s = goodput;
  }

  WanRequest request_;
  wan::End near_;
  wan::End far_;
  wan::Emulator emulator_;
  wan::TcpWatch watch_;
  std::optional<Pair> own_;
  std::optional<Pair> rival_;
  std::vector<Watched> watched_;
};

}  // namespace

uint64_t memory_asked_bytes(const flowsim::Link& link) {
  constexpr uint64_t beside_path = 64U << 20;
  return static_cast<uint64_t>(4 * static_cast<double>(link.rate_bytes_s) * seconds(link.rtt)) + beside_path;
}

haul::Result<WanRun> run_across(const WanRequest& request) {
  auto crossing = Crossing::make(request);
  if (!crossing) return crossing.status();
  return (*crossing)->run();
}

}  // namespace bench
