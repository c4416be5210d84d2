// The RDMA backend: reliable connected queue pairs of libibverbs, on RoCE v2 or InfiniBand.
// docs/rdma.md tells how to set it up; transports/rdma/README.md how it works.
//
// It does not connect by address: an engine needs a second transport (tcp) whose connection carries the control messages, and
// over which queue-pair numbers and keys are exchanged. Payload on the fabric is neither encrypted nor authenticated packet by
// packet: engines with credentials use it only where Protection::plain is accepted.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "haul/export.h"
#include "haul/status.h"
#include "haul/telemetry.h"
#include "haul/transport.h"

namespace haul::rdma {

/// One port to use. Several are used side by side: lanes go over them in turn, and over those that are left when one goes down.
struct Rail {
  std::string device;  ///< "mlx5_0", "rxe0"
  uint8_t port = 1;
  /// Of the port's GID table; absent: the best one by type and address (RoCE v2 before v1; IPv4 before IPv6 before link-local).
  std::optional<uint32_t> gid_index = std::nullopt;
};

/// "DEVICE", "DEVICE:PORT" or "DEVICE:PORT:GID", for command lines. Errors: invalid.
HAUL_API Result<Rail> parse_rail(std::string_view text);

/// How a peer is kept from memory that it was not granted.
enum class RightsBy : uint8_t {
  /// Memory windows (type 2B) where the device has them, else a protection domain for each connection; that too where device
  /// memory is to be used (Options::export_device_memory), which has no windows.
  automatic,
  windows,  ///< Windows, or an error. Device memory can be moved from and to then, but not granted.
  domains,
};

struct Options {
  /// Empty: every active port of every device, and an error when there is none. A named one that is missing or down is an
  /// error of make_transport().
  std::vector<Rail> rails;
  RightsBy rights_by = RightsBy::automatic;

  uint32_t mtu_bytes = 4096;  ///< at most; the smaller of both sides' ports is used
  uint8_t traffic_class = 0;  ///< of RoCE packets (DSCP << 2 | ECN), for lossless classes
  uint8_t service_level = 0;

  /// Without an acknowledgement for about this long a connection closes as peer_lost (retry count and timeout are set by it).
  Duration dead_after = std::chrono::seconds(1);
  /// An idle connection is probed this often.
  Duration probe_every = std::chrono::seconds(1);
  /// A revoked grant's peer may finish what it has under way within this; then the key is taken without its word.
  Duration revoke_grace = std::chrono::milliseconds(500);

  /// Bytes of one connection that may be under way; more are refused for the moment.
  uint64_t window_bytes = uint64_t{8} << 20;

  /// Memory of more than this is registered in pieces (at most 8), side by side on threads.
  uint64_t registration_piece_bytes = uint64_t{1} << 30;
  /// Registers memory without pinning it. Error at registration where a device can't. Needs RightsBy::domains on most devices.
  bool on_demand_paging = false;
  /// Gives the dma-buf of (a part of) device memory, once for each registration of it: when a buffer is registered, and when a
  /// connection first uses or grants it. Absent: MemoryKind::device is refused. `fd` stays the caller's, and is used until the
  /// next call, or until the call of the engine in which it was asked for returned. Called by the engine's thread.
  struct ExportedMemory {
    int fd = -1;
    uint64_t offset = 0;
  };
  std::function<Result<ExportedMemory>(std::span<std::byte>)> export_device_memory;

  LogSink log;
};

/// Errors: unsupported (no RDMA on this machine), unavailable (a rail that is missing or down, no active port), invalid (an
/// option), exhausted (locked memory: names the limit).
HAUL_API Result<std::unique_ptr<Transport>> make_transport(Options options = {});

}  // namespace haul::rdma
