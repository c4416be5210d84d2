// What is remembered of paths, for careful resume (RFC 9959): a bounded table by the names of two hubs, and its text form.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "haul/congestion.h"
#include "haul/status.h"

namespace haul::congestion {

/// The path remembered longest ago makes room for a new one. Times are seconds since 1970, passed in: what is remembered
/// outlives processes, and with them every monotonic clock.
class PathCache {
 public:
  struct Options {
    size_t max_paths = 256;
    int64_t max_age_s = 24 * 3600;  ///< RFC 9959, section 4.3.1: hours on stable paths, minutes on others
  };
  static constexpr size_t max_name_bytes = 512;

  explicit PathCache(const Options& options) noexcept : options_(options) {}

  /// Names that are empty, too long, or contain white space, and memories of nothing, are not kept. What was observed anew may
  /// be lent at once.
  void remember(std::string_view path, const PathMemory& memory, int64_t now_s);
  /// For one connection at a time (RFC 9959, section 3.2). Absent: unknown, too old (then deleted), or lent already. When that
  /// connection ends, its owner calls remember(), forget() or, when it has learnt nothing, give_back().
  std::optional<PathMemory> lend(std::string_view path, int64_t now_s);
  void give_back(std::string_view path);
  /// Section 3.5: what a failed jump came from is deleted (CongestionController::memory_failed()).
  void forget(std::string_view path);
  size_t size() const noexcept { return entries_.size(); }

  /// One path a line; parse() reads it again.
  std::string to_text() const;
  /// Errors: invalid; the message names `source`, the line and the remedy. Nothing is kept then.
  Status parse(std::string_view text, std::string_view source);

 private:
  struct Entry {
    std::string path;
    PathMemory memory;
    int64_t at_s = 0;
    bool lent = false;
  };

  Options options_;
  std::vector<Entry> entries_;  // the oldest first
};

}  // namespace haul::congestion
