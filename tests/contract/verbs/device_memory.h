// Memory as that of a graphics card: the processor has addresses of it that it can't use; devices reach it by a dma-buf.
#pragma once

#include <sys/mman.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <cstddef>
#include <deque>
#include <functional>
#include <span>

#include "base/unique_fd.h"
#include "haul/rdma.h"

namespace haul::verbs {

/// Touching addresses() ends the program: who moves it must leave it to the device.
class DeviceMemory {
 public:
  explicit DeviceMemory(size_t bytes) : bytes_(bytes), file_(memfd_create("device memory", MFD_CLOEXEC)) {
    REQUIRE(file_.get() >= 0);
    REQUIRE(ftruncate(file_.get(), static_cast<off_t>(bytes)) == 0);
    trap_ = map(PROT_NONE);
    seen_ = map(PROT_READ | PROT_WRITE);
  }
  ~DeviceMemory() {
    munmap(trap_, bytes_);
    munmap(seen_, bytes_);
  }
  DeviceMemory(const DeviceMemory&) = delete;
  DeviceMemory& operator=(const DeviceMemory&) = delete;

  std::span<std::byte> addresses() const { return {trap_, bytes_}; }
  /// What is there, for the test alone.
  std::span<std::byte> seen() const { return {seen_, bytes_}; }

  bool holds(std::span<const std::byte> range) const {
    return std::greater_equal<>()(range.data(), trap_) && std::less_equal<>()(range.data() + range.size(), trap_ + bytes_);
  }
  rdma::Options::ExportedMemory exported(std::span<const std::byte> range) const {
    return {file_.get(), static_cast<uint64_t>(range.data() - trap_)};
  }

 private:
  std::byte* map(int protection) {
    void* mapped = mmap(nullptr, bytes_, protection, MAP_SHARED, file_.get(), 0);
    REQUIRE(mapped != MAP_FAILED);
    return static_cast<std::byte*>(mapped);
  }

  size_t bytes_;
  base::UniqueFd file_;
  std::byte* trap_ = nullptr;
  std::byte* seen_ = nullptr;
};

/// All the memory of a test's cards. Must outlive the transports that use it.
class Cards {
 public:
  DeviceMemory& allocate(size_t bytes) { return memories_.emplace_back(bytes); }
  /// For rdma::Options::export_device_memory.
  auto exporter() {
    return [this](std::span<std::byte> range) -> Result<rdma::Options::ExportedMemory> {
      for (const DeviceMemory& memory : memories_) {
        if (memory.holds(range)) return memory.exported(range);
      }
      return Status(StatusCode::invalid, "no card has this memory");
    };
  }

 private:
  std::deque<DeviceMemory> memories_;
};

}  // namespace haul::verbs
