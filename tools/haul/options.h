// What the command line of haul says, as values.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "haul/engine.h"
#include "haul/tcp.h"

namespace haul::tool {

struct CommonOptions {
  bool json = false;
  bool verbose = false;
  bool insecure = false;
  std::string credentials;               ///< folder; empty: none
  std::string authorized_peers;          ///< file; empty: the one in the folder, where it is
  std::string ca;                        ///< likewise
  std::string crl;                       ///< likewise
  std::string protection = "encrypted";  ///< or integrity, plain
  tcp::KernelTls kernel_tls = tcp::KernelTls::automatic;
  bool integrity = true;
  tcp::Io io = tcp::Io::uring;
  std::string transport = "tcp";   ///< or quic, rdma, auto
  std::string qlog;                ///< folder for quic's; empty: none
  std::vector<std::string> rails;  ///< DEVICE[:PORT[:GID]]; empty: all that are active
  uint32_t lanes = 0;
  double timeout_s = 10;
  std::string controller = CongestionPolicy().controller;
  tcp::KernelController kernel_controller = tcp::KernelController::off;
  std::optional<uint64_t> rate_limit_bytes_s;
  std::string remembered_paths;  ///< file; empty: none

  TransportPolicy policy() const {
    if (transport == "rdma") return {{"rdma"}, {}, {}};
    if (transport == "auto") return {{}, {"rdma"}, {}};
    return {};
  }
  Duration timeout() const { return std::chrono::duration_cast<Duration>(std::chrono::duration<double>(timeout_s)); }
};

/// What one client is served at.
struct ClientRate {
  std::string name;  ///< as the file of authorized peers has it; certified by an authority: as its certificate has it
  uint64_t bytes_s = 0;
};

struct ServeOptions {
  std::string listen;
  std::string root;
  uint32_t max_sessions = 16;
  uint32_t slots = 8;
  uint32_t slot_mib = 4;
  std::vector<ClientRate> client_rates;  ///< each name once
  bool once = false;
};

struct MoveOptions {
  std::vector<std::string> paths;  ///< push: the sources; pull: none
  std::string url;
  std::string folder;  ///< pull: where to
  bool overwrite = false;
  bool quiet = false;
};

struct ProbeOptions {
  std::string address;
  double seconds = 1;
};

struct KeygenOptions {
  std::string folder;
  std::string name;  ///< empty: the host's
  int64_t days = 3650;
};

enum class CcAction : uint8_t { install, uninstall, status };

struct CcOptions {
  CcAction action = CcAction::status;
  std::string directory = tcp::kernel_congestion::default_directory;
  std::string group;      ///< empty: root's processes only
  bool wherever = false;  ///< uninstall: also what has its maps elsewhere
};

}  // namespace haul::tool
