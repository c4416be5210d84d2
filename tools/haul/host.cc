// The engine that a command runs on.
#include "host.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <utility>
#include <vector>

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
  tcp::Options tcp_options;
  tcp_options.io = options.io;
  tcp_options.dead_after = timeout;
  tcp_options.kernel_tls = options.kernel_tls;
  tcp_options.log = make_log(options.verbose, LogLevel::warning);
  auto transport = tcp::make_transport(std::move(tcp_options));
  if (!transport) return transport.status();

  EngineOptions engine_options;
  engine_options.integrity = options.integrity ? Integrity::crc32c : Integrity::off;
  engine_options.credentials = credentials_of(options);
  if (options.protection == "integrity") engine_options.protection = Protection::integrity_only;
  if (options.protection == "plain") engine_options.protection = Protection::plain;
  engine_options.security = options.insecure ? SecurityPolicy::insecure : SecurityPolicy::loopback_only;
  engine_options.peer_timeout = timeout;
  engine_options.keepalive = std::min<Duration>(std::chrono::seconds(3), timeout / 4);
  engine_options.handshake_timeout = std::min<Duration>(std::chrono::seconds(5), timeout);
  engine_options.on_peer = std::move(callbacks.on_peer);
  engine_options.on_message = std::move(callbacks.on_message);
  engine_options.on_peer_closed = std::move(callbacks.on_peer_closed);
  engine_options.log = make_log(options.verbose, LogLevel::error);
  engine_options.log_level = options.verbose ? LogLevel::debug : LogLevel::error;
  std::vector<std::unique_ptr<Transport>> transports;
  transports.push_back(std::move(*transport));
  return Engine::create(std::move(engine_options), std::move(transports));
}

}  // namespace haul::tool
