// The verbs this backend uses, as a small typed layer: ibverbs.cc speaks to libibverbs, tests simulate devices behind it.
//
// Objects end by RAII and must go before what they were made from. What a destroyed QueuePair, MemoryWindow or RegisteredRange
// referred to is not touched by the device any more once the destructor returned.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "haul/status.h"
#include "haul/transport.h"

namespace haul::rdma {

struct Gid {
  std::array<uint8_t, 16> raw{};
  bool operator==(const Gid&) const = default;
};

enum class GidType : uint8_t { infiniband, roce_v1, roce_v2 };
enum class LinkLayer : uint8_t { infiniband, ethernet };

struct GidEntry {
  uint32_t index = 0;
  Gid gid;
  GidType type = GidType::infiniband;
};

struct PortInfo {
  bool active = false;
  std::string state;  ///< for people: "down", "initializing", …
  uint32_t mtu_bytes = 0;
  uint16_t lid = 0;
  LinkLayer link = LinkLayer::ethernet;
  std::vector<GidEntry> gids;
};

struct DeviceInfo {
  std::string name;
  uint8_t ports = 1;
  uint32_t max_requests = 0;    ///< of one send or receive queue
  uint8_t max_reads = 1;        ///< RDMA READs in flight on one queue pair that it serves as responder
  uint8_t max_reads_asked = 1;  ///< … and that it has as initiator
  uint64_t max_window_bytes = uint64_t{1} << 62;
  bool windows_2b = false;
  bool on_demand_paging = false;
  bool iwarp = false;
  /// Taking a window or region back also stops a message that is being placed through it. Software devices don't promise it.
  bool stops_messages = true;
  /// The bytes of a read are there when it ends as ok. Linux's rxe also ends reads so whose answer broke off, or which lost it
  /// while an earlier request was acknowledged anew (6.1, rxe_comp.c: check_ack() leaves the status, which was ok).
  bool proves_reads = true;
};

/// What may be done with a range of memory, or through a window on it.
struct Access {
  bool local_write = false;
  bool remote_read = false;
  bool remote_write = false;
  bool windows = false;
  bool on_demand = false;
};

class ProtectionDomain {
 public:
  virtual ~ProtectionDomain() = default;
};

class RegisteredRange {
 public:
  virtual ~RegisteredRange() = default;
  virtual uint32_t local_key() const noexcept = 0;
  virtual uint32_t remote_key() const noexcept = 0;
};

/// Type 2B: bound by a work request, to the queue pair that executes it.
class MemoryWindow {
 public:
  virtual ~MemoryWindow() = default;
  virtual uint32_t remote_key() const noexcept = 0;  ///< as allocated; a bind chooses another low byte
};

enum class Outcome : uint8_t {
  ok,
  local_error,     ///< length, protection or queue-pair error on this side
  flushed,         ///< the queue pair was in error already
  remote_access,   ///< the peer's device refused the key, range or right
  remote_error,    ///< the peer's device could not do it
  retry_exceeded,  ///< no acknowledgement
  receiver_not_ready,
  fatal,
};

struct Completion {
  uint64_t id = 0;
  Outcome outcome = Outcome::ok;
  uint32_t bytes = 0;                  ///< received
  std::optional<Immediate> immediate;  ///< of the write that took this receive
  bool foreign = false;                ///< received by a send with immediate data, or with an invalidation
};

class CompletionQueue {
 public:
  virtual ~CompletionQueue() = default;
  /// Fills from the front. Errors: internal. That the queue overran most devices tell by an AsyncEvent only.
  virtual Result<size_t> poll(std::span<Completion> completions) = 0;
  /// The next completion makes Device::completion_fd() readable, until take_completion_events().
  virtual Status arm() = 0;
  virtual bool armed() const noexcept = 0;
};

struct Element {
  const std::byte* address = nullptr;
  uint32_t length = 0;
  uint32_t local_key = 0;
};

struct WorkRequest {
  enum class Kind : uint8_t { send, write, read, bind, invalidate };
  Kind kind = Kind::send;
  uint64_t id = 0;
  bool signalled = false;
  bool inlined = false;  ///< the payload is copied by post()
  Element local;         ///< length 0: nothing
  uint64_t remote_address = 0;
  uint32_t remote_key = 0;             ///< bind: the key it gets; invalidate: the key to end
  std::optional<Immediate> immediate;  ///< of a write, which then takes a receive of the peer's

