// Finding ports: by name, or all that are active.
#include "rdma/rails.h"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <bit>
#include <charconv>
#include <tuple>

namespace haul::rdma {

namespace {

bool is_ipv4(const Gid& gid) {
  const auto zero = [](uint8_t byte) { return byte == 0; };
  return std::all_of(gid.raw.begin(), gid.raw.begin() + 10, zero) && gid.raw[10] == 0xff && gid.raw[11] == 0xff;
}

bool is_link_local(const Gid& gid) { return gid.raw[0] == 0xfe && (gid.raw[1] & 0xc0U) == 0x80; }

int common_prefix_bits(const Gid& a, const Gid& b) {
  int bits = 0;
  for (size_t i = 0; i < a.raw.size(); ++i) {
    const auto difference = static_cast<uint8_t>(a.raw[i] ^ b.raw[i]);
    if (difference != 0) return bits + std::countl_zero(difference);
    bits += 8;
  }
  return bits;
}

Result<GidEntry> choose_gid(const PortInfo& info, const Rail& rail) {
  if (rail.gid_index) {
    const auto found =
        std::find_if(info.gids.begin(), info.gids.end(), [&](const auto& each) { return each.index == *rail.gid_index; });
    if (found != info.gids.end()) return *found;
    std::vector<std::string> there;
    for (const GidEntry& each : info.gids) {
      there.push_back(fmt::format("{} ({}, {})", each.index, to_string(each.type), to_string(each.gid)));
    }
    return Status(StatusCode::invalid, fmt::format("port {} of {} has no GID {}: there are {}", rail.port, rail.device,
                                                   *rail.gid_index, fmt::join(there, ", ")));
  }
  const GidEntry* best = best_gid(info);
  if (best == nullptr) {
    return Status(StatusCode::unavailable,
                  fmt::format("port {} of {} has no GID: give its network interface an address", rail.port, rail.device));
  }
  return *best;
}

}  // namespace

std::string to_string(const Gid& gid) {
  std::array<char, INET6_ADDRSTRLEN> text{};
  if (is_ipv4(gid)) {
    inet_ntop(AF_INET, gid.raw.data() + 12, text.data(), text.size());
  } else {
    inet_ntop(AF_INET6, gid.raw.data(), text.data(), text.size());
  }
  return text.data();
}

std::string_view to_string(GidType type) {
  switch (type) {
    case GidType::infiniband: return "InfiniBand";
    case GidType::roce_v1: return "RoCE v1";
    case GidType::roce_v2: return "RoCE v2";
  }
  return "unknown";
}

const GidEntry* best_gid(const PortInfo& port) {
  const auto rank = [](const GidEntry& each) {
    return std::tuple(each.type == GidType::roce_v1 ? 1 : 0,
                      is_link_local(each.gid) ? 2
                      : is_ipv4(each.gid)     ? 0
                                              : 1,
                      each.index);
  };
  const auto best = std::min_element(port.gids.begin(), port.gids.end(),
                                     [&](const GidEntry& a, const GidEntry& b) { return rank(a) < rank(b); });
  return best == port.gids.end() ? nullptr : &*best;
}

Result<Rail> parse_rail(std::string_view text) {
  const Status invalid(StatusCode::invalid,
                       fmt::format("\"{}\" names no RDMA port: DEVICE, DEVICE:PORT or DEVICE:PORT:GID", text));
  Rail rail;
  const auto number = [](std::string_view digits, auto& value) {
    const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value);
    return error == std::errc() && end == digits.data() + digits.size();
  };
  const size_t first = text.find(':');
  rail.device = std::string(text.substr(0, first));
  if (rail.device.empty()) return invalid;
  if (first == std::string_view::npos) return rail;
  const std::string_view rest = text.substr(first + 1);
  const size_t second = rest.find(':');
  if (!number(rest.substr(0, second), rail.port)) return invalid;
  if (second != std::string_view::npos && !number(rest.substr(second + 1), rail.gid_index.emplace(0))) return invalid;
  return rail;
}

std::string Port::name() const { return fmt::format("{} port {}", owner->device->info().name, number); }

std::string Port::describe() const {
  return fmt::format("{}, GID {} ({}, {}), MTU {}, rights by {}", name(), gid.index, to_string(gid.type),
                     rdma::to_string(gid.gid), info.mtu_bytes, owner->windows ? "memory windows" : "protection domains");
}

Result<std::unique_ptr<Rails>> Rails::find(Verbs& verbs, const Options& options) {
  auto rails = std::make_unique<Rails>();
  if (options.rails.empty()) {
    if (Status status = rails->use_all(verbs, options); !status.ok()) return status;
  }
  for (const Rail& rail : options.rails) {
    if (Status status = rails->use(verbs, rail, options); !status.ok()) return status;
  }
  return rails;
}

