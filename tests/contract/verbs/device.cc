// The fake devices: memory, windows, completion queues, ports, events.
#include "contract/verbs/device.h"

#include <fmt/format.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

namespace haul::verbs {

using namespace rdma;

FakeDomain::~FakeDomain() {
  if (users != 0) fabric_.defects_.push_back("a protection domain was destroyed while something was in it");
}

FakeRange::FakeRange(FakeDevice& of, FakeDomain& in, std::span<std::byte> bytes, Access rights)
    : device(of), domain(in), memory(bytes), access(rights), key(of.fabric.next_key_ += 0x100) {
  device.ranges.insert(this);
  device.fabric.registered_bytes_ += memory.size();
  ++device.fabric.registrations_;
  device.fabric.on_demand_registrations_ += access.on_demand ? 1U : 0U;
  ++domain.users;
  if ((access.remote_read || access.remote_write) && device.info().windows_2b && !device.fabric.options_.dma_buf) {
    device.fabric.defects_.push_back("memory was registered with remote rights although the device has windows");
  }
}

FakeRange::~FakeRange() {
  if (!mapping.empty()) munmap(mapping.data(), mapping.size());
  if (bound != 0) device.fabric.defects_.push_back("memory was deregistered while windows were bound to it");
  device.ranges.erase(this);
  device.fabric.registered_bytes_ -= memory.size();
  --domain.users;
}

Status FakeRange::map(const DmaBuf& buffer) {
  struct stat info {};
  if (fstat(buffer.fd, &info) != 0) return Status::from_errno(StatusCode::invalid, errno, "fake dma-buf");
  const auto bytes = static_cast<size_t>(info.st_size);
  if (buffer.offset > bytes || memory.size() > bytes - buffer.offset) {
    return Status::from_errno(StatusCode::invalid, EINVAL, "fake dma-buf: the range is not inside it");
  }
  void* mapped = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, buffer.fd, 0);
  if (mapped == MAP_FAILED) return Status::from_errno(StatusCode::invalid, errno, "fake dma-buf");
  mapping = {static_cast<std::byte*>(mapped), bytes};
  mapping_offset = buffer.offset;
  return {};
}

std::byte* FakeRange::reach(const std::byte* address) const {
  const auto offset = static_cast<size_t>(address - memory.data());
  return mapping.empty() ? memory.data() + offset : mapping.data() + mapping_offset + offset;
}

FakeWindow::FakeWindow(FakeDevice& of, FakeDomain& in) : device(of), domain(in), key(of.fabric.next_key_ += 0x100) {
  device.windows.insert(this);
  ++domain.users;
}

FakeWindow::~FakeWindow() {
  // Its peer would be told that it did what it may not.
  const auto user = device.fabric.queue_pairs_.find(queue_pair);
  if (range != nullptr && user != device.fabric.queue_pairs_.end() && user->second->is_connected()) {
    device.fabric.defects_.emplace_back("a window was destroyed under a queue pair that could use it");
  }
  unbind();
  device.windows.erase(this);
  --domain.users;
}

void FakeWindow::unbind() {
  if (range != nullptr) --range->bound;
  range = nullptr;
  memory = {};
}

FakeCompletionQueue::FakeCompletionQueue(FakeDevice& device, uint32_t entries) : device_(device), entries_(entries) {
  device_.queues.insert(this);
}

FakeCompletionQueue::~FakeCompletionQueue() {
  device_.queues.erase(this);
  device_.woken_.erase(this);
}

Result<size_t> FakeCompletionQueue::poll(std::span<Completion> completions) {
  size_t count = 0;
  while (count < completions.size() && !waiting_.empty()) {
    completions[count++] = waiting_.front();
    waiting_.pop_front();
  }
  return count;
}

Status FakeCompletionQueue::arm() {
  armed_ = true;
  return {};
}

void FakeCompletionQueue::push(const Completion& completion) {
  if (device_.fabric.dead_.contains(device_.node_) || overran_) return;
  if (waiting_.size() >= entries_) {
    device_.fabric.defects_.push_back("a completion queue overran");
    return overrun();
  }
  waiting_.push_back(completion);
  if (armed_) device_.wake(*this);
}

/// As devices do it: what comes is lost from now on, and only an event tells.
void FakeCompletionQueue::overrun() {
  overran_ = true;
  AsyncEvent event;
  event.kind = AsyncEvent::Kind::completion_queue_error;
  event.completions = this;
  device_.tell(event);
}

FakeDevice::FakeDevice(Fabric& in, std::string node, std::string name)
    : fabric(in),
      node_(std::move(node)),
      completion_fd_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)),
      connect_fd_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)),
      async_fd_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
  const FabricOptions& options = fabric.options_;
  info_.name = std::move(name);
  info_.max_requests = 128;
  info_.max_reads = info_.max_reads_asked = 4;
  info_.max_window_bytes = options.max_window_bytes;
  info_.windows_2b = options.windows;
  info_.on_demand_paging = options.on_demand_paging;
  info_.stops_messages = options.stops_messages;
  info_.proves_reads = options.proves_reads;
  fabric.devices_.insert(this);
  Gid gid;
  gid.raw[10] = gid.raw[11] = 0xff;
  gid.raw[12] = 10;
  const auto device = std::find(options.devices.begin(), options.devices.end(), info_.name);
  gid.raw[14] = static_cast<uint8_t>(device - options.devices.begin());
  gid.raw[15] = static_cast<uint8_t>(fabric.gids_.size() + 1);
  fabric.gids_.try_emplace(path(), gid);
}

