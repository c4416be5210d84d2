// Verbs by libibverbs: devices, memory, and what they tell. ibverbs_queues.cc has the queues.
#include "rdma/ibverbs.h"

#include <endian.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <infiniband/verbs.h>
#include <sys/eventfd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

namespace haul::rdma {

namespace {

// Linux's software drivers report these: rxe, and what has no vendor at all.
constexpr uint32_t software_vendor = 0xffffff;

unsigned flags_of(const Access& access) {
  unsigned flags = 0;
  if (access.local_write) flags |= IBV_ACCESS_LOCAL_WRITE;
  if (access.remote_read) flags |= IBV_ACCESS_REMOTE_READ;
  if (access.remote_write) flags |= IBV_ACCESS_REMOTE_WRITE;
  if (access.windows) flags |= IBV_ACCESS_MW_BIND;
  if (access.on_demand) flags |= IBV_ACCESS_ON_DEMAND;
  return flags;
}

class IbDomain final : public ProtectionDomain {
 public:
  explicit IbDomain(ibv_pd* domain) : domain_(domain) {}
  ~IbDomain() override { ibv_dealloc_pd(domain_); }
  IbDomain(const IbDomain&) = delete;
  IbDomain& operator=(const IbDomain&) = delete;
  ibv_pd* get() const { return domain_; }

 private:
  ibv_pd* domain_;
};

ibv_pd* raw(ProtectionDomain& domain) { return static_cast<IbDomain&>(domain).get(); }

GidType type_of(uint32_t type) {
  switch (type) {
    case IBV_GID_TYPE_ROCE_V1: return GidType::roce_v1;
    case IBV_GID_TYPE_ROCE_V2: return GidType::roce_v2;
    default: return GidType::infiniband;
  }
}

std::string state_text(ibv_port_state state) { return ibv_port_state_str(state); }

uint32_t mtu_bytes(ibv_mtu mtu) { return 128U << static_cast<unsigned>(mtu); }

void make_nonblocking(int fd) { fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK); }

class IbDevice final : public Device {
 public:
  IbDevice(ibv_context* context, ibv_comp_channel* channel, base::UniqueFd connect_fd, DeviceInfo info)
      : context_(context), channel_(channel), workers_(std::move(connect_fd)), info_(std::move(info)) {}
  ~IbDevice() override {
    ibv_destroy_comp_channel(channel_);
    ibv_close_device(context_);
  }
  IbDevice(const IbDevice&) = delete;
  IbDevice& operator=(const IbDevice&) = delete;

  const DeviceInfo& info() const noexcept override { return info_; }
  Result<PortInfo> query_port(uint8_t port) override;
  Result<std::unique_ptr<ProtectionDomain>> make_domain() override;
  Result<std::unique_ptr<RegisteredRange>> register_range(ProtectionDomain& domain, std::span<std::byte> memory,
                                                          Access access) override;
  Result<std::unique_ptr<RegisteredRange>> register_dma_buf(ProtectionDomain& domain, const DmaBuf& buffer,
                                                            std::span<std::byte> memory, Access access) override;
  Result<std::unique_ptr<MemoryWindow>> make_window(ProtectionDomain& domain) override;
  Result<std::unique_ptr<CompletionQueue>> make_completion_queue(uint32_t entries) override {
    return ib::make_completion_queue(context_, channel_, entries);
  }
  Result<std::unique_ptr<QueuePair>> make_queue_pair(ProtectionDomain& domain, CompletionQueue& completions,
                                                     const QueueSizes& sizes) override {
    return ib::make_queue_pair(raw(domain), completions, sizes, workers_);
  }
  int completion_fd() const noexcept override { return channel_->fd; }
  void take_completion_events() override { ib::take_completion_events(channel_); }
  int connect_fd() const noexcept override { return workers_.fd(); }
  void take_connect_events() override { workers_.take_events(); }
  int async_fd() const noexcept override { return context_->async_fd; }
  std::optional<AsyncEvent> next_async_event() override;

 private:
  ibv_context* context_;
  ibv_comp_channel* channel_;
  Workers workers_;
  DeviceInfo info_;
};

class IbVerbs final : public Verbs {
 public:
  Result<std::vector<std::string>> device_names() override;
  Result<std::unique_ptr<Device>> open(const std::string& name) override;
};

/// The kernel's list of devices, while it is looked at.
class DeviceList {
 public:
  DeviceList() : devices_(ibv_get_device_list(&count_)), error_(devices_ == nullptr ? errno : 0) {}
  ~DeviceList() {
    if (devices_ != nullptr) ibv_free_device_list(devices_);
  }
  DeviceList(const DeviceList&) = delete;
  DeviceList& operator=(const DeviceList&) = delete;
  std::span<ibv_device* const> all() const { return {devices_, devices_ == nullptr ? 0 : static_cast<size_t>(count_)}; }
  int error() const { return error_; }