Result<OpenDevice*> Rails::open(Verbs& verbs, const std::string& name, const Options& options) {
  for (const auto& each : devices_) {
    if (each->device->info().name == name) return each.get();
  }
  auto device = verbs.open(name);
  if (!device) return device.status();
  auto entry = std::make_unique<OpenDevice>();
  entry->device = std::move(*device);
  const DeviceInfo& info = entry->device->info();
  if (info.iwarp) {
    return Status(StatusCode::unsupported,
                  fmt::format("{} is an iWARP device, whose queue pairs need the RDMA connection manager", name));
  }
  if (options.on_demand_paging && !info.on_demand_paging) {
    return Status(StatusCode::unsupported, fmt::format("{} has no on-demand paging: leave it off", name));
  }
  const bool for_device_memory = options.rights_by == RightsBy::automatic && options.export_device_memory != nullptr;
  entry->windows = info.windows_2b && options.rights_by != RightsBy::domains && !for_device_memory;
  if (options.rights_by == RightsBy::windows && !info.windows_2b) {
    return Status(StatusCode::unsupported,
                  fmt::format("{} has no memory windows of type 2B: use RightsBy::automatic or domains", name));
  }
  if (entry->windows) {
    auto domain = entry->device->make_domain();
    if (!domain) return domain.status();
    entry->domain = std::move(*domain);
    entry->memory = std::make_unique<DomainMemory>(*entry->device, *entry->domain, /*windows=*/true, options);
  }
  devices_.push_back(std::move(entry));
  return devices_.back().get();
}

Status Rails::use(Verbs& verbs, const Rail& rail, const Options& options) {
  auto device = open(verbs, rail.device, options);
  if (!device) return device.status();
  if (rail.port == 0 || rail.port > (*device)->device->info().ports) {
    return Status(StatusCode::invalid,
                  fmt::format("{} has no port {}: it has {}", rail.device, rail.port, (*device)->device->info().ports));
  }
  auto info = (*device)->device->query_port(rail.port);
  if (!info) return info.status();
  if (!info->active) {
    return Status(StatusCode::unavailable, fmt::format("port {} of {} is {}: bring its link up, or name another port",
                                                       rail.port, rail.device, info->state));
  }
  auto gid = choose_gid(*info, rail);
  if (!gid) return gid.status();
  auto port = std::make_unique<Port>();
  port->owner = *device;
  port->number = rail.port;
  port->info = std::move(*info);
  port->gid = *gid;
  port->rail = rail;
  ports_.push_back(std::move(port));
  return {};
}

Status Rails::use_all(Verbs& verbs, const Options& options) {
  auto names = verbs.device_names();
  if (!names) return names.status();
  if (names->empty()) {
    return Status(StatusCode::unsupported,
                  "this machine has no RDMA device (`rdma link` lists them; docs/rdma.md tells how to set one up)");
  }
  for (const std::string& name : *names) {
    auto device = open(verbs, name, options);
    if (!device) {
      left_out_.push_back(fmt::format("{}: {}", name, device.status().message()));
      continue;
    }
    for (uint8_t number = 1; number <= (*device)->device->info().ports; ++number) {
      const Status status = use(verbs, Rail{name, number, std::nullopt}, options);
      if (!status.ok()) left_out_.push_back(fmt::format("{} port {}: {}", name, number, status.message()));
    }
  }
  // Memory is registered with every device that is kept.
  std::erase_if(devices_, [this](const auto& device) {
    return std::none_of(ports_.begin(), ports_.end(), [&](const auto& port) { return port->owner == device.get(); });
  });
  if (!ports_.empty()) return {};
  return Status(StatusCode::unavailable, fmt::format("no RDMA port can be used: {}", fmt::join(left_out_, "; ")));
}

Port* Rails::next(TimePoint now) {
  const auto rank = [now](const Port& port) { return std::pair(now < port.avoid_until, port.connections); };
  Port* best = nullptr;
  for (size_t i = 0; i < ports_.size(); ++i) {
    Port& port = *ports_[(turn_ + i) % ports_.size()];
    if (port.up && (best == nullptr || rank(port) < rank(*best))) best = &port;
  }
  ++turn_;
  return best;
}

void Rails::refresh(Port& port) {
  auto info = port.owner->device->query_port(port.number);
  port.up = info.ok() && info->active;
  if (!port.up) return;
  const auto gid = choose_gid(*info, port.rail);
  if (gid) {
    port.gid = *gid;
    port.info = std::move(*info);
  } else {
    port.up = false;
  }
}

Port* Rails::matching(const wire::Endpoint& peer) {
  Port* best = nullptr;
  const auto rank = [&peer](const Port& port) {
    return std::tuple(port.info.link == peer.link, port.gid.type == peer.gid_type, is_ipv4(port.gid.gid) == is_ipv4(peer.gid),
                      common_prefix_bits(port.gid.gid, peer.gid), -static_cast<int64_t>(port.connections));
  };
  for (const auto& port : ports_) {
    if (port->up && (best == nullptr || rank(*port) > rank(*best))) best = port.get();
  }
  return best != nullptr && best->info.link == peer.link ? best : nullptr;
}

std::string Rails::describe() const {
  std::string text;
  for (const auto& port : ports_) text += fmt::format("{}: {}\n", port->describe(), port->up ? "used" : "down");
  for (const std::string& line : left_out_) text += fmt::format("{}: not used\n", line);
  return text;
}

}  // namespace haul::rdma
