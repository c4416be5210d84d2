// What a run of haul-bench was asked to do, as the command line says it.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "haul/congestion.h"

namespace bench {

enum class Mode : uint8_t { throughput, latency, descriptors, idle, server };

struct Settings {
  Mode mode = Mode::throughput;

  // Both sides; a receiver process that we start ourselves is given the same.
  std::string transport = "tcp";
  std::vector<std::string> rails;           ///< of rdma: DEVICE[:PORT[:GID]]; none: all that are active
  std::vector<std::string> receiver_rails;  ///< of a receiver that we start; none: like `rails`
  std::string io = "uring";                 ///< uring, epoll, prefer
  std::string zero_copy = "auto";           ///< of tcp: auto, off, always
  std::string congestion;                   ///< the kernel's; empty: the backend's own choice
  std::string controller = haul::CongestionPolicy().controller;
  std::string qlog;                            ///< folder, of quic; empty: none
  uint32_t udp_payload_bytes = 0;              ///< at most, of quic; 0: as many as the path carries
  std::string kernel_controller = "off";       ///< of tcp: auto, off, require
  std::optional<uint64_t> rate_limit_bytes_s;  ///< of the payload that a side starts to move; absent: no bound
  std::string poll = "event";                  ///< spin, event
  std::string integrity = "on";                ///< on, off
  std::string encryption = "off";              ///< on, integrity, plain (authenticated only), off (no credentials)
  std::string kernel_tls = "auto";             ///< auto, off, require
  std::string credentials;                     ///< folder with haul.crt, haul.key, authorized_peers; empty: made for this run
  bool insecure = false;
  std::string remembered_paths;  ///< file; empty: none
  std::vector<int> pin;          ///< processors of this side and of a receiver that we start

  // The measuring side.
  std::string peer;        ///< HOST:PORT; empty: start a receiver process on loopback
  std::string op = "put";  ///< put, get
  std::optional<uint64_t> size_bytes;
  std::optional<double> duration_s;  ///< absent: 5 s, or the time limit when a size is given
  double warmup_s = 0.2;
  double drain_s = 30;        ///< for the last transfers to end
  double series_every_s = 0;  ///< between looks at the path, for the report; 0: none
  uint64_t block_bytes = 0;   ///< 0: the mode's default
  uint64_t working_set_bytes = uint64_t{64} << 20;
  uint32_t lanes = 0;     ///< 0: the library's choice
  uint32_t inflight = 0;  ///< 0: by block size
  uint32_t count = 256;   ///< descriptors in a batch
  bool json = false;

  // The server.
  std::string listen = "127.0.0.1:0";
  bool once = false;      ///< ends with its first client; it also ends with its parent
  double lifetime_s = 0;  ///< 0: until a signal

  bool get() const { return op == "get"; }
  bool authenticates() const { return encryption != "off"; }
  /// The longest a measurement may last, draining not included.
  double measured_s() const;
};

const char* to_string(Mode mode);

/// Fills in what depends on other settings. Empty when all is well; else what is wrong and how to mend it.
std::string complete(Settings& settings);

/// The command line of the receiver that this run starts for itself.
std::vector<std::string> server_arguments(const Settings& settings);

/// The settings that both sides should share, in words: the sides compare them.
std::string shared_settings(const Settings& settings);

}  // namespace bench
