// Reads files and trees in order, a block at a time, into memory it is given. Blocking; for one worker thread.
#pragma once

#include <atomic>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "object/messages.h"
#include "object/walk.h"

namespace haul::object {

/// What one read gave: perhaps the announcement of a new entry, perhaps bytes of it, perhaps its end.
struct Block {
  std::optional<Entry> entry;
  uint32_t index = 0;
  uint64_t offset = 0;
  uint32_t length = 0;  ///< bytes in the memory given; 0: nothing to put
  bool ends_file = false;
  bool ends_all = false;  ///< nothing else in it
  Failure failure;
};

struct Survey {
  Totals totals;
  std::vector<std::string> remarks;
  Failure failure;
};

class Source {
 public:
  Source(std::vector<Top> tops, Root root, base::UniqueFd owned_root = {});

  /// Walks everything once and counts. Ends early, as interrupted, once stop() was called.
  Survey survey();

  /// The next block. After the end, the end again; after a failure nothing useful.
  Block read(std::span<std::byte> into);

  /// From any thread.
  void stop() noexcept { stopped_.store(true, std::memory_order_relaxed); }

 private:
  Failure read_fully(std::span<std::byte> into);
  Failure unchanged() const;
  Failure changed_failure() const;

  std::vector<Top> tops_;
  base::UniqueFd owned_root_;
  Root root_;
  Walk walk_;
  std::optional<Found> file_;  ///< being read
  uint64_t offset_ = 0;
  uint32_t entries_ = 0;
  std::atomic<bool> stopped_{false};
};

}  // namespace haul::object
