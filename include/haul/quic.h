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

  /// Packets have no more bytes of UDP payload than this, 1200 to 65000. How many the path carries is found by sending larger
  /// ones now and then. 0: up to 8952 (jumbo frames), and on loopback 65000.
  uint32_t udp_payload_bytes = 0;

  /// An outage that is shorter is outlived, and a dead path noticed within about twice this time, which is QUIC's idle timeout
  /// (the smaller one of both sides'). An idle connection is kept alive by pings.
  Duration dead_after = std::chrono::seconds(10);

  /// After so many bytes that one side sent, and after so long, it renews the keys of both directions (RFC 9001 section 6); the
  /// data goes on meanwhile. Also after 2^21 packets, a quarter of what AES-GCM may protect with one key.
  uint64_t renew_keys_bytes = 4ULL << 30;
  Duration renew_keys_after = std::chrono::hours(1);

  /// Connections of strangers, until their handshake and introduction are over: how many, and for how long.
  uint32_t max_unidentified = 128;
  Duration hello_timeout = std::chrono::seconds(5);
  /// From so many strangers on, each must prove its address first (Retry, RFC 9000 section 8.1.2), which costs it a round trip.
  uint32_t retry_from = 32;

  /// Of each UDP socket. The kernel bounds it by net.core.rmem_max and wmem_max unless the process has CAP_NET_ADMIN.
  uint32_t socket_buffer_bytes = 8U << 20;

  /// Whether a listener knows the connections of the one that was there before: what it answers to their packets then ends them
  /// at once on the other side (stateless resets, RFC 9000 section 10.3), instead of after `dead_after`. The secret for that is
  /// made of the identity's private key and the port, so it must not be shared: only one host may listen at this port with this
  /// identity.
  bool resets_across_restarts = false;

  /// A folder for one qlog file a connection (draft-ietf-quic-qlog; JSON text sequences, named after the connection's first id
  /// and the side, readable by the owner only). They tell of every packet, but nothing of what is in the payload. Empty: none.
  /// Costs time for each packet, and disk space without bound. What can't be written is warned of once, and disturbs no
  /// connection.
  std::string qlog_folder;

  LogSink log;
};

/// Errors: invalid (options out of range), exhausted (file descriptors).
HAUL_API Result<std::unique_ptr<Transport>> make_transport(Options options = {});

}  // namespace haul::quic
