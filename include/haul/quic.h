// The QUIC backend: encrypted bulk over UDP, for the way between hubs. transports/quic/README.md tells how it works.
//
// QUIC is always authenticated and encrypted: an engine with this backend needs credentials.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "haul/congestion.h"
#include "haul/export.h"
#include "haul/status.h"
#include "haul/telemetry.h"
#include "haul/transport.h"

namespace haul::quic {

struct Options {
  /// Who decides how much is sent, and when: one of congestion::names(). The backend acts on it for each connection by itself;
  /// the engine's own policy does not reach here.
  std::string controller = "hub";
  MakeController make_controller;  ///< If set, instead of `controller`.

  /// Bytes of UDP payload in a full packet. 0: found for each path, up to 1452.
  uint32_t udp_payload_bytes = 0;

  /// An outage that is shorter is outlived, and a dead path noticed within about twice this time, which is QUIC's idle timeout
  /// (the smaller one of both sides'). An idle connection is kept alive by pings.
  Duration dead_after = std::chrono::seconds(10);

  /// Connections of strangers, until their handshake and introduction are over: how many, and for how long.
  uint32_t max_unidentified = 128;
  Duration hello_timeout = std::chrono::seconds(5);
  /// From so many strangers on, each must prove its address first (Retry, RFC 9000 section 8.1.2), which costs it a round trip.
  uint32_t retry_from = 32;

  /// Of each UDP socket. The kernel bounds it by net.core.rmem_max and wmem_max unless the process has CAP_NET_ADMIN.
  uint32_t socket_buffer_bytes = 8U << 20;

  LogSink log;
};

/// Errors: invalid (options out of range), exhausted (file descriptors).
HAUL_API Result<std::unique_ptr<Transport>> make_transport(Options options = {});

}  // namespace haul::quic