 private:
  int count_ = 0;
  ibv_device** devices_;
  int error_;
};

Result<DeviceInfo> query(ibv_context* context, const std::string& name) {
  ibv_device_attr_ex extended{};
  if (const int error = ibv_query_device_ex(context, nullptr, &extended); error != 0) {
    return Status::from_errno(StatusCode::unavailable, error, fmt::format("{} cannot be asked for its attributes", name));
  }
  const ibv_device_attr& attributes = extended.orig_attr;
  DeviceInfo info;
  info.name = name;
  info.ports = attributes.phys_port_cnt;
  info.max_requests = static_cast<uint32_t>(attributes.max_qp_wr);
  info.max_reads = static_cast<uint8_t>(std::clamp(attributes.max_qp_rd_atom, 1, 16));
  info.max_reads_asked = static_cast<uint8_t>(std::clamp(attributes.max_qp_init_rd_atom, 1, 16));
  info.windows_2b = (attributes.device_cap_flags & IBV_DEVICE_MEM_WINDOW_TYPE_2B) != 0;
  constexpr uint32_t needed = IBV_ODP_SUPPORT_SEND | IBV_ODP_SUPPORT_WRITE | IBV_ODP_SUPPORT_READ;
  info.on_demand_paging = (extended.odp_caps.general_caps & IBV_ODP_SUPPORT) != 0 &&
                          (extended.odp_caps.per_transport_caps.rc_odp_caps & needed) == needed;
  info.iwarp = context->device->transport_type == IBV_TRANSPORT_IWARP;
  info.stops_messages = info.proves_reads = attributes.vendor_id != 0 && attributes.vendor_id != software_vendor;
  // No attribute tells. mlx5's provider refuses to bind more; no larger than that anywhere is known to be safe.
  if (info.stops_messages) info.max_window_bytes = uint64_t{1} << 31;
  return info;
}

}  // namespace

std::shared_ptr<Verbs> make_ibverbs() { return std::make_shared<IbVerbs>(); }

Result<std::vector<std::string>> IbVerbs::device_names() {
  const DeviceList list;
  if (list.error() != 0) {
    return Status::from_errno(StatusCode::unsupported, list.error(),
                              "this kernel offers no RDMA (module ib_uverbs, package rdma-core)");
  }
  std::vector<std::string> names;
  for (ibv_device* device : list.all()) names.emplace_back(ibv_get_device_name(device));
  std::sort(names.begin(), names.end());
  return names;
}

