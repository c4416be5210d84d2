// The core above a connection whose peer is hostile, as a script plays it: its memory, its grants and operations, and what must
// hold of the events that it is told.
#pragma once

#include <cstdint>
#include <memory>
#include <set>
#include <span>
#include <vector>

#include "fuzz/script.h"
#include "haul/transport.h"

namespace haul::fuzz {

// The memory: one range for each grant, then what writes read from, then what reads write to.
constexpr size_t grant_bytes = 4096;
constexpr size_t max_grants = 8;
constexpr size_t source_begin = grant_bytes * max_grants;
constexpr size_t target_begin = source_begin + (16U << 10);
constexpr size_t memory_bytes = target_begin + (16U << 10);

class ScriptedCore {
 public:
  struct Grant {
    LocalGrant local;
    Rights rights = Rights::none;
    std::span<const std::byte> memory;
    bool revoking = false;
    bool over = false;
    Bytes at_the_end = {};  ///< nothing changes any more
  };

  explicit ScriptedCore(Script& script);
  /// Before anything else. `transport` must outlive stop().
  void begin(Transport& transport);

  ConnectionId connection = 0;
  bool closed = false;
  std::vector<Grant> grants;
  std::vector<uint64_t> landed;   ///< not answered yet
  size_t most_landed = SIZE_MAX;  ///< of these

  // What the script has it do.
  /// Why there is no further grant; ok also where there are enough.
  Status grant(TimePoint now);
  void revoke(TimePoint now);
  void send(TimePoint now);
  void answers(bool at_once) { answers_ = at_once; }
  void answer_one(TimePoint now);
  void close_perhaps(TimePoint now);
  void post(const Operation& operation, TimePoint now);
  uint64_t next_id() noexcept { return next_id_++; }
  const MemoryRegion& region() const noexcept { return *region_; }

  /// Whatever event comes.
  void take(const Event& event, TimePoint now);
  /// What a grant is over of has not changed since: after `revoked`, and after `closed`, nothing lands.
  void check_quiet() const;
  /// The connection is closed: all has ended, and what was not granted for writing is as it was.
  void check_end() const;
  /// Gives the memory back.
  void stop() { region_.reset(); }

 private:
  void take_landed(const Event& event, TimePoint now);
  static void end(Grant& grant);

  Script& script_;
  Transport* transport_ = nullptr;
  Bytes memory_ = Bytes(memory_bytes);
  Bytes before_;
  std::unique_ptr<MemoryRegion> region_;
  bool answers_ = true;
  std::set<uint64_t> outstanding_;
  uint64_t next_id_ = 1;
};

/// Seeds of a target that follows a script: 24 that are drawn, of this many bytes and each so many longer. Their first byte is
/// their number; `mark` may change others.
void draw_scripts(const SeedSink& sink, size_t bytes, size_t longer, void (*mark)(Bytes&) = nullptr);

}  // namespace haul::fuzz
