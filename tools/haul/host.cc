// The engine that a command runs on.
#include "host.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <utility>
#include <vector>

#ifdef HAUL_HAS_QUIC
#include "haul/quic.h"
#endif
#ifdef HAUL_HAS_RDMA
#include "haul/rdma.h"
#endif
#include "object/failure.h"
#include "print.h"

namespace haul::tool {

namespace {

/// `least`: unless everything is wanted. The engine's warnings repeat what the outcome of a command says; the transport's do
/// not.
LogSink make_log(bool verbose, LogLevel least) {
  return [verbose, least](const LogRecord& record) {
    if (!verbose && record.level < least) return;
    print(stderr, "haul: {}: {}\n", record.component, object::printable(record.text));
  };
}

#ifdef HAUL_HAS_RDMA
Result<std::unique_ptr<Transport>> make_rdma(const CommonOptions& options) {
  rdma::Options rdma_options;
  for (const std::string& text : options.rails) {
    auto rail = rdma::parse_rail(text);
    if (!rail) return rail.status();
    rdma_options.rails.push_back(std::move(*rail));
  }
  rdma_options.log = make_log(options.verbose, LogLevel::warning);
  return rdma::make_transport(std::move(rdma_options));
}
#else
Result<std::unique_ptr<Transport>> make_rdma(const CommonOptions&) {
  return Status(StatusCode::unsupported, "this haul was built without RDMA (libibverbs-dev)");
}
#endif

#ifdef HAUL_HAS_QUIC
Result<std::unique_ptr<Transport>> make_quic(const CommonOptions& options) {
  quic::Options quic_options;
  const bool named = options.controller != "off" && options.controller != "automatic";
  if (named) quic_options.controller = options.controller;
  quic_options.dead_after = options.timeout();
  quic_options.qlog_folder = options.qlog;
  quic_options.resets_across_restarts = true;  // for `haul serve`
  quic_options.log = make_log(options.verbose, LogLevel::warning);
  return quic::make_transport(std::move(quic_options));
}
#else
Result<std::unique_ptr<Transport>> make_quic(const CommonOptions&) {
  return Status(StatusCode::unsupported, "this haul was built without QUIC (libngtcp2-crypto-gnutls-dev)");
}
#endif

/// What `auto` can't have is told; what was asked for by name is an error.
Result<std::vector<std::unique_ptr<Transport>>> make_transports(const CommonOptions& options) {
  std::vector<std::unique_ptr<Transport>> transports;
  if (options.transport == "quic") {
    auto quic = make_quic(options);
    if (!quic) return quic.status();
    transports.push_back(std::move(*quic));
    return transports;
  }
  if (options.transport != "tcp") {
    auto rdma = make_rdma(options);
    if (rdma) {
      transports.push_back(std::move(*rdma));
    } else if (options.transport == "rdma" || !options.rails.empty()) {
      return rdma.status();
    } else {
      fmt::print(stderr, "haul: --transport auto goes without rdma: {}\n", object::printable(rdma.status().message()));
    }
  }
  tcp::Options tcp_options;
  tcp_options.io = options.io;
  tcp_options.dead_after = options.timeout();
  tcp_options.kernel_tls = options.kernel_tls;
  tcp_options.kernel_controller = options.kernel_controller;
  tcp_options.log = make_log(options.verbose, LogLevel::warning);
  auto tcp = tcp::make_transport(std::move(tcp_options));
  if (!tcp) return tcp.status();
  transports.push_back(std::move(*tcp));
  return transports;
}

}  // namespace

Credentials credentials_of(const CommonOptions& options) {
  Credentials credentials;
  const std::string& folder = options.credentials;
  const auto chosen = [&folder](const std::string& named, const char* name) {
    const std::string inside = folder + "/" + name;
    return !named.empty() || folder.empty() || access(inside.c_str(), F_OK) != 0 ? named : inside;
  };
  credentials.authorized_peers_file = chosen(options.authorized_peers, "authorized_peers");
  credentials.ca_file = chosen(options.ca, "ca.crt");
  credentials.crl_file = chosen(options.crl, "ca.crl");
  if (folder.empty()) return credentials;
  credentials.certificate_file = folder + "/haul.crt";
  credentials.key_file = folder + "/haul.key";
  return credentials;
}

Result<std::unique_ptr<Engine>> make_engine(const CommonOptions& options, EngineCallbacks callbacks) {
  if (options.insecure) fmt::print(stderr, "haul: warning: --insecure: peers are not authenticated, data is not encrypted\n");
  const Duration timeout = options.timeout();
  auto transports = make_transports(options);
  if (!transports) return transports.status();

  EngineOptions engine_options;
  engine_options.integrity = options.integrity ? Integrity::crc32c : Integrity::off;
  engine_options.credentials = credentials_of(options);
  if (options.protection == "integrity") engine_options.protection = Protection::integrity_only;
  if (options.protection == "plain") engine_options.protection = Protection::plain;
  engine_options.accept_policy = options.policy();
  engine_options.congestion.controller = options.controller;
  engine_options.rate_limit_bytes_s = options.rate_limit_bytes_s;
  engine_options.remembered_paths_file = options.remembered_paths;
  engine_options.security = options.insecure ? SecurityPolicy::insecure : SecurityPolicy::loopback_only;
  engine_options.peer_timeout = timeout;
  engine_options.keepalive = std::min<Duration>(std::chrono::seconds(3), timeout / 4);
  engine_options.handshake_timeout = std::min<Duration>(std::chrono::seconds(5), timeout);
  engine_options.on_peer = std::move(callbacks.on_peer);
  engine_options.on_message = std::move(callbacks.on_message);
  engine_options.on_peer_closed = std::move(callbacks.on_peer_closed);
  engine_options.log = make_log(options.verbose, LogLevel::error);
  engine_options.log_level = options.verbose ? LogLevel::debug : LogLevel::error;
  return Engine::create(std::move(engine_options), std::move(*transports));
}

}  // namespace haul::tool
