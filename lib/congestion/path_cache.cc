// The table of remembered paths.
#include "congestion/path_cache.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <utility>

#include "congestion/numbers.h"

namespace haul::congestion {

namespace {

constexpr std::string_view first_line = "haul paths 1";

bool usable(std::string_view path) {
  return !path.empty() && path.size() <= PathCache::max_name_bytes && path.find_first_of(" \t\r\n") == std::string_view::npos;
}

/// Takes the next word off the front of a line.
std::string_view next_word(std::string_view& line) {
  const size_t end = std::min(line.find(' '), line.size());
  const std::string_view word = line.substr(0, end);
  line.remove_prefix(std::min(end + 1, line.size()));
  return word;
}

template <typename T>
bool read_number(std::string_view word, T& into) {
  const auto [end, error] = std::from_chars(word.data(), word.data() + word.size(), into);
  return error == std::errc() && end == word.data() + word.size();
}

}  // namespace

void PathCache::remember(std::string_view path, const PathMemory& memory, int64_t now_s) {
  if (!usable(path) || memory.window_bytes == 0 || !plausible_rtt(memory.min_rtt) || options_.max_paths == 0) return;
  forget(path);
  if (entries_.size() >= options_.max_paths) entries_.erase(entries_.begin());
  entries_.push_back({std::string(path), memory, now_s});
}

std::optional<PathMemory> PathCache::lend(std::string_view path, int64_t now_s) {
  const auto found = std::find_if(entries_.begin(), entries_.end(), [&](const Entry& entry) { return entry.path == path; });
  // Also not what comes from the future: a clock was set.
  if (found == entries_.end() || found->lent || found->at_s > now_s) return std::nullopt;
  if (now_s - found->at_s > options_.max_age_s) {
    entries_.erase(found);
    return std::nullopt;
  }
  found->lent = true;
  return found->memory;
}

void PathCache::give_back(std::string_view path) {
  for (Entry& entry : entries_) entry.lent &= entry.path != path;
}

void PathCache::forget(std::string_view path) {
  const auto same = [&](const Entry& entry) { return entry.path == path; };
  entries_.erase(std::remove_if(entries_.begin(), entries_.end(), same), entries_.end());
}

std::string PathCache::to_text() const {
  std::string text = fmt::format("{}\n", first_line);
  for (const Entry& entry : entries_) {
    text += fmt::format("{} {} {} {}\n", entry.path, entry.memory.window_bytes, entry.memory.min_rtt.count(), entry.at_s);
  }
  return text;
}

Status PathCache::parse(std::string_view text, std::string_view source) {
  PathCache read(options_);
  size_t number = 0;
  while (!text.empty()) {
    const size_t end = std::min(text.find('\n'), text.size());
    std::string_view line = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    ++number;
    const auto wrong = [&](const char* what) {
      return Status(StatusCode::invalid,
                    fmt::format("{}:{}: {}; delete the file, it only speeds up starts", source, number, what));
    };
    if (number == 1) {
      if (line != first_line) return wrong("not a file of remembered paths of this version");
      continue;
    }
    Entry entry;
    int64_t rtt_ns = 0;
    entry.path = next_word(line);
    const bool good = read_number(next_word(line), entry.memory.window_bytes) && read_number(next_word(line), rtt_ns) &&
                      read_number(next_word(line), entry.at_s) && line.empty();
    if (!good || !usable(entry.path)) return wrong("not a path, its window, round trip and time");
    entry.memory.min_rtt = Duration(rtt_ns);
    read.remember(entry.path, entry.memory, entry.at_s);
  }
  entries_ = std::move(read.entries_);
  return {};
}

}  // namespace haul::congestion