Result<std::unique_ptr<Device>> IbVerbs::open(const std::string& name) {
  const DeviceList list;
  const auto all = list.all();
  const auto found =
      std::find_if(all.begin(), all.end(), [&](ibv_device* device) { return ibv_get_device_name(device) == name; });
  if (found == all.end()) {
    std::string there;
    for (ibv_device* device : all) there += fmt::format(" {}", ibv_get_device_name(device));
    return Status(StatusCode::unavailable,
                  fmt::format("this machine has no RDMA device {}: there are{}", name, there.empty() ? " none" : ":" + there));
  }
  ibv_context* context = ibv_open_device(*found);
  if (context == nullptr) {
    return Status::from_errno(StatusCode::unavailable, errno, fmt::format("{} cannot be opened (/dev/infiniband)", name));
  }
  auto info = query(context, name);
  base::UniqueFd connect_fd(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  ibv_comp_channel* channel = info && connect_fd ? ibv_create_comp_channel(context) : nullptr;
  if (channel == nullptr) {
    const Status status =
        info ? Status::from_errno(StatusCode::exhausted, errno, name + " gets no descriptor for its events (see ulimit -n)")
             : info.status();
    ibv_close_device(context);
    return status;
  }
  make_nonblocking(channel->fd);
  make_nonblocking(context->async_fd);
  return std::unique_ptr<Device>(std::make_unique<IbDevice>(context, channel, std::move(connect_fd), std::move(*info)));
}

Result<PortInfo> IbDevice::query_port(uint8_t port) {
  ibv_port_attr attributes{};
  if (const int error = ibv_query_port(context_, port, &attributes); error != 0) {
    return Status::from_errno(StatusCode::unavailable, error, fmt::format("port {} of {} cannot be asked", port, info_.name));
  }
  PortInfo info;
  info.active = attributes.state == IBV_PORT_ACTIVE;
  info.state = state_text(attributes.state);
  info.mtu_bytes = mtu_bytes(attributes.active_mtu);
  info.lid = attributes.lid;
  info.link = attributes.link_layer == IBV_LINK_LAYER_ETHERNET ? LinkLayer::ethernet : LinkLayer::infiniband;
  std::vector<ibv_gid_entry> entries(static_cast<size_t>(std::max(attributes.gid_tbl_len, 1)));
  for (uint32_t index = 0; index < entries.size(); ++index) {
    ibv_gid_entry entry{};
    if (ibv_query_gid_ex(context_, port, index, &entry, 0) != 0) continue;
    GidEntry& known = info.gids.emplace_back();
    known.index = index;
    known.type = type_of(entry.gid_type);
    std::copy(std::begin(entry.gid.raw), std::end(entry.gid.raw), known.gid.raw.begin());
  }
  return info;
}

Result<std::unique_ptr<ProtectionDomain>> IbDevice::make_domain() {
  ibv_pd* domain = ibv_alloc_pd(context_);
  if (domain == nullptr) return Status::from_errno(StatusCode::exhausted, errno, info_.name + " gives no protection domain");
  return std::unique_ptr<ProtectionDomain>(std::make_unique<IbDomain>(domain));
}

Result<std::unique_ptr<RegisteredRange>> IbDevice::register_range(ProtectionDomain& domain, std::span<std::byte> memory,
                                                                  Access access) {
  ibv_mr* range = ibv_reg_mr(raw(domain), memory.data(), memory.size(), static_cast<int>(flags_of(access)));
  if (range == nullptr) return Status::from_errno(StatusCode::exhausted, errno, "ibv_reg_mr");
  return ib::take_range(range);
}

Result<std::unique_ptr<RegisteredRange>> IbDevice::register_dma_buf(ProtectionDomain& domain, const DmaBuf& buffer,
                                                                    std::span<std::byte> memory, Access access) {
  ibv_mr* range = ibv_reg_dmabuf_mr(raw(domain), buffer.offset, memory.size(), reinterpret_cast<uint64_t>(memory.data()),
                                    buffer.fd, static_cast<int>(flags_of(access)));
  if (range == nullptr) {
    return Status::from_errno(errno == EOPNOTSUPP ? StatusCode::unsupported : StatusCode::exhausted, errno,
                              "ibv_reg_dmabuf_mr (device memory)");
  }
  return ib::take_range(range);
}

Result<std::unique_ptr<MemoryWindow>> IbDevice::make_window(ProtectionDomain& domain) {
  ibv_mw* window = ibv_alloc_mw(raw(domain), IBV_MW_TYPE_2);
  if (window == nullptr) return Status::from_errno(StatusCode::exhausted, errno, "ibv_alloc_mw");
  return ib::take_window(window);
}

std::optional<AsyncEvent> IbDevice::next_async_event() {
  ibv_async_event event{};
  if (ibv_get_async_event(context_, &event) != 0) return std::nullopt;
  AsyncEvent told;
  switch (event.event_type) {
    case IBV_EVENT_PORT_ERR:
    case IBV_EVENT_PORT_ACTIVE:
    case IBV_EVENT_LID_CHANGE:
    case IBV_EVENT_GID_CHANGE:
      told.kind = AsyncEvent::Kind::port_changed;
      told.port = static_cast<uint8_t>(event.element.port_num);
      break;
    case IBV_EVENT_QP_ACCESS_ERR:
    case IBV_EVENT_QP_REQ_ERR:
    case IBV_EVENT_QP_FATAL:
      told.kind =
          event.event_type == IBV_EVENT_QP_ACCESS_ERR ? AsyncEvent::Kind::access_error : AsyncEvent::Kind::queue_pair_error;
      told.queue_pair = event.element.qp->qp_num;
      break;
    case IBV_EVENT_CQ_ERR:
      told.kind = AsyncEvent::Kind::completion_queue_error;
      told.completions = ib::find_completion_queue(event.element.cq);
      break;
    case IBV_EVENT_DEVICE_FATAL: told.kind = AsyncEvent::Kind::device_gone; break;
    default: break;
  }
  ibv_ack_async_event(&event);
  return told;
}

}  // namespace haul::rdma
