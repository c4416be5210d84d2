// The inside of the fake devices.
#pragma once

#include <atomic>
#include <deque>
#include <map>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "base/unique_fd.h"
#include "contract/verbs/fabric.h"

namespace haul::verbs {

class FakeDomain final : public rdma::ProtectionDomain {
 public:
  explicit FakeDomain(Fabric& fabric) : fabric_(fabric) {}
  ~FakeDomain() override;
  Fabric& fabric_;
  int users = 0;  ///< ranges, windows and queue pairs: it must outlive them
};

class FakeRange final : public rdma::RegisteredRange {
 public:
  FakeRange(FakeDevice& device, FakeDomain& domain, std::span<std::byte> memory, rdma::Access access);
  ~FakeRange() override;
  uint32_t local_key() const noexcept override { return key; }
  uint32_t remote_key() const noexcept override { return key; }

  /// Where the device finds what has this address: device memory has no other address that can be used.
  std::byte* reach(const std::byte* address) const;
  /// Of a dma-buf. Errors: invalid.
  Status map(const rdma::DmaBuf& buffer);

  FakeDevice& device;
  FakeDomain& domain;
  std::span<std::byte> memory;
  rdma::Access access;
  uint32_t key;
  std::span<std::byte> mapping;  ///< of all of the dma-buf; empty: host memory
  uint64_t mapping_offset = 0;
  mutable int bound = 0;  ///< windows on it
};

class FakeWindow final : public rdma::MemoryWindow {
 public:
  FakeWindow(FakeDevice& device, FakeDomain& domain);
  ~FakeWindow() override;
  uint32_t remote_key() const noexcept override { return key; }
  void unbind();

  FakeDevice& device;
  FakeDomain& domain;
  uint32_t key;
  const FakeRange* range = nullptr;
  uint32_t queue_pair = 0;
  std::span<std::byte> memory;
  rdma::Access access;
};

class FakeCompletionQueue final : public rdma::CompletionQueue {
 public:
  FakeCompletionQueue(FakeDevice& device, uint32_t entries);
  ~FakeCompletionQueue() override;
  Result<size_t> poll(std::span<rdma::Completion> completions) override;
  Status arm() override;
  bool armed() const noexcept override { return armed_; }
  void push(const rdma::Completion& completion);
  void overrun();
  void woke() { armed_ = false; }

 private:
  FakeDevice& device_;
  uint32_t entries_;
  std::deque<rdma::Completion> waiting_;
  bool armed_ = false;
  bool overran_ = false;
};

class FakeQueuePair final : public rdma::QueuePair {
 public:
  FakeQueuePair(FakeDevice& device, FakeDomain& domain, FakeCompletionQueue& completions, const rdma::QueueSizes& sizes);
  ~FakeQueuePair() override;
  uint32_t number() const noexcept override { return number_; }
  uint32_t inline_bytes() const noexcept override { return sizes_.inline_bytes; }
  Status initialise(uint8_t port, rdma::Access access) override;
  void connect(const rdma::PathTo& path) override;
  std::optional<Status> connected() override { return connected_; }
  Status post(std::span<const rdma::WorkRequest> requests) override;
  Status post_receive(uint64_t id, const rdma::Element& element) override;
  void stop() override;

  bool is_connected() const { return state_ == State::connected; }
  FakeDevice& device() const { return device_; }
  bool step();
  void fail();
  std::optional<TimePoint> gives_up_at() const;

 private:
  friend class Fabric;
  enum class State : uint8_t { fresh, initialised, connecting, connected, failed };
  struct Request {
    rdma::WorkRequest request;
    std::vector<std::byte> inlined;
    std::optional<TimePoint> tried;
    uint32_t placed = 0;
    std::byte* remote = nullptr;  ///< found when the message began
  };
  struct Receive {
    uint64_t id;
    rdma::Element element;
  };

  void finish_connect();
  FakeQueuePair* peer() const;
  void end_front(rdma::Outcome outcome);
  bool wait_front(rdma::Outcome outcome);
  bool step_front(FakeQueuePair* peer);
  bool step_window(const rdma::WorkRequest& request);
  bool step_send(FakeQueuePair& peer);
  bool step_access(FakeQueuePair& peer);
  std::byte* find_local(const rdma::Element& element, bool written) const;
  std::byte* find_remote(const rdma::WorkRequest& request, bool written) const;
  void refuse_access(FakeQueuePair& peer);

  FakeDevice& device_;
  FakeDomain& domain_;
  FakeCompletionQueue& completions_;
  rdma::QueueSizes sizes_;
  uint32_t number_;
  State state_ = State::fresh;
  rdma::Access access_;
  rdma::PathTo path_;
  std::optional<Status> connected_;
  std::deque<Request> requests_;
  std::deque<Receive> receives_;
  size_t unretired_ = 0;  ///< requests whose place in the queue no completion gave back yet
};

class FakeDevice final : public rdma::Device {
 public:
  FakeDevice(Fabric& fabric, std::string node, std::string name);
  ~FakeDevice() override;
  const rdma::DeviceInfo& info() const noexcept override { return info_; }
  Result<rdma::PortInfo> query_port(uint8_t port) override;
  Result<std::unique_ptr<rdma::ProtectionDomain>> make_domain() override;
  Result<std::unique_ptr<rdma::RegisteredRange>> register_range(rdma::ProtectionDomain& domain, std::span<std::byte> memory,
                                                                rdma::Access access) override;
  Result<std::unique_ptr<rdma::RegisteredRange>> register_dma_buf(rdma::ProtectionDomain& domain, const rdma::DmaBuf& buffer,
                                                                  std::span<std::byte> memory, rdma::Access access) override;
  Result<std::unique_ptr<rdma::MemoryWindow>> make_window(rdma::ProtectionDomain& domain) override;
  Result<std::unique_ptr<rdma::CompletionQueue>> make_completion_queue(uint32_t entries) override;
  Result<std::unique_ptr<rdma::QueuePair>> make_queue_pair(rdma::ProtectionDomain& domain, rdma::CompletionQueue& completions,
                                                           const rdma::QueueSizes& sizes) override;
  int completion_fd() const noexcept override { return completion_fd_.get(); }
  void take_completion_events() override;
  int connect_fd() const noexcept override { return connect_fd_.get(); }
  void take_connect_events() override;
  int async_fd() const noexcept override { return async_fd_.get(); }
  std::optional<rdma::AsyncEvent> next_async_event() override;

  std::string path() const { return node_ + "/" + info_.name; }
  bool removed() const { return fabric.removed_.contains(path()); }
  void tell(const rdma::AsyncEvent& event);
  void wake(FakeCompletionQueue& queue);
  void wake_connecting();

  Fabric& fabric;
  std::string node_;
  std::mutex mutex;  ///< registration comes from several threads
  std::set<FakeRange*> ranges;
  std::set<FakeWindow*> windows;
  std::set<FakeCompletionQueue*> queues;

 private:
  rdma::DeviceInfo info_;
  base::UniqueFd completion_fd_;
  base::UniqueFd connect_fd_;
  base::UniqueFd async_fd_;
  std::set<FakeCompletionQueue*> woken_;
  std::deque<rdma::AsyncEvent> events_;
  friend class FakeCompletionQueue;
};

}  // namespace haul::verbs
