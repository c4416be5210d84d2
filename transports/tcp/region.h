// Memory regions of the tcp transport, and pinning them for zero-copy sends.
#pragma once

#include <memory>
#include <span>

#include "haul/telemetry.h"
#include "haul/transport.h"
#include "tcp/io.h"

namespace haul::tcp {

/// Places in io_uring's table of registered buffers.
class PinnedMemory {
 public:
  PinnedMemory(IoLoop& io, const LogSink& log) : io_(io), log_(log) {}
  /// -1, and said once in the log, when the kernel does not permit it: sends do without.
  int pin(std::span<std::byte> memory);
  void unpin(int place) { io_.unregister_buffer(place); }

 private:
  IoLoop& io_;
  const LogSink& log_;
  bool told_ = false;
};

class Region final : public MemoryRegion {
 public:
  Region(std::span<std::byte> memory, std::weak_ptr<PinnedMemory> pins) : memory_(memory), pins_(std::move(pins)) {}
  ~Region() override;
  Region(const Region&) = delete;
  Region& operator=(const Region&) = delete;

  std::span<std::byte> bytes() const noexcept override { return memory_; }
  /// The region's place in the table, or -1. Pinning happens at the first call: it costs time for every page, and paths that
  /// never send without copying have no use for it.
  int pinned() const;

 private:
  std::span<std::byte> memory_;
  std::weak_ptr<PinnedMemory> pins_;
  mutable bool tried_ = false;
  mutable int place_ = -1;
};

}  // namespace haul::tcp