FakeDevice::~FakeDevice() {
  if (!ranges.empty() || !windows.empty() || !queues.empty()) fabric.defects_.push_back("a device was closed while in use");
  fabric.devices_.erase(this);
}

Result<PortInfo> FakeDevice::query_port(uint8_t port) {
  if (port != 1) return Status(StatusCode::unavailable, "there is no such port");
  if (removed()) return Status::from_errno(StatusCode::unavailable, EIO, "fake port");
  PortInfo info;
  info.active = !fabric.down_.contains(path());
  info.state = info.active ? "active" : "down";
  info.mtu_bytes = 1024;
  GidEntry old{0, fabric.gids_.at(path()), GidType::roce_v1};
  GidEntry used{1, fabric.gids_.at(path()), GidType::roce_v2};
  info.gids = {old, used};
  return info;
}

Result<std::unique_ptr<ProtectionDomain>> FakeDevice::make_domain() {
  return std::unique_ptr<ProtectionDomain>(std::make_unique<FakeDomain>(fabric));
}

Result<std::unique_ptr<RegisteredRange>> FakeDevice::register_range(ProtectionDomain& domain, std::span<std::byte> memory,
                                                                    Access access) {
  const std::lock_guard lock(mutex);
  if (removed()) return Status::from_errno(StatusCode::exhausted, EIO, "fake registration");
  if (fabric.registered_bytes_ + memory.size() > fabric.options_.lock_limit_bytes) {
    return Status::from_errno(StatusCode::exhausted, ENOMEM, "fake registration");
  }
  return std::unique_ptr<RegisteredRange>(std::make_unique<FakeRange>(*this, static_cast<FakeDomain&>(domain), memory, access));
}

Result<std::unique_ptr<RegisteredRange>> FakeDevice::register_dma_buf(ProtectionDomain& domain, const DmaBuf& buffer,
                                                                      std::span<std::byte> memory, Access access) {
  const std::lock_guard lock(mutex);
  if (!fabric.options_.dma_buf) return Status::from_errno(StatusCode::unsupported, EOPNOTSUPP, "fake dma-buf");
  if (access.windows || access.on_demand) return Status::from_errno(StatusCode::invalid, EINVAL, "fake dma-buf");
  ++fabric.dma_bufs_;
  auto range = std::make_unique<FakeRange>(*this, static_cast<FakeDomain&>(domain), memory, access);
  if (Status status = range->map(buffer); !status.ok()) return status;
  return std::unique_ptr<RegisteredRange>(std::move(range));
}

Result<std::unique_ptr<MemoryWindow>> FakeDevice::make_window(ProtectionDomain& domain) {
  if (!fabric.options_.windows) return Status::from_errno(StatusCode::unsupported, EOPNOTSUPP, "fake windows");
  return std::unique_ptr<MemoryWindow>(std::make_unique<FakeWindow>(*this, static_cast<FakeDomain&>(domain)));
}

Result<std::unique_ptr<CompletionQueue>> FakeDevice::make_completion_queue(uint32_t entries) {
  return std::unique_ptr<CompletionQueue>(std::make_unique<FakeCompletionQueue>(*this, entries));
}

Result<std::unique_ptr<QueuePair>> FakeDevice::make_queue_pair(ProtectionDomain& domain, CompletionQueue& completions,
                                                               const QueueSizes& sizes) {
  return std::unique_ptr<QueuePair>(std::make_unique<FakeQueuePair>(*this, static_cast<FakeDomain&>(domain),
                                                                    static_cast<FakeCompletionQueue&>(completions), sizes));
}

void FakeDevice::wake(FakeCompletionQueue& queue) {
  woken_.insert(&queue);
  const uint64_t one = 1;
  [[maybe_unused]] const ssize_t put = write(completion_fd_.get(), &one, sizeof(one));
}

void FakeDevice::take_completion_events() {
  uint64_t count = 0;
  [[maybe_unused]] const ssize_t got = read(completion_fd_.get(), &count, sizeof(count));
  for (FakeCompletionQueue* queue : woken_) queue->woke();
  woken_.clear();
}

void FakeDevice::wake_connecting() {
  const uint64_t one = 1;
  [[maybe_unused]] const ssize_t put = write(connect_fd_.get(), &one, sizeof(one));
}

void FakeDevice::take_connect_events() {
  uint64_t count = 0;
  [[maybe_unused]] const ssize_t got = read(connect_fd_.get(), &count, sizeof(count));
}

void FakeDevice::tell(const AsyncEvent& event) {
  events_.push_back(event);
  const uint64_t one = 1;
  [[maybe_unused]] const ssize_t put = write(async_fd_.get(), &one, sizeof(one));
}

std::optional<AsyncEvent> FakeDevice::next_async_event() {
  uint64_t count = 0;
  [[maybe_unused]] const ssize_t got = read(async_fd_.get(), &count, sizeof(count));
  if (events_.empty()) return std::nullopt;
  const AsyncEvent event = events_.front();
  events_.pop_front();
  return event;
}

}  // namespace haul::verbs
