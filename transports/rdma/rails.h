// Which devices and ports are used, by which of their addresses, and why not the others.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "haul/rdma.h"
#include "rdma/memory.h"
#include "rdma/verbs.h"
#include "rdma/wire.h"

namespace haul::rdma {

/// A device in use. With windows, its connections share one protection domain.
struct OpenDevice {
  std::unique_ptr<Device> device;
  bool windows = false;
  bool gone = false;  ///< it had a fatal error
  std::unique_ptr<ProtectionDomain> domain;
  std::unique_ptr<DomainMemory> memory;  ///< null without windows: each connection has its own
};

/// One port in use. Never moves.
struct Port {
  OpenDevice* owner = nullptr;
  uint8_t number = 1;
  PortInfo info;
  GidEntry gid;
  Rail rail;  ///< as it was asked for
  bool up = true;
  TimePoint avoid_until;  ///< nothing came back over it
  uint32_t connections = 0;

  std::string name() const;
  std::string describe() const;
};

/// "192.168.1.2" for an IPv4-mapped GID, else the IPv6 form.
std::string to_string(const Gid& gid);
std::string_view to_string(GidType type);

/// Best first: RoCE v2 before v1, IPv4 before other IPv6 before link-local, then by index.
const GidEntry* best_gid(const PortInfo& port);

class Rails {
 public:
  static Result<std::unique_ptr<Rails>> find(Verbs& verbs, const Options& options);

  std::vector<std::unique_ptr<OpenDevice>>& devices() { return devices_; }
  std::vector<std::unique_ptr<Port>>& ports() { return ports_; }
  const std::vector<std::unique_ptr<Port>>& ports() const { return ports_; }

  /// For a connection that this side begins: the port that is up with the fewest connections, in turn; last those to
  /// be avoided.
  Port* next(TimePoint now);
  /// Asks the port again, for its state and its addresses. Endpoints that are made from now on have the new ones.
  static void refresh(Port& port);
  /// For one that the peer began: the port that most likely reaches it (link, GID type, the longest common GID prefix).
  Port* matching(const wire::Endpoint& peer);
  /// One line a port, used or not, with the reason.
  std::string describe() const;

 private:
  Status use(Verbs& verbs, const Rail& rail, const Options& options);
  Status use_all(Verbs& verbs, const Options& options);
  Result<OpenDevice*> open(Verbs& verbs, const std::string& name, const Options& options);

  std::vector<std::unique_ptr<OpenDevice>> devices_;
  std::vector<std::unique_ptr<Port>> ports_;
  std::vector<std::string> left_out_;
  size_t turn_ = 0;
};

}  // namespace haul::rdma
