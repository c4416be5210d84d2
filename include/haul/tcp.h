// The TCP backend: sockets over io_uring, or over a plain epoll loop where io_uring is missing or forbidden.
// docs/operating.md tells how to choose; transports/tcp/README.md how it works.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "haul/export.h"
#include "haul/kernel_congestion.h"
#include "haul/status.h"
#include "haul/telemetry.h"
#include "haul/transport.h"

namespace haul::tcp {

/// How the kernel is asked for I/O. There is no silent change from one to another.
enum class Io : uint8_t {
  uring,         ///< The default: io_uring, or an error that says why it cannot be had and what to do.
  epoll,         ///< A plain epoll loop.
  prefer_uring,  ///< io_uring where it works, else epoll; logged as a warning and named by describe().
};

enum class ZeroCopy : uint8_t {
  automatic,  ///< For large payloads within the rack (round trip under 2 ms), until the kernel says that it copied anyway.
  off,
  always,  ///< Even on loopback and long paths, and when the kernel copies; for tests and measurements.
};

/// Who seals and opens the TLS records of encrypted lanes.
enum class KernelTls : uint8_t {
  automatic,  ///< The kernel where it can (its tls module is there), else this library; describe() says which.
  off,
  require,  ///< The kernel, or the connection fails.
};

/// Whether sockets take haul's congestion control in the kernel, whose window and pacing rate come from this process.
enum class KernelController : uint8_t {
  off,
  automatic,  ///< Beyond a rack, where it is installed and this process may drive it; describe() says which is in force, and
              ///< whether anybody drives it.
  require,    ///< On every path, or make_transport() and the connection fail.
};

class Acceptor;

struct Options {
  Io io = Io::uring;
  ZeroCopy zero_copy = ZeroCopy::automatic;

  /// Writes of at least this size are received straight into the destination; smaller ones share frames and are copied once.
  /// At most 32 KiB, which is what a frame of small ones may carry.
  uint32_t direct_threshold_bytes = 16U << 10;

  /// Congestion controls by preference for paths within a rack (round trip under 2 ms, or loopback) and beyond. The first that
  /// the kernel has and permits is set; empty: the kernel's default. Where nothing on a list can be set, the default stays,
  /// and a warning is logged, once for each list. describe() names the one in force.
  std::vector<std::string> congestion_rack = {"reno", "cubic"};
  std::vector<std::string> congestion_wan = {"bbr", "cubic"};

  /// `haul` before those lists (docs/congestion-control.md, "Ours in the kernel"; `haul cc install`). The engine's controller
  /// drives it: set EngineOptions::congestion too. A socket that nobody drives follows RFC 5681, slow on long lossy paths.
  KernelController kernel_controller = KernelController::off;
  std::string kernel_controller_directory = kernel_congestion::default_directory;

  /// Zero: the kernel's autotuning, which is best unless its limits are too low.
  uint32_t send_buffer_bytes = 0;
  uint32_t receive_buffer_bytes = 0;

  /// A dead path is noticed by the kernel within about this time (TCP_USER_TIMEOUT, keep-alive).
  Duration dead_after = std::chrono::seconds(10);

  /// Accepted sockets that have not introduced themselves (TLS handshake, preface): how many, and for how long. When there are
  /// too many, one of the network address that has the most makes room: the most silent, the oldest.
  uint32_t max_unidentified = 128;
  Duration preface_timeout = std::chrono::seconds(5);
  /// TLS handshakes that strangers may begin in a second; each costs about half a millisecond of processor time. More wait.
  uint32_t max_handshakes_per_s = 500;

  KernelTls kernel_tls = KernelTls::automatic;
  /// After so many protected bytes, both directions together, the engine is asked to replace the lane; after somewhat more than
  /// twice as many the connection ends. At most 160 GiB: RFC 8446 section 5.5 limits what AES-GCM keys may protect to 388 GB.
  uint64_t renew_keys_after_bytes = uint64_t{128} << 30;

  /// Shared by the transports of several engines in one process: whichever listens hands sockets to the engine that owns the
  /// peer. Null: this transport's own.
  std::shared_ptr<Acceptor> acceptor;

  LogSink log;
};

/// Hands accepted sockets to the engine that owns the peer. One a process, shared by Options::acceptor; thread-safe inside.
HAUL_API std::shared_ptr<Acceptor> make_acceptor();

/// Errors: unsupported (no io_uring; the message has the reason and the remedy), exhausted (file descriptors, locked
/// memory), invalid.
HAUL_API Result<std::unique_ptr<Transport>> make_transport(Options options = {});

/// Whether io_uring works here, with everything this backend needs; else why not and what to do. Cheap enough to call at
/// start-up.
HAUL_API Status uring_works();

}  // namespace haul::tcp
