// A peer of the rdma backend that keeps to no rule: a queue pair on a fake device, and whatever it is made to say.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "contract/verbs/fabric.h"
#include "rdma/wire.h"

namespace haul::verbs {

class RawPeer {
 public:
  RawPeer(Fabric& fabric, const std::string& node, uint32_t arena_bytes = 1U << 20);
  ~RawPeer();
  RawPeer(const RawPeer&) = delete;
  RawPeer& operator=(const RawPeer&) = delete;

  std::vector<std::byte> endpoint() const { return rdma::wire::encode(own_); }
  void join(std::span<const std::byte> endpoint);
  /// The hello that the other side waits for.
  rdma::wire::Hello hello() const { return {peer_.secret}; }

  /// One bundle, of these records and an honest header.
  void say(std::span<const rdma::wire::Record> records);
  void say(std::initializer_list<rdma::wire::Record> records) { say(std::span(records.begin(), records.size())); }
  /// One bundle, of any bytes: at most wire::slot_bytes.
  void say_bytes(std::span<const std::byte> bundle);
  /// An RDMA WRITE of its arena, or a READ into it, by any key. Nothing is said about it.
  void access(bool writes, uint64_t address, uint32_t key, uint32_t length);
  /// A key of its arena that works.
  rdma::wire::RemoteKey lend();

  /// Takes what completed and came. What it does not listen to keeps its receives.
  void listen();
  struct Heard {
    rdma::wire::Record record;  ///< a message without its payload
    size_t message_bytes = 0;
  };
  const std::vector<Heard>& heard() const { return heard_; }
  template <typename T>
  size_t count() const {
    size_t count = 0;
    for (const Heard& each : heard_) count += std::holds_alternative<T>(each.record) ? 1 : 0;
    return count;
  }
  uint32_t received() const { return received_; }
  /// The bundles that the other side received.
  uint32_t bundles_taken() const { return bundles_taken_; }
  bool failed() const { return failed_; }
  bool malformed() const { return malformed_; }  ///< a bundle that it heard
  uint32_t queue_pair() const { return own_.queue_pair; }

 private:
  void post(const rdma::WorkRequest& request);
  void post_receive(uint32_t slot);
  void hear(std::span<const std::byte> bundle);
  std::span<std::byte> slot(uint32_t number) {
    return std::span(memory_).subspan(size_t{number} * rdma::wire::slot_bytes, rdma::wire::slot_bytes);
  }
  std::span<std::byte> arena() { return std::span(memory_).last(arena_bytes_); }

  uint32_t arena_bytes_;
  std::unique_ptr<rdma::Device> device_;
  std::unique_ptr<rdma::ProtectionDomain> domain_;
  std::vector<std::byte> memory_;
  std::unique_ptr<rdma::RegisteredRange> range_;
  std::unique_ptr<rdma::RegisteredRange> lent_range_;
  std::unique_ptr<rdma::MemoryWindow> window_;
  std::unique_ptr<rdma::CompletionQueue> completions_;
  std::unique_ptr<rdma::QueuePair> pair_;
  rdma::wire::Endpoint own_;
  rdma::wire::Endpoint peer_;
  std::vector<Heard> heard_;
  uint32_t received_ = 0;
  uint32_t bundles_taken_ = 0;
  bool failed_ = false;
  bool malformed_ = false;
};

}  // namespace haul::verbs
