// Makes the engine of either side as the settings ask.
#include "haul_bench/engine_setup.h"

#include <fmt/format.h>

#include <cerrno>
#include <cstdio>
#include <utility>
#include <vector>

#include "base/random.h"
#ifdef HAUL_HAS_QUIC
#include "haul/quic.h"
#endif
#ifdef HAUL_HAS_RDMA
#include "haul/rdma.h"
#endif
#include "haul/tcp.h"
#include "haul_bench/credentials.h"
#include "measure/usage.h"

namespace bench {

namespace {

haul::tcp::Io to_io(const std::string& name) {
  if (name == "epoll") return haul::tcp::Io::epoll;
  return name == "prefer" ? haul::tcp::Io::prefer_uring : haul::tcp::Io::uring;
}

haul::tcp::ZeroCopy to_zero_copy(const std::string& name) {
  if (name == "off") return haul::tcp::ZeroCopy::off;
  return name == "always" ? haul::tcp::ZeroCopy::always : haul::tcp::ZeroCopy::automatic;
}

haul::tcp::Options tcp_options(const Settings& settings, const haul::LogSink& log) {
  haul::tcp::Options options;
  options.io = to_io(settings.io);
  options.zero_copy = to_zero_copy(settings.zero_copy);
  options.log = log;
  if (settings.kernel_tls == "off") options.kernel_tls = haul::tcp::KernelTls::off;
  if (settings.kernel_tls == "require") options.kernel_tls = haul::tcp::KernelTls::require;
  if (settings.kernel_controller == "auto") options.kernel_controller = haul::tcp::KernelController::automatic;
  if (settings.kernel_controller == "require") options.kernel_controller = haul::tcp::KernelController::require;
  if (!settings.congestion.empty()) options.congestion_rack = options.congestion_wan = {settings.congestion};
  return options;
}

void log_to_stderr(const haul::LogRecord& record);

#ifdef HAUL_HAS_RDMA
haul::Result<std::unique_ptr<haul::Transport>> make_rdma(const Settings& settings) {
  haul::rdma::Options options;
  for (const std::string& text : settings.rails) {
    auto rail = haul::rdma::parse_rail(text);
    if (!rail) return rail.status();
    options.rails.push_back(std::move(*rail));
  }
  options.log = [](const haul::LogRecord& record) {
    if (record.level >= haul::LogLevel::warning) log_to_stderr(record);
  };
  return haul::rdma::make_transport(std::move(options));
}
#else
haul::Result<std::unique_ptr<haul::Transport>> make_rdma(const Settings&) {
  return haul::Status(haul::StatusCode::unsupported, "this haul-bench was built without RDMA (libibverbs-dev)");
}
#endif

#ifdef HAUL_HAS_QUIC
haul::Result<std::unique_ptr<haul::Transport>> make_quic(const Settings& settings) {
  haul::quic::Options options;
  const bool named = settings.controller != "off" && settings.controller != "automatic";
  if (named) options.controller = settings.controller;
  options.udp_payload_bytes = settings.udp_payload_bytes;
  options.qlog_folder = settings.qlog;
  options.log = [](const haul::LogRecord& record) {
    if (record.level >= haul::LogLevel::warning) log_to_stderr(record);
  };
  return haul::quic::make_transport(std::move(options));
}
#else
haul::Result<std::unique_ptr<haul::Transport>> make_quic(const Settings&) {
  return haul::Status(haul::StatusCode::unsupported, "this haul-bench was built without QUIC (libngtcp2-crypto-gnutls-dev)");
}
#endif

haul::Result<std::vector<std::unique_ptr<haul::Transport>>> make_transports(const Settings& settings) {
  std::vector<std::unique_ptr<haul::Transport>> transports;
  if (settings.transport == "quic") {
    auto quic = make_quic(settings);
    if (!quic) return quic.status();
    transports.push_back(std::move(quic).value());
    return transports;
  }
  if (settings.transport == "rdma") {
    auto rdma = make_rdma(settings);
    if (!rdma) return rdma.status();
    transports.push_back(std::move(rdma).value());
  }
  auto tcp = haul::tcp::make_transport(tcp_options(settings, [](const haul::LogRecord& record) {
    if (record.level >= haul::LogLevel::warning) log_to_stderr(record);
  }));
  if (!tcp) return tcp.status();
  transports.push_back(std::move(tcp).value());
  return transports;
}

void log_to_stderr(const haul::LogRecord& record) { fmt::print(stderr, "haul-bench: {}: {}\n", record.component, record.text); }

}  // namespace

haul::Result<std::unique_ptr<haul::Engine>> make_engine(const Settings& settings, haul::EngineOptions options) {
  if (!settings.pin.empty() && !pin_to_processor(settings.pin.front())) {
    return haul::Status::from_errno(haul::StatusCode::invalid, errno, fmt::format("--pin {}", settings.pin.front()));
  }
  options.name = fmt::format("haul-bench {}", to_string(settings.mode));
  options.integrity = settings.integrity == "off" ? haul::Integrity::off : haul::Integrity::crc32c;
  if (settings.authenticates()) options.credentials = credentials_in(settings.credentials);
  if (settings.encryption == "integrity") options.protection = haul::Protection::integrity_only;
  if (settings.encryption == "plain") options.protection = haul::Protection::plain;
  if (settings.insecure) options.security = haul::SecurityPolicy::insecure;
  options.congestion.controller = settings.controller;
  options.rate_limit_bytes_s = settings.rate_limit_bytes_s;
  options.remembered_paths_file = settings.remembered_paths;
  if (settings.poll == "spin") options.spin = haul::Duration::max();
  options.log = log_to_stderr;
  options.log_level = haul::LogLevel::warning;

  auto transports = make_transports(settings);
  if (!transports) return transports.status();
  return haul::Engine::create(std::move(options), std::move(*transports));
}

uint64_t retransmits(const haul::Peer& peer) {
  uint64_t total = 0;
  for (const haul::LaneStats& lane : peer.stats().lanes) total += lane.path.retransmits;
  return total;
}

haul::Result<haul::Buffer> make_working_set(haul::Engine& engine, uint64_t bytes, uint64_t seed) {
  auto memory = engine.allocate(bytes);
  if (memory) haul::base::Random(seed).fill(memory->bytes());
  return memory;
}

}  // namespace bench
