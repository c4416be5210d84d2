// What an engine remembers of the paths to its peers, from one connection to the next.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include "congestion/path_cache.h"
#include "haul/congestion.h"
#include "haul/credentials.h"
#include "haul/lane_memory.h"
#include "haul/status.h"

namespace haul::engine {

/// A PathCache with its clock and its file.
class PathMemories {
 public:
  /// `wall_clock_s` as EngineOptions has it.
  explicit PathMemories(std::function<int64_t()> wall_clock_s);

  /// From now on save() writes this file. Nothing is read where there is none. Errors: invalid (it can't be read, or is
  /// something else: it is not written then).
  Status load(std::string file);
  /// Does nothing without load(), nor when the file tells it already. Errors: internal (the file could not be replaced: it is
  /// as before).
  Status save();

  /// As save(), at most once in a second of the wall clock; only save() tells of errors. Whether it is to be called again,
  /// later, since that second is not over: a process that is killed loses no more than it brought.
  bool save_soon();

  /// For the controller that starts now: ended() follows when it is gone.
  std::optional<PathMemory> start(const std::string& path);
  /// `controller` was the path's; null: it was never made. Whether it was given a memory is the caller's to know.
  void ended(const std::string& path, bool was_given, const CongestionController* controller);
  /// The same for a controller that the backend has: `lesson` is what it learned.
  void ended(const std::string& path, bool was_given, const PathLesson& lesson);

  size_t size() const noexcept { return cache_.size(); }

 private:
  int64_t now_s() const;

  std::function<int64_t()> wall_clock_s_;
  std::string file_;
  bool unsaved_ = false;            ///< the cache is not what the file has
  std::optional<int64_t> saved_s_;  ///< when save_soon() last tried
  congestion::PathCache cache_{{}};
};

/// How a path is called: by who the peer proved to be, or else, where we connect to it, by its address. Of others nobody knows
/// whether they are who was there before: empty, and nothing is remembered.
std::string path_name(const PeerIdentity& identity, std::string_view address, std::string_view transport,
                      std::string_view direction);

}  // namespace haul::engine