  // bind
  MemoryWindow* window = nullptr;
  const RegisteredRange* range = nullptr;
  const std::byte* address = nullptr;
  uint64_t length = 0;
  Access access;
};

/// How a queue pair reaches its peer.
struct PathTo {
  uint8_t port = 1;
  uint32_t gid_index = 0;
  bool global = true;  ///< by GID (always on Ethernet); else by LID
  Gid gid;
  uint16_t lid = 0;
  uint32_t mtu_bytes = 1024;
  uint32_t queue_pair = 0;
  uint32_t packet_number = 0;      ///< the first one that the peer sends
  uint32_t own_packet_number = 0;  ///< the first one that we send
  uint8_t reads_served = 1;
  uint8_t reads_asked = 1;
  uint8_t timeout_exponent = 14;  ///< 4.096 us << this, between retries
  uint8_t retries = 7;
  uint8_t traffic_class = 0;
  uint8_t service_level = 0;
  uint8_t hop_limit = 64;
};

struct QueueSizes {
  uint32_t send_requests = 0;
  uint32_t receive_requests = 0;
  uint32_t inline_bytes = 0;
};

/// Reliable, connected.
class QueuePair {
 public:
  virtual ~QueuePair() = default;
  virtual uint32_t number() const noexcept = 0;
  virtual uint32_t inline_bytes() const noexcept = 0;  ///< what was granted
  virtual Status initialise(uint8_t port, Access access) = 0;
  /// Begins to connect; may still go on when it returns, for the kernel looks for a neighbour that may not answer. Until
  /// connected() has a value only number() may be asked, and the destructor blocks.
  virtual void connect(const PathTo& path) = 0;
  /// How it went, once that is known. What is said for a connect() that goes on makes Device::connect_fd() readable.
  virtual std::optional<Status> connected() = 0;
  /// In order; one doorbell. Error: none of the rest was taken, and the queue pair is to be given up.
  virtual Status post(std::span<const WorkRequest> requests) = 0;
  virtual Status post_receive(uint64_t id, const Element& element) = 0;
  /// Nothing is sent, placed, answered or completed any more. Not while it connects.
  virtual void stop() = 0;
};

struct AsyncEvent {
  enum class Kind : uint8_t { port_changed, access_error, queue_pair_error, completion_queue_error, device_gone, other };
  Kind kind = Kind::other;
  uint8_t port = 0;
  uint32_t queue_pair = 0;
  const CompletionQueue* completions = nullptr;  ///< of completion_queue_error
};

/// Device memory as the kernel knows it.
struct DmaBuf {
  int fd = -1;  ///< not owned
  uint64_t offset = 0;
};

class Device {
 public:
  virtual ~Device() = default;
  virtual const DeviceInfo& info() const noexcept = 0;
  virtual Result<PortInfo> query_port(uint8_t port) = 0;
  virtual Result<std::unique_ptr<ProtectionDomain>> make_domain() = 0;
  /// The status keeps the errno (system_error).
  virtual Result<std::unique_ptr<RegisteredRange>> register_range(ProtectionDomain& domain, std::span<std::byte> memory,
                                                                  Access access) = 0;
  virtual Result<std::unique_ptr<RegisteredRange>> register_dma_buf(ProtectionDomain& domain, const DmaBuf& buffer,
                                                                    std::span<std::byte> memory, Access access) = 0;
  virtual Result<std::unique_ptr<MemoryWindow>> make_window(ProtectionDomain& domain) = 0;
  virtual Result<std::unique_ptr<CompletionQueue>> make_completion_queue(uint32_t entries) = 0;
  virtual Result<std::unique_ptr<QueuePair>> make_queue_pair(ProtectionDomain& domain, CompletionQueue& completions,
                                                             const QueueSizes& sizes) = 0;
  virtual int completion_fd() const noexcept = 0;
  virtual void take_completion_events() = 0;
  virtual int connect_fd() const noexcept = 0;
  virtual void take_connect_events() = 0;
  virtual int async_fd() const noexcept = 0;
  virtual std::optional<AsyncEvent> next_async_event() = 0;
};

/// Where devices come from.
class Verbs {
 public:
  virtual ~Verbs() = default;
  virtual Result<std::vector<std::string>> device_names() = 0;
  virtual Result<std::unique_ptr<Device>> open(const std::string& name) = 0;
};

/// libibverbs and its providers.
std::shared_ptr<Verbs> make_ibverbs();

}  // namespace haul::rdma
